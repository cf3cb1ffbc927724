"""Steppers: functions that move a parameter in place and return it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .stats import debias

Step = Callable[..., Tensor]


def _defaults(**values: float) -> Callable[[Step], Step]:
    """Give a function its attribute `_defaults`."""

    def mark(step: Step) -> Step:
        vars(step)["_defaults"] = values
        return step

    return mark


@torch.no_grad()
def sgd_step(p: Tensor, lr: float, **kwargs: Any) -> Tensor:
    """Move against the gradient: p - lr * g."""
    return p.sub_(_grad(p), alpha=lr)


@_defaults(wd=0.0)
@torch.no_grad()
def weight_decay(p: Tensor, lr: float, wd: float, **kwargs: Any) -> Tensor:
    """Shrink the parameter: p * (1 - lr * wd)."""
    return p.mul_(1 - lr * wd)


@_defaults(wd=0.0)
@torch.no_grad()
def l2_reg(p: Tensor, lr: float, wd: float, **kwargs: Any) -> Tensor:
    """Add wd * p to the gradient, in place: what follows sees it, what ran before does not."""
    _grad(p).add_(p, alpha=wd)
    return p


vars(l2_reg)["on_gradient"] = True  # read by StatefulOptimizer, which runs it before its stats


@torch.no_grad()
def momentum_step(p: Tensor, lr: float, grad_avg: Tensor, **kwargs: Any) -> Tensor:
    """Move against the averaged gradient: p - lr * grad_avg."""
    return p.sub_(grad_avg, alpha=lr)


@_defaults(eps=1e-5)
@torch.no_grad()
def adam_step(
    p: Tensor,
    lr: float,
    mom: float,
    mom_damp: float,
    step: int,
    sqr_mom: float,
    sqr_damp: float,
    grad_avg: Tensor,
    sqr_avg: Tensor,
    eps: float,
    **kwargs: Any,
) -> Tensor:
    """Adam's step: p - lr * m / (sqrt(v) + eps), m and v debiased."""
    mean, square = debias(mom, mom_damp, step), debias(sqr_mom, sqr_damp, step)
    return p.addcdiv_(grad_avg, (sqr_avg / square).sqrt_().add_(eps), value=-lr / mean)


@_defaults(eps=1e-6, wd=0.0)
@torch.no_grad()
def lamb_step(
    p: Tensor,
    lr: float,
    mom: float,
    mom_damp: float,
    step: int,
    sqr_mom: float,
    sqr_damp: float,
    grad_avg: Tensor,
    sqr_avg: Tensor,
    eps: float,
    wd: float,
    guard: bool = True,
    **kwargs: Any,
) -> Tensor:
    """LAMB's step: Adam's direction and wd * p, scaled by rms(p) / rms(direction), at most 10.

    Where either is 0 the ratio is 1, so that a tensor of zeros moves. With `guard=False` such a
    tensor stays where it is, as in the course; 0 / 0 is no step there, where the course had NaN.
    """
    mean, square = debias(mom, mom_damp, step), debias(sqr_mom, sqr_damp, step)
    direction = grad_avg / mean / ((sqr_avg / square).sqrt_().add_(eps)) + wd * p
    size, length = p.square().mean().sqrt(), direction.square().mean().sqrt()
    ratio = torch.where(length > 0, (size / length).clamp(max=10.0), 0.0)
    if guard:
        ratio = torch.where(ratio > 0, ratio, 1.0)
    return p.sub_(direction.mul_(ratio), alpha=lr)


def _grad(p: Tensor) -> Tensor:
    if p.grad is None:
        raise ValueError("the parameter has no gradient: call backward() first")
    return p.grad
