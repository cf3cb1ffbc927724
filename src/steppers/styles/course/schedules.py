"""The course's schedules: functions of the position in a fit, from 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ...schedules import annealer, combine
from ...schedules import cos as sched_cos
from ...schedules import exp as sched_exp
from ...schedules import lin as sched_lin
from ...schedules import no as sched_no
from .lists import listify
from .recorder import ParamScheduler

__all__ = [
    "annealer",
    "combine_scheds",
    "cos_1cycle_anneal",
    "create_phases",
    "sched_1cycle",
    "sched_cos",
    "sched_exp",
    "sched_lin",
    "sched_no",
]
Sched = Callable[[float], Any]


def combine_scheds(pcts: Any, scheds: Sequence[Sched]) -> Sched:
    """Schedules one after another, each for its share; at 1 the last one's end.

    >>> combine_scheds([0.3, 0.7], [sched_cos(0.3, 0.6), sched_cos(0.6, 0.2)])(1.0)
    0.2
    """
    return combine([float(pct) for pct in listify(pcts)], scheds)


def cos_1cycle_anneal(start: Any, high: Any, end: Any) -> list[Sched]:
    """A cosine from start to high, and one from high to end."""
    return [sched_cos(start, high), sched_cos(high, end)]


def create_phases(phases: Any) -> list[float]:
    """Shares of a fit with the rest of it as the last.

    >>> create_phases(0.25)
    [0.25, 0.75]
    """
    shares = [float(phase) for phase in listify(phases)]
    rest = 1 - math.fsum(shares)
    if rest < -1e-9:
        raise ValueError(f"create_phases: shares must sum to at most 1, got {shares}")
    return [*shares, max(rest, 0.0)]


def sched_1cycle(
    lrs: Any,
    pct_start: float = 0.3,
    mom_start: float = 0.95,
    mom_mid: float = 0.85,
    mom_end: float = 0.95,
) -> list[ParamScheduler]:
    """Callbacks of one cycle: lr / 10, lr, lr / 1e5 for each group, and momentum the other way."""
    phases = create_phases(pct_start)
    rates = [
        combine_scheds(phases, cos_1cycle_anneal(lr / 10, lr, lr / 1e5)) for lr in listify(lrs)
    ]
    momentum = combine_scheds(phases, cos_1cycle_anneal(mom_start, mom_mid, mom_end))
    return [ParamScheduler("lr", rates), ParamScheduler("mom", momentum)]
