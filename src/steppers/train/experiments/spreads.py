"""The mean over seeds and how far they lie apart."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """The mean of several runs, their standard deviation (n - 1; None for one), and their number.

    >>> Spread.of([0.98, 0.99, None]).show("{:.1%}".format)
    '98.5% ± 0.7%'
    """

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """The spread of the values that are there; None if none is."""
        there = [value for value in values if value is not None]
        if not there:
            return None
        deviation = statistics.stdev(there) if len(there) > 1 else None
        return cls(statistics.fmean(there), deviation, len(there))

    def show(self, write: Callable[[float], str]) -> str:
        """`mean ± deviation`, or the mean alone."""
        if self.deviation is None:
            return write(self.mean)
        return f"{write(self.mean)} ± {write(self.deviation)}"
