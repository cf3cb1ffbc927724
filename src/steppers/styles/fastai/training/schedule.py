"""fastai's ParamScheduler, and the names of its annealers, which are our schedules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .... import hypers
from ....schedules import annealer as annealer
from ....schedules import combine as combine_scheds
from ....schedules import combined_cos as combined_cos
from ....schedules import cos as SchedCos
from ....schedules import exp as SchedExp
from ....schedules import lin as SchedLin
from ....schedules import no as SchedNo
from ....schedules import poly as SchedPoly
from ....train.callbacks.schedule import ParamScheduler as Setter
from .callback import Callback

__all__ = [
    "ParamScheduler",
    "SchedCos",
    "SchedExp",
    "SchedLin",
    "SchedNo",
    "SchedPoly",
    "annealer",
    "combine_scheds",
    "combined_cos",
]


class ParamScheduler(Callback):
    """Set hypers before each training batch: `scheds` maps a name to f(pct_train).

    A function gives a number, or one for each group; a list of functions has one for each group.
    `hps` has what the last group got at each batch; the recorder gets it when the fit ends.
    """

    order = 60
    run_valid = False
    observes = True  # a search for the rate sets it instead

    def __init__(self, scheds: Mapping[str, Any]) -> None:
        self._setter = Setter(scheds)
        self.scheds = self._setter.schedules
        self.hps: dict[str, list[Any]] = {}

    def before_fit(self) -> None:
        self.hps = {name: [] for name in self.scheds}
        self._setter.before_fit(self.learn)

    def before_batch(self) -> None:
        self._setter.before_batch(self.learn)

    def after_batch(self) -> None:
        for name, values in self.hps.items():
            values.append(hypers.get(self.opt, name)[-1])

    def after_fit(self) -> None:
        recorder = getattr(self.learn, "recorder", None)
        if recorder is not None:
            recorder.hps = self.hps
