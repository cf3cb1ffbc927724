"""Cells: what the memory of a tensor holds, and who else may hold the same memory.

An in-place method puts a new value into a cell, so that all who hold the cell see it: `p.data` and
`p` are one cell. Of some pairs nobody knows whether they are one memory, as of x and x.float():
once one of them is changed, the other is lost, and reading it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ...tracing import Type
from .recording import Raw, Recorder

Pairs: TypeAlias = "Mapping[frozenset[str], bool]"  # names of one memory: True always, False maybe


@dataclass(eq=False)
class Cell:
    """What a tensor holds now, of which shape, and what it held when it was made."""

    value: Raw
    extent: Type
    changed: bool = False
    initial: Raw = field(init=False)
    maybe: list[tuple[Cell, str]] = field(default_factory=list["tuple[Cell, str]"])
    lost: TypeError | None = None  # raised when it is read

    def __post_init__(self) -> None:
        self.initial = self.value

    def put(self, recorder: Recorder, value: Raw) -> None:
        """Hold a new value; those that may be the same memory are lost."""
        self.value, self.changed, self.lost = value, True, None
        reached, stack = {id(self)}, [*self.maybe]
        while stack:
            other, why = stack.pop()
            if id(other) not in reached:
                reached.add(id(other))
                stack += other.maybe
                other.lost = recorder.refusal_of(
                    f"changes in place what may be the memory of another tensor ({why})",
                    "work on a clone(), or bind the result to a name",
                )


def doubt(one: Cell, other: Cell, why: str) -> None:
    """Note that two cells may be one memory."""
    one.maybe.append((other, why))
    other.maybe.append((one, why))


def sharing(states: Iterable[Mapping[str, Cell]]) -> dict[frozenset[str], bool]:
    """The pairs of names that are one memory in some of these states, and whether in all."""
    listed = [
        {
            frozenset((a, b))
            for a, held in state.items()
            for b, other in state.items()
            if a < b and held is other
        }
        for state in states
    ]
    return {
        pair: all(pair in each for each in listed) for pair in set[frozenset[str]]().union(*listed)
    }


def either(one: Pairs, other: Pairs) -> dict[frozenset[str], bool]:
    """Pairs of two moments: always one memory only if they are it in both."""
    return {pair: one.get(pair, False) and other.get(pair, False) for pair in {**one, **other}}
