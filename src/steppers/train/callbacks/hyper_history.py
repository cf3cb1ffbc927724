"""Every numeric hyper-parameter of every group at each training batch, kept as its changes."""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ... import hypers

Value = float | Tensor | None
Place = tuple[str, int | None]  # a group's key, and the element where it holds a tuple


class HyperHistory(Mapping[str, list[list[float | None]]]):
    """From a hyper's name to a list for each batch, with a value for each group.

    A group without the hyper has None. A name that appears later has None for the batches before.
    """

    def __init__(self) -> None:
        self.length = 0
        self._at: dict[str, list[int]] = {}  # the batches from which on ...
        self._values: dict[str, list[list[Any]]] = {}  # ... these values hold
        self._where: dict[str, dict[str, list[Place | None]]] = {}  # by key, by name
        self._held: dict[str, list[Any]] = {}  # what the groups held at the last batch, by key
        self._groups = -1

    def look(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """Find the hypers of the groups; to be done again where these may have got others."""
        places = [_numeric(group) for group in groups]
        self._where, self._held, self._groups = {}, {}, len(groups)
        for name, (key, _) in {n: at for each in places for n, at in each.items()}.items():
            self._where.setdefault(key, {})[name] = [each.get(name) for each in places]

    def record(self, groups: Sequence[Mapping[str, Any]]) -> None:
        """One more batch, with the values that the groups hold now."""
        if len(groups) != self._groups:
            self.look(groups)
        for key, names in self._where.items():
            held = [group.get(key) for group in groups]
            if key in self._held and all(map(operator.is_, held, self._held[key])):
                continue  # the very same objects: most hypers at most batches
            for name, places in names.items():
                self._note(name, [_read(g, at) for g, at in zip(groups, places, strict=True)])
            if all(map(_is_constant, held)):
                self._held[key] = held
        self.length += 1

    def _note(self, name: str, now: list[Any]) -> None:
        if name not in self._values:
            self._at[name], self._values[name] = [], []
        elif not any(isinstance(value, Tensor) for value in now) and now == self._values[name][-1]:
            return
        self._at[name].append(self.length)
        self._values[name].append(now)

    def changed(self) -> list[str]:
        """The names whose value was not the same throughout."""
        rows = {name: _floats(values) for name, values in self._values.items()}
        return [name for name, values in rows.items() if any(now != values[0] for now in values)]

    def last(self) -> dict[str, list[float | None]]:
        """The values at the last batch."""
        return {name: _floats([values[-1]])[0] for name, values in self._values.items()}

    def __getitem__(self, name: str) -> list[list[float | None]]:
        at, values = self._at[name], _floats(self._values[name])
        series: list[list[float | None]] = [[None] * len(values[0]) for _ in range(at[0])]
        for start, end, now in zip(at, [*at[1:], self.length], values, strict=True):
            series += [list(now) for _ in range(start, end)]
        return series

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def state_dict(self) -> dict[str, Any]:
        """As numbers and tensors; None becomes NaN, which no hyper is."""
        return {
            "length": self.length,
            "changes": {
                name: [torch.tensor(self._at[name]), _packed(values)]
                for name, values in self._values.items()
            },
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.length, self._groups = state["length"], -1
        self._at = {name: at.tolist() for name, (at, _) in state["changes"].items()}
        self._values = {name: _unpacked(rows) for name, (_, rows) in state["changes"].items()}


def _numeric(group: Mapping[str, Any]) -> dict[str, Place]:
    found = hypers.places(group).items()
    return {name: place for name, place in found if _is_number(_at(group, place))}


def _at(group: Mapping[str, Any], place: Place) -> Any:
    key, element = place
    value = group.get(key)
    return value if element is None or value is None else value[element]


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_complex() and value.dtype != torch.bool
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_constant(value: Any) -> bool:
    """Whether the same object is the same value: a tensor or a list may be written to."""
    if isinstance(value, tuple):
        return all(map(_is_constant, value))  # pyright: ignore[reportUnknownArgumentType]  # any
    return value is None or isinstance(value, int | float | str)


def _read(group: Mapping[str, Any], place: Place | None) -> Value:
    value = None if place is None else _at(group, place)
    if isinstance(value, Tensor):
        return value.item() if value.is_cpu else value.detach().clone()
    return value


def _floats(rows: list[list[Any]]) -> list[list[float | None]]:
    """Values with those of a device read, in one go where there are any."""
    waiting = [each.flatten() for row in rows for each in row if isinstance(each, Tensor)]
    if not waiting:
        return rows
    read = iter(torch.cat([each.double() for each in waiting]).tolist())
    return [[next(read) if isinstance(each, Tensor) else each for each in row] for row in rows]


def _packed(rows: list[list[Any]]) -> list[Any]:
    """Rows of one length as a tensor; groups may be added in between, so there may be several."""
    widths = [len(row) for row in rows]
    floats = [[math.nan if each is None else each for each in row] for row in _floats(rows)]
    cuts = [0, *(i for i in range(1, len(rows)) if widths[i] != widths[i - 1]), len(rows)]
    parts = [floats[a:b] for a, b in itertools.pairwise(cuts)]
    return [torch.tensor(part, dtype=torch.float64) for part in parts]


def _unpacked(parts: list[Tensor]) -> list[list[Any]]:
    rows = [row for part in parts for row in part.tolist()]
    return [[None if math.isnan(each) else each for each in row] for row in rows]
