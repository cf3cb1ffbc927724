"""torch's schedulers as callbacks, a recorder of any values, and a dry run of a scheduler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

from ... import schedules
from ...train.callbacks import pictures
from ...train.callbacks.series import Series
from ...train.events import Callback


class HasLearnCB(Callback):
    """A callback that knows its learner as `self.learn` while a fit runs."""

    learn: Any = None

    def before_fit(self, learn: Any) -> None:
        self.learn = learn

    def after_fit(self, learn: Any) -> None:
        self.learn = None

    def cleanup_fit(self, learn: Any) -> None:
        self.learn = None  # a cancelled fit has no after_fit


class BaseSchedCB(Callback):
    """A scheduler for each fit, made by `sched(opt)` as it begins; it steps in training only."""

    def __init__(self, sched: Callable[[Any], Any]) -> None:
        if not callable(sched):
            raise TypeError(
                f"{type(self).__name__}: wants a function from the optimizer to a scheduler, like "
                f"partial(OneCycleLR, max_lr=0.1, total_steps=100), got {sched!r}"
            )
        self.sched = sched
        self.schedo: Any = None

    def before_fit(self, learn: Any) -> None:
        self.schedo = self.sched(learn.opt)
        if not callable(getattr(self.schedo, "step", None)):
            raise TypeError(
                f"{type(self).__name__}: sched must return a scheduler, which has step(), got "
                f"{self.schedo!r}"
            )

    def _step(self, learn: Any) -> None:
        if learn.training:
            self.schedo.step()


class BatchSchedCB(BaseSchedCB):
    """A scheduler that steps after each training batch."""

    def after_batch(self, learn: Any) -> None:
        self._step(learn)


class EpochSchedCB(BaseSchedCB):
    """A scheduler that steps after each training pass."""

    def after_epoch(self, learn: Any) -> None:
        self._step(learn)


class RecorderCB(HasLearnCB):
    """What functions of this callback give after each training batch, in `recs` by name.

    `cb.pg` is the first parameter group, `cb.learn` the learner:
    `RecorderCB(lr=lambda cb: cb.pg["lr"])`. They begin anew with each fit.
    """

    def __init__(self, **d: Callable[[Any], Any]) -> None:
        for name, function in d.items():
            if not callable(function):
                raise TypeError(f"RecorderCB: {name}= must be a function of cb, got {function!r}")
        self.d = d
        self.recs: dict[str, list[Any]] = {name: [] for name in d}
        self.pg: dict[str, Any] = {}

    def before_fit(self, learn: Any) -> None:
        super().before_fit(learn)
        self.recs = {name: [] for name in self.d}
        self.pg = learn.opt.param_groups[0]

    def after_batch(self, learn: Any) -> None:
        if learn.training:
            for name, function in self.d.items():
                self.recs[name].append(function(self))

    def plot(self) -> Any:
        """A panel for each name, as a matplotlib Figure."""
        return pictures.series({name: _numbers(values) for name, values in self.recs.items()})


def _numbers(values: list[Any]) -> list[Any]:
    series = Series()
    for value in values:
        series.append(value)
    return series.numbers


def sched_lrs(sched: LRScheduler, steps: int) -> Any:
    """The rates that a torch scheduler will set in so many steps, as a matplotlib Figure.

    Found on a copy: the scheduler and its optimizer stay where they are. For the numbers see
    `steppers.schedules.dry_run`.
    """
    return schedules.plot(sched, steps, hypers=["lr"])
