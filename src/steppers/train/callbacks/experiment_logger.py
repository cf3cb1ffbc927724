"""Sends a fit's numbers to an experiment tracker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .logger import Logger, settings

if TYPE_CHECKING:
    from ..learner import Learner


class ExperimentLogger(Logger):
    """Logs to any object as wandb's run or the mlflow module are.

    Numbers go to log(dict, step=) where there is one, else to log_metrics(dict, step=); what the
    fit was started with (model, optimizer, hyper-parameters) to config.update(dict), else to
    log_params(dict). Names are those of the recorder's rows; in between loss, lr and the other
    hyper-parameters under batch/. Starting and finishing the run is the caller's.

    Raises TypeError for an object with neither way.
    """

    def __init__(self, run: Any, every: int | None = 10) -> None:
        super().__init__(every)
        self.run = run
        ways = (getattr(run, "log", None), getattr(run, "log_metrics", None))
        if not any(callable(way) for way in ways):
            raise TypeError(
                "ExperimentLogger: the run must have log(dict, step=) or log_metrics(dict, step=), "
                f"got {run!r}"
            )
        self.log: Any = next(way for way in ways if callable(way))

    def check(self, learn: Learner) -> None:
        pass

    def begin(self, learn: Learner) -> None:
        if self.steps:
            return  # a tracker keeps what a run began with, some refuse to change it
        config = getattr(getattr(self.run, "config", None), "update", None)
        tell = config or getattr(self.run, "log_params", None)
        if callable(tell):
            tell(settings(learn))

    def send(self, event: str, numbers: Mapping[str, float], step: int) -> None:
        prefix = "batch/" if event == "batch" else ""
        self.log({f"{prefix}{name}": value for name, value in numbers.items()}, step=step)
