"""Rules that scale a whole tensor's update by its norms."""

from ..ops import minimum, norm, where


def decayed_direction(p, u, *, weight_decay=0.0):
    """Decay as part of the direction, so that a trust ratio sees it."""
    return dict(u=u + weight_decay * p)


def trust_ratio(p, u, *, trust_clip=10.0):
    """Scale u to the norm of p, at most trust_clip times; by 1 where a norm is 0 (LAMB)."""
    p_norm, u_norm = norm(p), norm(u)
    ratio = where((p_norm > 0) & (u_norm > 0), minimum(p_norm / u_norm, trust_clip), 1.0)
    return dict(u=ratio * u)


def lars_ratio(p, g, *, weight_decay=0.0, trust_coefficient=1e-3, eps=1e-8):
    """A tensor's own rate over lr, by its norms (You et al. 2017, arXiv:1708.03888, equation 6).

    1 where the norm of p or of g is 0. `scaled_gradient` or `scaled_direction` applies it.
    """
    p_norm, g_norm = norm(p), norm(g)
    ratio = trust_coefficient * p_norm / (g_norm + weight_decay * p_norm + eps)
    return dict(ratio=where((p_norm > 0) & (g_norm > 0), ratio, 1.0))


def cap_at_lr(ratio, *, lr):
    """The lesser of the ratio and lr in place of their product: LARC as apex and timm have it."""
    return dict(ratio=where(ratio < lr, ratio / lr, 1.0))  # 0 / 0 of a rate of 0 is not met


def cap_at_one(ratio):
    """Keep a tensor's own rate, lr * ratio, at or below lr: LARC as fastai has it."""
    return dict(ratio=minimum(ratio, 1.0))


def scaled_gradient(p, g, ratio, *, weight_decay=0.0):
    """The gradient with its decay, times the ratio: what LARS hands to its momentum."""
    return dict(g=(g + weight_decay * p) * ratio)


def scaled_direction(u, ratio):
    """The direction times the ratio: behind the momentum, as fastai has it."""
    return dict(u=u * ratio)
