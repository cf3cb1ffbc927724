"""A printed accuracy as a band: what chance in the choice of the held-out images allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .experiment import Experiment

SURE = 1.96  # standard errors on each side, for 95 %


@dataclass(frozen=True)
class Band:
    """An accuracy that was counted on so many images, and how far 95 % of such counts reach.

    It is narrower than what other weights and orders bring, which the originals did not measure.

    >>> print(Band.of(0.418, 500))
    41.8% ± 4.3%
    """

    accuracy: float
    half: float

    @classmethod
    def of(cls, accuracy: float, images: int) -> Band:
        """The band of an accuracy on so many images: 1.96 sqrt(p (1 - p) / n) to each side."""
        return cls(accuracy, SURE * math.sqrt(accuracy * (1 - accuracy) / images))

    def side(self, value: float) -> int:
        """-1 for an accuracy below the band, 0 within, 1 above."""
        return (value > self.accuracy + self.half) - (value < self.accuracy - self.half)

    def __str__(self) -> str:
        return f"{self.accuracy:.1%} ± {self.half:.1%}"


def printed_band(experiment: Experiment, accuracy: float | None) -> Band | None:
    """The band of an accuracy that an experiment's page printed; None where it printed none."""
    return None if accuracy is None else Band.of(accuracy, experiment.judges)


def end_band(experiment: Experiment) -> Band | None:
    """The band of what an experiment's page printed last."""
    return printed_band(experiment, experiment.end.accuracy)


def cell(band: Band | None) -> str:
    """A band for a table, a dash where there is none."""
    return "-" if band is None else str(band)
