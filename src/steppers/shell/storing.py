"""The tensors of a piece of work as they are stored: their formats, low parts and random draws."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..engines.storage import LOW, Format, Place

if TYPE_CHECKING:
    from .work import Work


def as_real(x: Tensor) -> Tensor:
    """Complex tensors as pairs of real ones, sharing memory."""
    return torch.view_as_real(x) if x.is_complex() else x


def stored(work: Work, i: int) -> dict[str, Tensor]:
    """What a step may store for the i-th parameter: p and its slots that are tensors."""
    kept, state = work.programs.binding.slots, work.states[i]
    tensors = {name: state[name] for name, slot in kept.items() if slot.shape != "scalar"}
    return {"p": work.params[i], **tensors}


def alike(work: Work) -> list[Work]:
    """A piece of work in parts whose parameters store the same names in the same dtypes."""
    if work.group.get("rounding") is None:
        return [work]
    found: dict[Any, list[int]] = {}
    for i in range(len(work.params)):
        found.setdefault(tuple(x.dtype for x in stored(work, i).values()), []).append(i)
    columns = ("members", "params", "states", "counts")
    return [
        replace(work, **{name: [getattr(work, name)[i] for i in part] for name in columns})
        for part in found.values()
    ]


def lows(
    work: Work, formats: Mapping[str, Format], names: Container[str]
) -> dict[str, list[Tensor]]:
    """The low parts of what is stored as pairs, as columns."""
    pairs = [n for n, form in formats.items() if form.rounding == "kahan" and n in names]
    keys = [name + LOW for name in pairs]
    return {key: [as_real(state[key]) for state in work.states] for key in keys}


def draws(
    work: Work, formats: Mapping[str, Format], counting: bool
) -> list[tuple[float, float, float]]:
    """What random rounding is drawn from: (seed, t, number) of each parameter."""
    if all(form.rounding != "stochastic" for form in formats.values()):
        return []
    live, seed = work.live, work.group.get("seed", 0)
    steps = [state["step"].item() + counting for state in work.states] if live else work.counts
    return [(seed, t, work.number_of(i)) for i, t in enumerate(steps)]


def place(
    tensors: Mapping[str, Tensor],
    name: str,
    formats: Mapping[str, Format],
    key: tuple[float, float, float],
) -> Place:
    """Where one of a parameter's tensors, given by name with their low parts, is stored."""
    form = formats.get(name)
    pair = form is not None and form.rounding == "kahan"
    low = as_real(tensors[name + LOW]) if pair else None
    return Place(as_real(tensors[name]), low, form, key)
