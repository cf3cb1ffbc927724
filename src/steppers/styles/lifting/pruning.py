"""Leaving out what nobody reads: values of a step, and state that moves no parameter."""

from __future__ import annotations

from .phases import Update
from .recording import inputs_of


def prune(updates: list[Update]) -> None:
    """Leave out of a whole chain what is not needed.

    Where it moves p along the gradient that is all that p does not depend on, state too; else
    only the values that no later procedure reads.
    """
    if any(_steps(update) for update in updates):
        _keep(updates, _needed(updates))
        return
    for i, update in reversed([*enumerate(updates)]):
        for name in list(update.outputs):
            kept = name == "p" or any(name in each.slots for each in updates)
            if not kept and not _is_read(name, updates[i + 1 :]):
                del update.outputs[name]


def leave_out(update: Update) -> None:
    """Leave out of a lone rule the second names of a value; of one that steps what it has for
    itself, as of a chain.
    """
    if _steps(update):
        prune([update])
    shared = {max(pair, key=[*update.left.names].index)
              for pair, always in update.left.pairs.items() if always}  # fmt: skip
    for name in shared & update.outputs.keys() - update.slots.keys():
        del update.outputs[name]


def _steps(update: Update) -> bool:
    """True for a procedure that moves p along the gradient, or along what was made of it."""
    moved = inputs_of(update.outputs.get("p")).keys() - {"p", "t"}
    return bool(moved & {"g", *update.slots, *update.left.names})


def _is_read(name: str, later: list[Update]) -> bool:
    """True if a value is read before another one takes its name."""
    for update in later:
        if name in inputs_of(*update.outputs.values()):
            return True
        if name in update.outputs:
            return False
    return False


def _needed(updates: list[Update]) -> set[tuple[int, str]]:
    """The outputs, by procedure and name, that the parameters depend on."""
    slots = {name for update in updates for name in update.slots}
    needed: set[tuple[int, str]] = set()
    found = {(i, "p") for i, update in enumerate(updates) if "p" in update.outputs}
    while found:
        needed |= found
        read = {(i, name) for i, output in found for name in inputs_of(updates[i].outputs[output])}
        makers = {(j, name) for i, name in read for j, update in enumerate(updates)
                  if name in update.outputs and (j < i or name in slots)}  # fmt: skip
        found = makers - needed
    return needed


def _keep(updates: list[Update], needed: set[tuple[int, str]]) -> None:
    for i, update in enumerate(updates):
        update.outputs = {n: v for n, v in update.outputs.items() if (i, n) in needed}
        used = inputs_of(*update.outputs.values())
        update.slots = {n: init for n, init in update.slots.items() if n in used}
