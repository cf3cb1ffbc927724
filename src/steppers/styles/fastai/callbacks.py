"""fastai's statistics and steppers: functions of a parameter, its state and its group's hypers.

Each is called as `cb(p, **state, **hypers)`, takes what it needs and leaves the rest. One that
returns a dict has changed the state; a stepper moves `p` in place and returns it. `defaults` on a
function are hypers that it brings along. The parameter may require gradients: `detach` shares its
memory and its version count, so autograd still sees that it has changed.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeAlias, TypeVar, cast

import torch
from torch import Tensor
from torch.nn.functional import softplus

Callback: TypeAlias = Callable[..., Any]
Function = TypeVar("Function", bound=Callback)


def bringing(**defaults: float) -> Callable[[Function], Function]:
    """Give a callback the hypers that it brings along."""

    def add(callback: Function) -> Function:
        vars(callback)["defaults"] = defaults
        return callback

    return add


def in_parts(callback: Function) -> Function:
    """Have a complex parameter's real and imaginary parts treated as two numbers, as torch does."""

    @wraps(callback)
    def called(p: Tensor, *args: Any, **values: Any) -> Any:
        if not p.is_complex():
            return callback(p, *args, **values)
        view = _parts(p.detach())
        view.grad = _parts(p.grad)
        named = {name: _parts(value) for name, value in values.items()}
        found = callback(view, *map(_parts, args), **named)
        if isinstance(found, dict):
            new = cast("dict[str, Tensor]", found)
            return {name: torch.view_as_complex(value) for name, value in new.items()}
        return p

    return cast("Function", called)


def _parts(value: Any) -> Any:
    if isinstance(value, Tensor) and value.is_complex():
        return torch.view_as_real(value.resolve_conj())
    return value


# --- decay, first in the list ---------------------------------------------------------------------


@bringing(wd=0.0)
def weight_decay(p: Tensor, lr: float, wd: float, do_wd: bool = True, **_: Any) -> Tensor:
    """Decoupled decay: p * (1 - lr * wd); parameters with the flag do_wd=False are left alone."""
    if do_wd and wd != 0:
        p.detach().mul_(1 - lr * wd)
    return p


@bringing(wd=0.0)
def l2_reg(p: Tensor, lr: float, wd: float, do_wd: bool = True, **_: Any) -> Tensor:
    """Coupled decay: adds wd * p to p.grad in place. An Optimizer's step puts p.grad back."""
    if do_wd and wd != 0 and p.grad is not None:
        p.grad.add_(p.detach(), alpha=wd)
    return p


l2_reg.on_gradient = True  # pyright: ignore[reportFunctionMemberAccess]  # read by Optimizer


# --- statistics -----------------------------------------------------------------------------------


@bringing(mom=0.9)
def average_grad(
    p: Tensor, mom: float, dampening: bool = False, grad_avg: Tensor | None = None, **_: Any
) -> dict[str, Any]:
    """mom * average + gradient, from zero; with `dampening` the gradient counts (1 - mom)."""
    grad = gradient(p)
    average = torch.zeros_like(grad) if grad_avg is None else grad_avg
    return {"grad_avg": average.mul_(mom).add_(grad, alpha=1 - mom if dampening else 1)}


@bringing(sqr_mom=0.99)
@in_parts
def average_sqr_grad(
    p: Tensor, sqr_mom: float, dampening: bool = True, sqr_avg: Tensor | None = None, **_: Any
) -> dict[str, Any]:
    """The same of the squared gradient; `dampening` is on."""
    grad = gradient(p)
    average = torch.zeros_like(grad) if sqr_avg is None else sqr_avg
    damp = 1 - sqr_mom if dampening else 1
    return {"sqr_avg": average.mul_(sqr_mom).addcmul_(grad, grad, value=damp)}


def step_stat(p: Tensor, step: int = 0, **_: Any) -> dict[str, Any]:
    """Count the parameter's steps, the first being 1."""
    return {"step": step + 1}


def debias(mom: float, damp: float, step: int) -> float:
    """The sum of an average's weights after `step` steps; 1 - mom**step where damp is 1 - mom.

    >>> debias(0.5, 0.5, 2), debias(0.5, 1.0, 2)
    (0.75, 1.5)
    """
    return damp * (step if mom == 1 else (1 - mom**step) / (1 - mom))


def debiased_root(sqr_avg: Tensor, sqr_mom: float, step: int) -> Tensor:
    """The root of a dampened average of squares, debiased; a new tensor."""
    return (sqr_avg / debias(sqr_mom, 1 - sqr_mom, step)).sqrt_()


@bringing(trust_coeff=0.02, wd=0.0, eps=1e-8)
def larc_layer_lr(
    p: Tensor,
    lr: float,
    trust_coeff: float,
    wd: float,
    eps: float,
    clip: bool = True,
    guard: bool = True,
    **_: Any,
) -> dict[str, Any]:
    """The layer's own rate: lr * trust_coeff * |p| / (|g| + wd * |p| + eps), at most lr if `clip`.

    Where a norm is 0 it is lr, so that a tensor of zeros moves; `guard=False`: the formula's 0.
    """
    p_norm, g_norm = p.detach().norm(), gradient(p).norm()
    ratio = trust_coeff * p_norm / (g_norm + wd * p_norm + eps)
    if guard:
        ratio = torch.where((p_norm > 0) & (g_norm > 0), ratio, 1.0)
    return {"local_lr": lr * (ratio.clamp(max=1.0) if clip else ratio)}


