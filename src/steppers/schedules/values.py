"""What a schedule is made of: numbers, or rows of numbers with one for each group."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real
from typing import TypeAlias, cast

from torch import Tensor

Value: TypeAlias = float | Sequence[float] | Tensor
Plain: TypeAlias = float | tuple[float, ...]
Schedule: TypeAlias = Callable[[float], float | list[float]]


def plain(owner: str, name: str, value: object) -> Plain:
    """A number as a float; a list, tuple, one-dimensional tensor or array as a tuple of floats.

    Raises TypeError for anything else, ValueError for NaN, infinity or an empty row.
    """
    if isinstance(value, slice):
        raise TypeError(
            f"{owner}: {name} must be a number or one for each group, got {value}; "
            "steppers.spread.spread(slice, n) gives n numbers"
        )
    tolist = getattr(value, "tolist", None)
    value = tolist() if callable(tolist) else value
    if not isinstance(value, list | tuple):
        return number(owner, name, value)
    row = cast("Sequence[object]", value)
    if not row:
        raise ValueError(f"{owner}: {name} must hold one number for each group, got none")
    return tuple(number(owner, f"{name}[{i}]", each) for i, each in enumerate(row))


def number(owner: str, name: str, value: object) -> float:
    """A finite number as a float."""
    if isinstance(value, bool) or not isinstance(value, Real):
        kind = type(value).__name__
        raise TypeError(f"{owner}: {name} must be a number, got {value!r} ({kind})")
    if not math.isfinite(value):
        raise ValueError(f"{owner}: {name} must be finite, got {value!r}")
    return float(value)


def whole(owner: str, name: str, value: object, least: int) -> int:
    """An int that is at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        kind = type(value).__name__
        raise TypeError(f"{owner}: {name} must be an int, got {value!r} ({kind})")
    if value < least:
        raise ValueError(f"{owner}: {name} must be >= {least}, got {value}")
    return value


def fraction(owner: str, name: str, value: object) -> float:
    """A part of the run, or of a value: a number in [0, 1]."""
    found = number(owner, name, value)
    if not 0 <= found <= 1:
        hint = f"; {found:g} steps are {found:g} / total_steps" if found > 1 else ""
        raise ValueError(f"{owner}: {name} must be in [0, 1], got {value!r}{hint}")
    return found


def positive(owner: str, name: str, value: object) -> float:
    """A number above 0."""
    found = number(owner, name, value)
    if found <= 0:
        raise ValueError(f"{owner}: {name} must be > 0, got {value!r}")
    return found


def scaled(value: Plain, factor: float) -> Plain:
    """A value, or each of a row, times a factor."""
    return tuple(v * factor for v in value) if isinstance(value, tuple) else value * factor


def within(position: float) -> float:
    """A position moved into [0, 1]: before the start and past the end a schedule stands still."""
    if isinstance(position, str) or math.isnan(position):
        raise ValueError(f"a schedule's position must be a number in [0, 1], got {position!r}")
    return min(max(float(position), 0.0), 1.0)


def written(name: str, *args: object, **options: object) -> str:
    """A call as it is written: `lin(0.1, 0.2)`."""
    given = [short(each) for each in args] + [f"{key}={short(v)}" for key, v in options.items()]
    return f"{name}({', '.join(given)})"


def short(value: object) -> str:
    """A number in as few characters as give it back."""
    if isinstance(value, tuple):
        return f"[{', '.join(short(each) for each in cast('tuple[object, ...]', value))}]"
    text = f"{value:g}" if isinstance(value, float) else repr(value)
    return text if not isinstance(value, float) or float(text) == value else repr(value)
