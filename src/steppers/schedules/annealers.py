"""Annealers: a value that goes from start to end as the position goes from 0 to 1.

`lin(0.1, 0.2)` is a function of the position. Start and end are numbers, or rows with one number
for each group; the function then returns a list. It can be pickled, copied and compared. Outside
[0, 1] it holds its first or last value.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from .values import Plain, Value, plain, positive, within, written


@dataclass(frozen=True)
class Anneal:
    """`shape(start, end, position, *options)` as a function of the position, for each group."""

    shape: Callable[..., float]
    start: Plain
    end: Plain
    options: tuple[object, ...] = ()
    label: str = field(default="", compare=False)

    def __call__(self, position: float) -> float | list[float]:
        pos = within(position)
        pairs = paired(self.start, self.end)
        values = [self.shape(start, end, pos, *self.options) for start, end in pairs]
        rows = isinstance(self.start, tuple) or isinstance(self.end, tuple)
        return values if rows else values[0]

    def __repr__(self) -> str:
        return self.label


def paired(start: Plain, end: Plain) -> list[tuple[float, float]]:
    """Start and end of each group; one number stands for all."""
    starts = start if isinstance(start, tuple) else (start,)
    ends = end if isinstance(end, tuple) else (end,)
    n = max(len(starts), len(ends))
    starts = starts * n if len(starts) == 1 else starts
    ends = ends * n if len(ends) == 1 else ends
    return list(zip(starts, ends, strict=True))


def made(
    shape: Callable[..., float], name: str, start: Value, end: Value, *options: float
) -> Anneal:
    """An annealer from what a user gave; raises TypeError and ValueError for what it cannot take.

    `shape` takes start, end, position and the options, all floats.
    """
    first, last = plain(name, "start", start), plain(name, "end", end)
    sizes = [len(row) for row in (first, last) if isinstance(row, tuple)]
    if len({*sizes} - {1}) > 1:
        raise ValueError(
            f"{name}: start has {sizes[0]} values and end {sizes[1]}; "
            "give each one value, or one for each group"
        )
    return Anneal(shape, first, last, options, written(name, first, last, *options))


def lin(start: Value, end: Value) -> Anneal:
    """A straight line: start + position * (end - start).

    >>> lin(0, 2)(0.25)
    0.5
    >>> lin([0, 1], [2, 3])(0.5)
    [1.0, 2.0]
    """
    return made(_lin, "lin", start, end)


def cos(start: Value, end: Value) -> Anneal:
    """Half a cosine wave, flat at both ends: start + (1 - cos(π position)) (end - start) / 2."""
    return made(_cos, "cos", start, end)


def exp(start: Value, end: Value) -> Anneal:
    """The same factor in each step: start * (end / start) ** position.

    Raises ValueError where start and end are not both above 0 or both below.
    """
    annealer = made(_exp, "exp", start, end)
    for first, last in paired(annealer.start, annealer.end):
        if not (first < 0 < -last or last > 0 < first):
            raise ValueError(
                f"exp: start and end must be both above 0 or both below, got {first:g} and "
                f"{last:g}; lin and cos can reach 0"
            )
    return annealer


def poly(start: Value, end: Value, power: float = 2.0) -> Anneal:
    """A power of the position: start + (end - start) * position ** power.

    A decay that is flat at its end is `polynomial`, whose power is of what remains.
    """
    return made(_poly, "poly", start, end, positive("poly", "power", power))


def no(start: Value, end: Value | None = None) -> Anneal:
    """Start, whatever the position; end is taken and ignored, so that it can replace another."""
    return made(_no, "no", start, start if end is None else end)


class annealer:
    """Make an annealer from a function of start, end and position, all floats.

    What it makes can be pickled if the function is defined at the top of a module.

    >>> @annealer
    ... def late(start, end, pos):
    ...     return end if pos > 0.9 else start
    >>> late(0.1, 0.2)(0.5)
    0.1
    """

    def __init__(self, function: Callable[[float, float, float], float]) -> None:
        if not callable(function):
            raise TypeError(f"annealer: wants a function of start, end and pos, got {function!r}")
        self.function = function
        functools.update_wrapper(self, function)
        # Without this, inspect.signature would show the function's own, with pos in it.
        del self.__dict__["__wrapped__"]

    def __call__(self, start: Value, end: Value) -> Anneal:
        name = getattr(self.function, "__name__", "annealer")
        anneal = made(_given, name, start, end)
        return replace(anneal, options=(self,))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, annealer) and self.function == other.function

    def __hash__(self) -> int:
        return hash(self.function)

    def __reduce__(self) -> Any:
        """By name where the decorated name is this object, as functions are; else by function."""
        module = sys.modules.get(getattr(self.function, "__module__", ""))
        name = getattr(self.function, "__qualname__", "")
        return name if getattr(module, name, None) is self else (annealer, (self.function,))


def between(start: float, end: float, share: float) -> float:
    """start + share (end - start), exact at both ends and never outside them by rounding."""
    if share >= 1:
        return end
    low, high = min(start, end), max(start, end)
    return min(max(start + share * (end - start), low), high)


def _lin(start: float, end: float, pos: float) -> float:
    return between(start, end, pos)


def _cos(start: float, end: float, pos: float) -> float:
    return between(start, end, (1 + math.cos(math.pi * (1 - pos))) / 2)


def _exp(start: float, end: float, pos: float) -> float:
    if pos in (0, 1):
        return end if pos else start
    # As a product of powers, since end / start may overflow.
    return math.copysign(abs(start) ** (1 - pos) * abs(end) ** pos, start)


def _poly(start: float, end: float, pos: float, power: float) -> float:
    return between(start, end, pos**power)


def _given(start: float, end: float, pos: float, made_by: annealer) -> float:
    return made_by.function(start, end, pos)


def _no(start: float, _end: float, _pos: float) -> float:
    return start
