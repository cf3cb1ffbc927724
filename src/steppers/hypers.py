"""Any hyper-parameter of any torch optimizer, by name, in all groups at once.

Names are the group's own keys (`lr`, `weight_decay`), elements of torch's tuples (`beta1` in
`betas`), and fastai's short names (`wd`, `mom`, `sqr_mom`).
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from . import names
from .spread import spread

_NO_HYPERS = ("params", "param_names")


def places(group: Mapping[str, Any]) -> dict[str, names.Place]:
    """Where a group holds each hyper: a key, or an element of one of torch's tuples."""
    found: dict[str, names.Place] = {key: (key, None) for key in group if key not in _NO_HYPERS}
    for key, members in names.TUPLES.items():
        value = group.get(key)
        if isinstance(value, tuple | list):
            size = min(len(members), len(value))  # pyright: ignore[reportUnknownArgumentType]
            found.update({members[i]: (key, i) for i in range(size)})
    return found


def having(optimizer: torch.optim.Optimizer, name: str) -> list[tuple[int, names.Place]]:
    """The groups that have a hyper, by index, and where.

    Raises KeyError with the nearest names if no group has it.
    """
    found: list[tuple[int, names.Place]] = []
    known: dict[str, None] = {}
    for index, group in enumerate(optimizer.param_groups):
        where = places(group)
        known.update(dict.fromkeys(where))
        if (long := names.resolve(name, where)) in where:
            found.append((index, where[long]))
    if not found:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(known)}"
        raise KeyError(f"{type(optimizer).__name__} has no hyper-parameter {name!r}; {hint}")
    return found


def get(optimizer: torch.optim.Optimizer, name: str) -> list[Any]:
    """A hyper's value in each group that has it.

    >>> weights = [torch.nn.Parameter(torch.ones(2))]
    >>> get(torch.optim.Adam(weights, betas=(0.8, 0.99)), "mom")
    [0.8]
    """
    groups = optimizer.param_groups
    return [names.get(groups[index], place) for index, place in having(optimizer, name)]


def put(optimizer: torch.optim.Optimizer, name: str, value: object) -> None:
    """Set a hyper in all groups that have it: one value, one a group, or a slice (see `spread`).

    A tensor that a group holds is filled in place, as torch's schedulers do. Raises KeyError for a
    name that no group has, ValueError for a number of values that does not fit or for one out of
    the hyper's range; nothing is changed then.

    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    >>> put(optimizer, "lr", 0.2)
    >>> optimizer.param_groups[0]["lr"]
    0.2
    """
    put_all(optimizer, {name: value})


def put_all(optimizer: torch.optim.Optimizer, values: Mapping[str, object]) -> None:
    """Set several hypers as `put` does; none is set if one of them raises."""
    writes = [each for name, value in values.items() for each in _checked(optimizer, name, value)]
    for group, place, value in writes:
        write(group, place, value)


def _checked(
    optimizer: torch.optim.Optimizer, name: str, value: object
) -> list[tuple[dict[str, Any], names.Place, object]]:
    """What to write where."""
    where = having(optimizer, name)
    if isinstance(value, tuple) and isinstance(_held(optimizer, where[0]), tuple | list):
        value = [value]  # one tuple for all groups
    values = spread(value, len(where), name)
    for (_, place), each in zip(where, values, strict=True):
        check(type(optimizer).__name__, place, each)
    groups = optimizer.param_groups
    return [(groups[i], place, v) for (i, place), v in zip(where, values, strict=True)]


def check(owner: str, place: names.Place, value: object) -> None:
    """Raise ValueError for a number that is out of its hyper's range, TypeError for a text."""
    key, element = place
    full = key if element is None else names.TUPLES[key][element]
    if full in names.RANGES:
        names.check_value(owner, full, place, value)


def _held(optimizer: torch.optim.Optimizer, where: tuple[int, names.Place]) -> Any:
    index, place = where
    return names.get(optimizer.param_groups[index], place)


def write(group: dict[str, Any], place: names.Place, value: object) -> None:
    """Write a checked value at its place; a tensor that the group holds is filled."""
    held = names.get(group, place)
    if isinstance(held, Tensor) and not isinstance(value, Tensor):
        held.fill_(cast("float", value))
    else:
        names.put(group, place, value)
