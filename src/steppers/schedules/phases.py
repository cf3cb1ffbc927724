"""Schedules one after another."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from .annealers import cos
from .values import Schedule, Value, fraction, number, within, written

# Sums of weights such as .1 + .2 and positions k / N differ by rounding: so much is no difference.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Combined:
    """Schedules that each last for a part of the run; `starts` are the positions they begin at."""

    starts: tuple[float, ...]
    schedules: tuple[Schedule, ...]
    label: str = field(default="", compare=False)

    def __call__(self, position: float) -> float | list[float]:
        pos = within(position)
        i = max(bisect_right(self.starts, pos + ROUNDING) - 1, 0)
        start, end = (*self.starts, 1.0)[i : i + 2]
        return self.schedules[i](within((pos - start) / (end - start)))

    def __repr__(self) -> str:
        return self.label


def combine(weights: Sequence[float], schedules: Sequence[Schedule]) -> Combined:
    """Schedules one after another, each for its share of the run, on positions of its own.

    Weights are at least 0 and sum to 1; a schedule of weight 0 is left out. At a boundary the later
    schedule applies, at 1 the end of the last. Raises ValueError for weights that do not fit and
    TypeError for a schedule that cannot be called.

    >>> from steppers.schedules import lin, no
    >>> warm = combine([0.25, 0.75], [lin(0, 1), no(1)])
    >>> [warm(k / 8) for k in range(4)]
    [0.0, 0.5, 1.0, 1.0]
    """
    shares = [number("combine", f"weights[{i}]", w) for i, w in enumerate(weights)]
    if not shares or len(shares) != len(schedules):
        raise ValueError(
            f"combine: wants one weight for each schedule, got {len(shares)} weights "
            f"and {len(schedules)} schedules"
        )
    total = math.fsum(shares)
    if min(shares) < 0 or abs(total - 1) > ROUNDING:
        raise ValueError(
            f"combine: weights must be at least 0 and sum to 1, got {shares}, which sum to {total}"
        )
    for schedule in schedules:
        if not callable(schedule):
            raise TypeError(
                f"combine: a schedule is a function of the position, got {schedule!r}; "
                "no(value) makes a constant one"
            )
    used = [i for i, share in enumerate(shares) if share > ROUNDING]
    ends = list(itertools.accumulate(shares[i] for i in used))
    label = written("combine", tuple(shares), tuple(schedules))
    return Combined((0.0, *ends[:-1]), tuple(schedules[i] for i in used), label)


def combined_cos(pct: float, start: Value, middle: Value, end: Value) -> Combined:
    """A cosine from start to middle over the share `pct` of the run, then one from middle to end.

    >>> combined_cos(0.25, 0.5, 1, 0)(0.25)
    1.0
    """
    share = fraction("combined_cos", "pct", pct)
    return combine([share, 1 - share], [cos(start, middle), cos(middle, end)])
