"""Composer's steps as functions of lists of tensors, apart from any class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor


@torch.no_grad()
def sgdw(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    momentum_buffers: list[Tensor | None],
    *,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    initial_lr: float | None = None,
) -> None:
    """One step of DecoupledSGDW on lists of tensors; params and buffers are changed in place.

    A buffer of None becomes a copy of its gradient, undampened. `initial_lr` None means lr: all of
    `weight_decay` applies. Gradients are not modified. Raises ValueError for lists of different
    lengths and values out of range, TypeError for what is no tensor and no number, before anything
    moves.

    >>> p = torch.ones(2)
    >>> sgdw([p], [torch.ones(2)], [None], lr=0.05, weight_decay=0.1, initial_lr=0.1); p
    tensor([0.9000, 0.9000])
    """
    _check_sizes("sgdw", params=params, grads=grads, momentum_buffers=momentum_buffers)
    _check_tensors("sgdw", params=params, grads=grads)
    _check_numbers("sgdw", lr=lr, momentum=momentum, weight_decay=weight_decay)
    _check_numbers("sgdw", initial_lr=lr if initial_lr is None else initial_lr)
    buffers = cast("object", momentum_buffers)
    if momentum != 0 and not isinstance(buffers, list):
        raise TypeError("sgdw: momentum_buffers must be a list: new buffers are put into it")
    kept = _kept(lr, initial_lr, weight_decay)
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        u = g
        if momentum != 0:
            buffer = momentum_buffers[i]
            if buffer is None:
                buffer = momentum_buffers[i] = g.detach().clone()
            else:
                buffer.mul_(momentum).add_(g, alpha=1 - dampening)
            u = g.add(buffer, alpha=momentum) if nesterov else buffer
        p.mul_(kept)
        p.add_(u, alpha=-lr)


@torch.no_grad()
def adamw(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    exp_avgs: Sequence[Tensor],
    exp_avg_sqs: Sequence[Tensor],
    max_exp_avg_sqs: Sequence[Tensor],
    state_steps: Sequence[Tensor],
    *,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.95,
    eps: float = 1e-8,
    weight_decay: float = 1e-5,
    amsgrad: bool = False,
    initial_lr: float | None = None,
) -> None:
    """One step of DecoupledAdamW on lists of tensors; all but gradients and steps change in place.

    `state_steps` are the counts with this step in them; `max_exp_avg_sqs` may be empty without
    amsgrad. `initial_lr` as for `sgdw`. Raises as `sgdw` does.

    >>> p, m, v = torch.ones(1), torch.zeros(1), torch.zeros(1)
    >>> adamw([p], [torch.ones(1)], [m], [v], [], [torch.tensor(1.0)], lr=0.1, weight_decay=0.0); p
    tensor([0.9000])
    """
    lists = dict(grads=grads, exp_avgs=exp_avgs, exp_avg_sqs=exp_avg_sqs, state_steps=state_steps)
    largest = dict(max_exp_avg_sqs=max_exp_avg_sqs) if amsgrad else {}
    _check_sizes("adamw", params=params, **lists, **largest)
    _check_tensors("adamw", params=params, **lists, **largest)
    _check_numbers("adamw", lr=lr, eps=eps, weight_decay=weight_decay)
    _check_numbers("adamw", initial_lr=lr if initial_lr is None else initial_lr)
    _check_numbers("adamw", below=1.0, beta1=beta1, beta2=beta2)
    kept = _kept(lr, initial_lr, weight_decay)
    for i, (p, g, m, v) in enumerate(zip(params, grads, exp_avgs, exp_avg_sqs, strict=True)):
        t = float(state_steps[i])
        p.mul_(kept)
        m.mul_(beta1).add_(g, alpha=1 - beta1)
        v.mul_(beta2).addcmul_(g, g, value=1 - beta2)
        second = torch.maximum(max_exp_avg_sqs[i], v, out=max_exp_avg_sqs[i]) if amsgrad else v
        root = second.sqrt().div_(math.sqrt(1 - beta2**t)).add_(eps)
        p.addcdiv_(m, root, value=-lr / (1 - beta1**t))


def _kept(lr: float, initial_lr: float | None, weight_decay: float) -> float:
    """What decay leaves of p: all of it goes where the rate began at 0 or nothing is known."""
    return 1 - (lr / initial_lr if initial_lr else 1.0) * weight_decay


def _check_sizes(owner: str, **lists: Sequence[Any]) -> None:
    sizes = {name: len(each) for name, each in lists.items()}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise ValueError(f"{owner}: the lists must be of one length, got {found}")


def _check_tensors(owner: str, **lists: Sequence[Any]) -> None:
    for name, each in lists.items():
        for i, x in enumerate(each):
            if not isinstance(x, Tensor):
                raise TypeError(f"{owner}: {name}[{i}] must be a tensor, got {type(x).__name__}")


def _check_numbers(owner: str, below: float = math.inf, **values: Any) -> None:
    wanted = "finite and >= 0" if below == math.inf else f"in [0, {below:g})"
    for name, value in values.items():
        if not isinstance(value, float | int | Tensor):
            raise TypeError(f"{owner}: {name} must be a number, got {value!r}")
        if not 0 <= value < below:
            raise ValueError(f"{owner}: {name} must be {wanted}, got {value!r}")
