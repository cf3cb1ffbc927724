"""What the next run of a chain would work on, found without making state: read, never run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .shell import precision, storing, work
from .shell.counters import count_of
from .shell.protocol import Shell
from .shell.work import Work
from .slots import dtype_of, make, shape_of


def trained(p: Tensor) -> bool:
    """True for parameters that get gradients."""
    return p.requires_grad or p.grad is not None


def pieces(
    optimizer: Shell, group: dict[str, Any], which: str, picks: Callable[[Tensor], bool]
) -> list[Work]:
    """The pieces of work of one group, each with its batch if its rules can be traced.

    Parameters, gradients and slots that exist are in them. For others there are placeholders of
    the same shape, dtype and device, which take no memory.
    """
    recipe, key = optimizer.recipe_and_key(group)
    values = recipe.values(type(optimizer).__name__, group, key)
    members = [i for i, p in enumerate(group["params"]) if picks(p)]
    found = work.by_program(recipe, key, group, values, members)
    return [each for piece in found for each in _filled(optimizer, piece, which)]


def _filled(optimizer: Shell, piece: Work, which: str) -> list[Work]:
    """A piece in parts that are stored alike, as a run of the chain would make them."""
    counting = which == "steps"
    piece.states = [_state(optimizer, piece, p) for p in piece.params]
    piece.counts = [_count(optimizer, piece, p) + counting for p in piece.params]
    parts = storing.alike(piece)
    for part in parts if which in piece.programs.programs else ():
        part.batch = work.to_batch(part, which)
        part.grads = [storing.as_real(_gradient(p)) for p in part.params]
        work.fill(part, part.batch, counting, numbered=False)
    return parts


def _state(optimizer: Shell, piece: Work, p: Tensor) -> dict[str, Any]:
    """A parameter's state, with placeholders for what it lacks."""
    state: dict[str, Any] = dict(optimizer.state.get(p) or {})
    host = work.host_slots(piece.programs) if not piece.live else frozenset[str]()
    kept = piece.programs.binding.slots
    for name, slot in kept.items():
        if state.get(name) is not None:
            continue
        if slot.shape == "scalar":
            state[name] = make(slot, p.detach(), piece.hypers, host=name in host)
        else:
            dtype = dtype_of(slot, p, precision.slot_dtype(piece.group, name))
            state[name] = _placeholder(shape_of(slot, p), dtype, p)
    for name, x in {
        "p": p,
        **{n: state[n] for n, s in kept.items() if s.shape != "scalar"},
    }.items():
        if precision.rounding_of(piece.group, name, x.dtype) == "kahan":
            state.setdefault(name + precision.LOW, _placeholder(x.shape, x.dtype, p))
    if state.get("step") is None:
        state["step"] = torch.zeros((), device=p.device if piece.live else "cpu")
    return state


def _count(optimizer: Shell, piece: Work, p: Tensor) -> float:
    held = optimizer.state.get(p) or {}
    return 0.0 if piece.live else count_of(held, piece.programs.binding.slots)


def _gradient(p: Tensor) -> Tensor:
    grad = p.grad
    dense = grad is not None and grad.layout == torch.strided
    return grad if grad is not None and dense else _placeholder(p.shape, p.dtype, p)


def _placeholder(shape: Sequence[int], dtype: torch.dtype, p: Tensor) -> Tensor:
    """A tensor whose elements are all the same one."""
    return torch.zeros((), dtype=dtype, device=p.device).expand(torch.Size(shape))
