"""Kept scalars: one number a group (schedule-free's weight sum) or for all (Prodigy's d).

Those that host scalars alone feed are computed in each group from its own hypers; those that a
global reduction feeds have one value, from the first group whose lr is not 0. A group whose lr is 0
leaves them as they are: checkpoint tools probe with such a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import engines
from ..engines.batch import Batch, host_values
from ..program import Program
from ..tracing import GLOBAL, HOST
from .recipe import Key, Recipe


def keep(ran: Iterable[tuple[dict[str, Any], Mapping[str, Any], Batch, Any]]) -> dict[str, Any]:
    """Write what host scalars feed to the groups that ran; return what reductions feed."""
    common: dict[str, Any] = {}
    for group, hypers, batch, skipped in ran:
        if batch.program.kept and not is_zero(hypers.get("lr", 1.0)):
            new = engines.kept_values(batch)
            common = {n: v for n, v in new.items() if batch.program.kept[n] == GLOBAL} | common
            host = {n: v for n, v in new.items() if n not in common}
            group.update({n: unless(skipped, v, group[n]) for n, v in host.items()})
    return common


def settle(
    owner: str,
    groups: Iterable[tuple[dict[str, Any], Recipe, Key]],
    which: str,
    busy: Sequence[Any],
    common: Mapping[str, Any],
    skipped: bool,
) -> None:
    """Give all groups the common values, and advance those of groups that had no gradient."""
    for group, recipe, key in groups:
        names = recipe.kept(key)
        group.update({name: value for name, value in common.items() if name in names})
        idle = group["params"] and not any(group is each for each in busy)
        if idle and names - recipe.shared(key) and not (skipped and recipe.skips(key)):
            hypers = recipe.values(owner, group, key)
            for programs in recipe.all_programs(key):
                if which in programs.programs and not is_zero(hypers.get("lr", 1.0)):
                    program = programs.programs[which]
                    group.update(_alone(program, hypers, group["params"][0]))


def _alone(program: Program, hypers: Mapping[str, Any], p: Tensor) -> dict[str, Any]:
    """Kept scalars from hypers alone; what else the program asks of the host cannot reach them."""
    asked = {name: hypers.get(name, 1.0) for name in program.inputs}
    hosts = host_values(program, asked, p)
    host = [n for n, kind in program.kept.items() if kind == HOST and n in program.outputs]
    return {name: hosts[program.outputs[name]] for name in host}


def unless(skipped: Any, new: Any, old: Any) -> Any:
    """The new value of a host scalar, unless the step was skipped."""
    if isinstance(skipped, bool):
        return old if skipped else new
    wide = torch.float32 if skipped.device.type == "mps" else torch.float64
    like = next((x for x in (new, old) if isinstance(x, Tensor)), skipped.to(wide))
    sides = (torch.as_tensor(x, dtype=like.dtype, device=like.device) for x in (old, new))
    return torch.where(skipped.to(like.device), *sides)


def is_zero(lr: Any) -> bool:
    """True if lr is 0, as far as the host knows: a tensor elsewhere is not read back."""
    if isinstance(lr, Tensor):
        return lr.device.type == "cpu" and lr.detach().item() == 0
    return lr == 0
