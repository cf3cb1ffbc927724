"""Schedules of the learning rate by name, with the shares of a run that tasks use."""

from collections.abc import Callable, Sequence

from ... import schedules

# From the peak of each parameter group to a function of the position in [0, 1].
Plan = Callable[[Sequence[float]], Callable[[float], object]]

SCHEDULES: dict[str, Plan | None] = {
    "one-cycle": schedules.one_cycle,
    "flat-cos": schedules.flat_cos,
    "warmup-cosine": lambda peak: schedules.warmup_cosine(peak, warmup=0.1, start=0.01),
    "wsd": lambda peak: schedules.warmup_stable_decay(peak, warmup=0.1, decay=0.2, start=0.01),
    "sgdr": lambda peak: schedules.sgdr(peak, n_cycles=3),
    "none": None,
}