# --- steppers -------------------------------------------------------------------------------------


def sgd_step(p: Tensor, lr: float, **_: Any) -> Tensor:
    """p - lr * g."""
    p.detach().add_(gradient(p), alpha=-lr)
    return p


def momentum_step(p: Tensor, lr: float, grad_avg: Tensor, **_: Any) -> Tensor:
    """p - lr * average."""
    p.detach().add_(grad_avg, alpha=-lr)
    return p


@bringing(eps=1e-8)
@in_parts
def rms_prop_step(
    p: Tensor, lr: float, sqr_avg: Tensor, eps: float, grad_avg: Tensor | None = None, **_: Any
) -> Tensor:
    """The gradient, or its average where there is one, over the root of the square's average."""
    direction = gradient(p) if grad_avg is None else grad_avg
    p.detach().addcdiv_(direction, sqr_avg.sqrt().add_(eps), value=-lr)
    return p


@bringing(eps=1e-5)
@in_parts
def adam_step(
    p: Tensor,
    lr: float,
    mom: float,
    step: int,
    sqr_mom: float,
    grad_avg: Tensor,
    sqr_avg: Tensor,
    eps: float,
    **_: Any,
) -> Tensor:
    """Adam on dampened averages, eps outside the root (Kingma & Ba 2014, arXiv:1412.6980)."""
    root = debiased_root(sqr_avg, sqr_mom, step).add_(eps)
    p.detach().addcdiv_(grad_avg, root, value=-lr / debias(mom, 1 - mom, step))
    return p


@bringing(eps=1e-5, beta=0.0)
@in_parts
def radam_step(
    p: Tensor,
    lr: float,
    mom: float,
    step: int,
    sqr_mom: float,
    grad_avg: Tensor,
    sqr_avg: Tensor,
    eps: float,
    beta: float,
    **_: Any,
) -> Tensor:
    """Rectified Adam (Liu et al. 2019, arXiv:1908.03265); momentum alone while r <= 5.

    A `beta` other than 0 puts a softplus over the denominator (SAdam, arXiv:1908.00700).
    """
    mean_lr = lr / debias(mom, 1 - mom, step)
    r_inf = 2 / (1 - sqr_mom) - 1
    r = r_inf - 2 * step * sqr_mom**step / (1 - sqr_mom**step)
    if r <= 5:
        p.detach().add_(grad_avg, alpha=-mean_lr)
        return p
    rect = ((r - 4) * (r - 2) * r_inf / ((r_inf - 4) * (r_inf - 2) * r)) ** 0.5
    root = debiased_root(sqr_avg, sqr_mom, step).add_(eps)
    root = softplus(root, beta) if beta else root
    p.detach().addcdiv_(grad_avg, root, value=-mean_lr * rect)
    return p


@bringing(nu_1=0.7, nu_2=1.0, eps=1e-8)
@in_parts
def qhadam_step(
    p: Tensor,
    lr: float,
    mom: float,
    sqr_mom: float,
    sqr_avg: Tensor,
    nu_1: float,
    nu_2: float,
    step: int,
    grad_avg: Tensor,
    eps: float,
    **_: Any,
) -> Tensor:
    """Quasi-hyperbolic Adam: averages mixed with the gradient (Ma & Yarats 2018, 1810.06801)."""
    grad = gradient(p)
    mean = (1 - nu_1) * grad + nu_1 / debias(mom, 1 - mom, step) * grad_avg
    second = (1 - nu_2) * grad**2 + nu_2 / debias(sqr_mom, 1 - sqr_mom, step) * sqr_avg
    p.detach().addcdiv_(mean, second.sqrt_().add_(eps), value=-lr)
    return p


def larc_step(
    p: Tensor, local_lr: Tensor | float, grad_avg: Tensor | None = None, **_: Any
) -> Tensor:
    """p - the layer's own rate times the gradient, or its average where there is one."""
    p.detach().sub_(local_lr * (gradient(p) if grad_avg is None else grad_avg))
    return p


@bringing(eps=1e-5)
@in_parts
def lamb_step(
    p: Tensor,
    lr: float,
    mom: float,
    step: int,
    sqr_mom: float,
    grad_avg: Tensor,
    sqr_avg: Tensor,
    eps: float,
    **_: Any,
) -> Tensor:
    """Adam's direction in the size of p, at most 10 times (You et al. 2019, arXiv:1904.00962).

    Decay is a callback of its own and not in the ratio, which is 1 where a norm is 0.
    """
    root = debiased_root(sqr_avg, sqr_mom, step).add_(eps)
    direction = grad_avg / debias(mom, 1 - mom, step) / root
    p_size, size = p.detach().pow(2).mean().sqrt(), direction.pow(2).mean().sqrt()
    ratio = torch.where((p_size > 0) & (size > 0), (p_size / size).clamp(max=10.0), 1.0)
    p.detach().sub_(direction.mul_(lr * ratio))
    return p


def gradient(p: Tensor) -> Tensor:
    """The parameter's gradient; RuntimeError if it has none."""
    if p.grad is None:
        raise RuntimeError("a callback was called on a parameter without a gradient")
    return p.grad


@contextmanager
def unchanged_gradient(p: Tensor) -> Generator[None]:
    """Give a copy of the gradient to whatever runs in the block, then the gradient back."""
    grad = gradient(p)
    p.grad = grad.clone()
    try:
        yield
    finally:
        p.grad = grad
