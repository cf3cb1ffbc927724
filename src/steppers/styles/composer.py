"""Composer's form: decay by the schedule, the functional `sgdw`, and norms by parameter.

The classes are the catalogue's, with Composer's defaults, its warning and its metrics.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import catalogue
from ..optimizer import Optimizer

__all__ = [
    "DecoupledAdamW",
    "DecoupledSGDW",
    "dist_reduce_metrics",
    "per_parameter_metrics",
    "sgdw",
]

HIGH = 1e-3
METRICS = {  # as Composer names them: the slot that holds the norm
    "l2_norm/moment": "moment_norm",
    "l2_norm/param": "param_norm",
    "l2_norm/update": "update_norm",
    "l2_norm/grad": "grad_norm",
}
log = logging.getLogger(__name__)


class DecoupledSGDW(catalogue.DecoupledSGDW):
    """`steppers.DecoupledSGDW` as Composer has it: lr is needed, metrics are kept.

    A decay of 1e-3 or more is logged as high: it is not multiplied by lr.
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        metrics: bool = True,
        **more: Any,
    ) -> None:
        _warn_of_high(type(self).__name__, weight_decay, lr)
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov, metrics, **more)

    def report_per_parameter_metrics(
        self, param: Tensor, name: str, optimizer_metrics: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Add one parameter's norms to a dict, under `l2_norm/moment/NAME` and so on."""
        return _report(self, param, name, optimizer_metrics)


class DecoupledAdamW(catalogue.DecoupledAdamW):
    """`steppers.DecoupledAdamW` as Composer has it: metrics are kept.

    A decay of 1e-3 or more is logged as high: it is not multiplied by lr.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 1e-5,
        amsgrad: bool = False,
        *,
        metrics: bool = True,
        **more: Any,
    ) -> None:
        _warn_of_high(type(self).__name__, weight_decay, lr)
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, metrics, **more)

    def report_per_parameter_metrics(
        self, param: Tensor, name: str, optimizer_metrics: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Add one parameter's norms to a dict, under `l2_norm/moment/NAME` and so on."""
        return _report(self, param, name, optimizer_metrics)


def _warn_of_high(owner: str, weight_decay: Any, lr: Any) -> None:
    if isinstance(weight_decay, float | int) and weight_decay >= HIGH:
        log.warning(
            "%s: weight_decay=%g is high for decay that lr does not multiply; AdamW's and SGDW's "
            "%g would be %g here (times lr)",
            owner, weight_decay, weight_decay, weight_decay * float(lr),
        )  # fmt: skip


# --- metrics -----------------------------------------------------------------------------------


def per_parameter_metrics(
    optimizer: Optimizer, named: Iterable[tuple[str, Tensor]] | None = None
) -> dict[str, Tensor]:
    """Norms of moment, parameter, update and gradient of the last step, by the parameter's name.

    They were found by the step's own pass over memory, where `metrics=True`. `named` is such as
    model.named_parameters(); without it the optimizer's own names are used. Parameters that took
    no step are left out. Each is a 0-dim tensor: nothing waits for the device. Raises TypeError
    for an optimizer that keeps no norms, ValueError without names.
    """
    found: dict[str, Tensor] = {}
    for name, p in _names(optimizer) if named is None else named:
        if optimizer.state.get(p):
            _report(optimizer, p, name, found)
    return found


def _report(optimizer: Optimizer, p: Tensor, name: str, found: dict[str, Tensor]) -> Any:
    state = optimizer.state.get(p) or {}
    if state and "param_norm" not in state:
        raise TypeError(
            f"{type(optimizer).__name__} keeps no norms; make it with metrics=True "
            "(DecoupledSGDW, DecoupledAdamW)"
        )
    held = {metric: slot for metric, slot in METRICS.items() if slot in state}
    found.update({f"{metric}/{name}": _whole(state[slot]) for metric, slot in held.items()})
    return found


def _whole(value: Any) -> Tensor:
    """A number, where it is a DTensor over the ranks as a tensor on each."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value


def _names(optimizer: Optimizer) -> list[tuple[str, Tensor]]:
    groups = optimizer.param_groups
    if any("param_names" not in group for group in groups):
        raise ValueError(
            f"{type(optimizer).__name__} has no names for its parameters: give "
            "model.named_parameters(), here or to its constructor"
        )
    return [pair for g in groups for pair in zip(g["param_names"], g["params"], strict=True)]


def dist_reduce_metrics(metrics: Mapping[str, Tensor], group: Any = None) -> dict[str, Tensor]:
    """Norms of whole tensors from those of each rank's part: the root of the sum of squares.

    Every rank has to call it with the same names. Without torch.distributed they stay as they are.
    Sharded parameters of kind DTensor need none of this: their norms are of the whole.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return dict(metrics)
    names = sorted(metrics)
    if not names:
        return {}
    squares = torch.stack([metrics[name].detach().float().square() for name in names])
    torch.distributed.all_reduce(squares, group=group)
    return dict(zip(names, squares.sqrt().unbind(), strict=True))


# --- the functional form -----------------------------------------------------------------------


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
    lengths and values out of range, before anything moves.

    >>> p = torch.ones(2)
    >>> sgdw([p], [torch.ones(2)], [None], lr=0.05, weight_decay=0.1, initial_lr=0.1); p
    tensor([0.9000, 0.9000])
    """
    _check_lists(params, grads, momentum_buffers)
    _check_numbers(lr=lr, momentum=momentum, weight_decay=weight_decay)
    factor = lr / initial_lr if initial_lr else 1.0
    for i, (p, g) in enumerate(zip(params, grads, strict=True)):
        u = g
        if momentum != 0:
            buffer = momentum_buffers[i]
            if buffer is None:
                buffer = momentum_buffers[i] = g.detach().clone()
            else:
                buffer.mul_(momentum).add_(g, alpha=1 - dampening)
            u = g.add(buffer, alpha=momentum) if nesterov else buffer
        if weight_decay != 0:
            p.mul_(1 - factor * weight_decay)
        p.add_(u, alpha=-lr)


def _check_lists(params: Sequence[Any], grads: Sequence[Any], buffers: Sequence[Any]) -> None:
    sizes = [len(params), len(grads), len(buffers)]
    if len(set(sizes)) > 1:
        raise ValueError(
            "sgdw: params, grads and momentum_buffers must be of one length, got {}, {} and {}"
            .format(*sizes)
        )  # fmt: skip


def _check_numbers(**values: float) -> None:
    for name, value in values.items():
        if not (value >= 0 and math.isfinite(value)):
            raise ValueError(f"sgdw: {name} must be finite and >= 0, got {value!r}")
