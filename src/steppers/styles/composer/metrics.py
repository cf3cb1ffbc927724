"""Norms of moments, parameters, updates and gradients, by the parameter's name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...optimizer import Optimizer

METRICS = {  # as Composer names them: the slot that holds the norm
    "l2_norm/moment": "moment_norm",
    "l2_norm/param": "param_norm",
    "l2_norm/update": "update_norm",
    "l2_norm/grad": "grad_norm",
}


def per_parameter_metrics(
    optimizer: Optimizer, named: nn.Module | Iterable[tuple[str, Tensor]] | None = None
) -> dict[str, Tensor]:
    """Norms of moment, parameter, update and gradient of the last step, by the parameter's name.

    They were found by the step's own pass over memory, where `metrics=True`. `named` is a model or
    its named_parameters(); without it the optimizer's own names are used. Parameters that took
    no step are left out. Each is a 0-dim tensor: nothing waits for the device. Raises TypeError
    for an optimizer that keeps no norms, ValueError without names.
    """
    found: dict[str, Tensor] = {}
    pairs = named.named_parameters() if isinstance(named, nn.Module) else named
    for name, p in _names(optimizer) if pairs is None else pairs:
        report(optimizer, p, name, found)
    return found


def report(
    optimizer: Optimizer, p: Tensor, name: str, found: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Add the norms of one parameter's last step to a dict; TypeError where none are kept."""
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
    """A number of its own, where it is a DTensor over the ranks as a tensor on each."""
    return value.full_tensor() if hasattr(value, "full_tensor") else value.detach().clone()


def _names(optimizer: Optimizer) -> list[tuple[str, Tensor]]:
    groups = optimizer.param_groups
    if any("param_names" not in group for group in groups):
        raise ValueError(
            f"{type(optimizer).__name__} has no names for its parameters: give "
            "model.named_parameters(), here or to its constructor"
        )
    return [pair for g in groups for pair in zip(g["param_names"], g["params"], strict=True)]


# --- over the ranks ------------------------------------------------------------------------------


def pre_reduce_metrics(metrics: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Norms as their squares, which add up over the parts of a tensor; others as they are."""
    return {name: value.square() if _is_norm(name) else value for name, value in metrics.items()}


def dist_reduce_metrics(metrics: Mapping[str, Tensor], group: Any = None) -> dict[str, Tensor]:
    """Metrics of whole tensors from what `pre_reduce_metrics` made of each rank's parts.

    Squares of norms are summed over the ranks, and their roots are given; other metrics are
    averaged. Every rank calls it; a name that one has not counts as 0 there. Without
    torch.distributed this rank is all there are. Parameters that are DTensors need none of this:
    their norms are of the whole.

    >>> whole = dist_reduce_metrics(pre_reduce_metrics({"l2_norm/grad/w": torch.tensor(3.0)}))
    >>> whole["l2_norm/grad/w"].item()
    3.0
    """
    alone = not (torch.distributed.is_available() and torch.distributed.is_initialized())
    ranks = 1 if alone else torch.distributed.get_world_size(group)
    names = sorted(metrics) if alone else _all_names(metrics, ranks, group)
    if not names:
        return {}
    here = next((value.device for value in metrics.values()), torch.device("cpu"))
    zero = torch.zeros((), device=here)
    sums = torch.stack([metrics.get(name, zero).detach().float() for name in names])
    if not alone:
        torch.distributed.all_reduce(sums, group=group)
    pairs = zip(names, sums.unbind(), strict=True)
    return {name: total.sqrt() if _is_norm(name) else total / ranks for name, total in pairs}


def _all_names(metrics: Mapping[str, Tensor], ranks: int, group: Any) -> list[str]:
    """The names that any rank has, in one order for all."""
    found: list[Any] = [None] * ranks
    torch.distributed.all_gather_object(found, list(metrics), group=group)
    return sorted({name for names in found for name in names})


def _is_norm(name: str) -> bool:
    return name.startswith("l2_norm")
