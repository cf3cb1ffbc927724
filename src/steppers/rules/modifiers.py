"""Modifiers: rules to add to any chain."""

from ..ops import copy_of_p, lerp, maximum, mean, where, zero, zeros


def cautious(g, u):
    """Keep the elements of u that agree with g in sign, rescaled by how few they are.

    Liang et al. 2024, arXiv:2411.16085; the bound of 1e-3 is that of the paper's code.
    """
    mask = where(u * g > 0, 1.0, 0.0)
    return dict(u=u * mask / maximum(mean(mask), 1e-3))


def lookahead(p, slow=copy_of_p, *, t, k=6, alpha=0.5):
    """Every k steps, pull p and slow weights together (Zhang et al. 2019, arXiv:1907.08610).

    Last in a chain. The slow weights start as a copy from before the first step.
    """
    slow = where(t % k == 0, lerp(slow, p, alpha), slow)
    return dict(slow=slow, p=where(t % k == 0, slow, p))


def lookahead_late(p, slow=zeros, copied=zero, *, t, k=6, alpha=0.5):
    """Lookahead whose slow weights are copied at the first pull, which so moves nothing (timm).

    Last in a chain, as `lookahead`. `copied` is 1 from the first pull on.
    """
    pulled = where(copied > 0, lerp(slow, p, alpha), p)
    slow = where(t % k == 0, pulled, slow)
    copied = where(t % k == 0, 1.0, copied)
    return dict(slow=slow, copied=copied, p=where(t % k == 0, slow, p))


def ema(p, average=copy_of_p, *, ema_decay=0.999):
    """Exponential average of the weights; last in a chain, with `evaluate=use_average`."""
    return dict(average=lerp(average, p, 1 - ema_decay))


def use_average(average):
    """Evaluate with the average of the weights."""
    return dict(p=average)
