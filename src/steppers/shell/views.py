"""The evaluation view: what `evaluate` makes of p, with the training bits kept beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..engines.storage import LOW
from .protocol import Shell

SAVED = "train_p"  # the key in a parameter's state that holds its training bits
LOW_OF_P = "p" + LOW
SAVED_LOW = SAVED + LOW


def enter(optimizer: Shell, evaluate: Callable[[list[dict[str, Any]]], None]) -> None:
    """Save p of every parameter that has state, and run the `evaluate` chain."""
    groups = [g for g in optimizer.param_groups if g.get("train_mode") is True]
    if not groups:
        return
    with torch.no_grad():
        for p, state in _having_state(optimizer, groups):
            state[SAVED] = p.clone(memory_format=torch.preserve_format)
            if LOW_OF_P in state:
                state[SAVED_LOW] = state[LOW_OF_P].clone(memory_format=torch.preserve_format)
    try:
        evaluate(groups)
    finally:
        for group in groups:
            group["train_mode"] = False


def leave(optimizer: Shell) -> None:
    """Put the saved bits back."""
    groups = [g for g in optimizer.param_groups if g.get("train_mode") is False]
    with torch.no_grad():
        for p, state in _having_state(optimizer, groups):
            if SAVED in state:
                p.copy_(state.pop(SAVED))
            low = state.pop(SAVED_LOW, None)
            if low is not None and LOW_OF_P in state:
                state[LOW_OF_P].copy_(low)
    for group in groups:
        group["train_mode"] = True


def _having_state(
    optimizer: Shell, groups: list[dict[str, Any]]
) -> list[tuple[Tensor, dict[str, Any]]]:
    params = (p for group in groups for p in group["params"])
    return [(p, optimizer.state[p]) for p in params if optimizer.state.get(p)]
