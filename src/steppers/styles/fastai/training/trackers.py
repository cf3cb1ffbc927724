"""fastai's callbacks that watch one score of the recorder from epoch to epoch, or the loss."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from .... import hypers
from .callback import Callback
from .events import CancelFitException
from .recorder import fitting

Comparison = Callable[[Any, Any], Any]


class TerminateOnNaNCallback(Callback):
    """End the fit at a training loss that is NaN or infinite."""

    order = -9
    run_valid = False
    observes = True

    def after_batch(self) -> None:
        if not math.isfinite(self.loss.item()):
            raise CancelFitException


TerminateOnNaN = TerminateOnNaNCallback


class TrackerCallback(Callback):
    """Compare a score with the best so far after each epoch: `best`, `new_best`, `idx`.

    `monitor` is one of the recorder's metric_names. `comp` tells which of two is better
    (`operator.lt`, `numpy.less` ...); without one less is better where the name has "loss" or
    "error" in it, else more is. A score counts as better by more than `min_delta`. A new fit begins
    anew if `reset_on_fit`. It does nothing in `lr_find`, `validate` and `get_preds`, and in an
    epoch that was cut short and has not the score nothing is better.

    Raises ValueError before the fit for a monitor that there is not.
    """

    order = 60
    run_valid = False
    observes = True

    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Comparison | None = None,
        min_delta: float = 0.0,
        reset_on_fit: bool = True,
    ) -> None:
        less = "loss" in monitor or "error" in monitor
        self.comp: Comparison = comp or (operator.lt if less else operator.gt)
        self.monitor, self.reset_on_fit = monitor, reset_on_fit
        self.falls = bool(self.comp(0.0, 1.0))  # the less the better
        self.min_delta = -min_delta if self.falls else min_delta
        self.best: Any = None
        self.new_best, self.idx = False, 0

    def before_fit(self) -> None:
        self.run = fitting(self.learn) and not hasattr(self.learn, "lr_finder")
        if not self.run:
            return
        if self.reset_on_fit or self.best is None:
            self.best = math.inf if self.falls else -math.inf
        names = self.recorder.metric_names[1:]
        if self.monitor not in names:
            raise ValueError(
                f"{type(self).__name__}: the recorder has no {self.monitor!r}; "
                f"it has {', '.join(names)}"
            )
        self.idx = names.index(self.monitor)

    def after_epoch(self) -> None:
        values = self.recorder.values[-1]
        value = values[self.idx] if self.idx < len(values) else None
        self.new_best = value is not None and bool(self.comp(value - self.min_delta, self.best))
        if self.new_best:
            self.best = value


class EarlyStoppingCallback(TrackerCallback):
    """End the fit after `patience` epochs that were not better."""

    order = 63  # after SaveModelCallback

    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Comparison | None = None,
        min_delta: float = 0.0,
        patience: int = 1,
        reset_on_fit: bool = True,
    ) -> None:
        super().__init__(monitor, comp, min_delta, reset_on_fit)
        self.patience, self.wait = whole("EarlyStoppingCallback", patience), 0

    def before_fit(self) -> None:
        self.wait = 0
        super().before_fit()

    def after_epoch(self) -> None:
        super().after_epoch()
        self.wait = 0 if self.new_best else self.wait + 1
        if self.wait >= self.patience:
            print(f"no improvement since epoch {self.epoch - self.wait}: stopped early")
            raise CancelFitException


class SaveModelCallback(TrackerCallback):
    """Save the model as `fname` where it is the best so far, and load the best when the fit ends.

    `every_epoch`: save each epoch instead, as fname_0 and so on; a number: each so many epochs.
    `at_end`: save when the fit ends, and load nothing. `last_saved_path` is the last file.
    """

    order = 61

    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Comparison | None = None,
        min_delta: float = 0.0,
        fname: str = "model",
        every_epoch: bool | int = False,
        at_end: bool = False,
        with_opt: bool = False,
        reset_on_fit: bool = True,
    ) -> None:
        super().__init__(monitor, comp, min_delta, reset_on_fit)
        if every_epoch and at_end:
            raise ValueError("SaveModelCallback: every_epoch and at_end cannot both be")
        self.fname, self.with_opt = fname, with_opt
        self.every_epoch, self.at_end = every_epoch, at_end
        self.last_saved_path: Any = None

    def after_epoch(self) -> None:
        if self.every_epoch:
            if self.epoch % self.every_epoch == 0:
                self._save(f"{self.fname}_{self.epoch}")
            return
        super().after_epoch()
        if self.new_best:
            print(f"better model found at epoch {self.epoch}: {self.monitor} {self.best}")
            self._save(self.fname)

    def after_fit(self) -> None:
        if self.at_end:
            self._save(self.fname)
        elif not self.every_epoch and self.last_saved_path is not None:
            self.learn.load(self.fname, with_opt=self.with_opt)

    def _save(self, name: str) -> None:
        self.last_saved_path = self.learn.save(name, with_opt=self.with_opt)


class ReduceLROnPlateau(TrackerCallback):
    """Divide every group's rate by `factor` after `patience` epochs that were not better.

    No rate goes below `min_lr`. A schedule in the same fit sets its own rates and wins.
    """

    order = 61

    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Comparison | None = None,
        min_delta: float = 0.0,
        patience: int = 1,
        factor: float = 10.0,
        min_lr: float = 0.0,
        reset_on_fit: bool = True,
    ) -> None:
        super().__init__(monitor, comp, min_delta, reset_on_fit)
        if not factor > 1:
            raise ValueError(f"ReduceLROnPlateau: factor must be above 1, got {factor}")
        self.patience, self.wait = whole("ReduceLROnPlateau", patience), 0
        self.factor, self.min_lr = factor, min_lr

    def before_fit(self) -> None:
        self.wait = 0
        super().before_fit()

    def after_epoch(self) -> None:
        super().after_epoch()
        self.wait = 0 if self.new_best else self.wait + 1
        if self.wait < self.patience:
            return
        before = [float(lr) for lr in hypers.get(self.opt, "lr")]
        after = [max(lr / self.factor, min(lr, self.min_lr)) for lr in before]
        hypers.put(self.opt, "lr", after)
        self.wait = 0
        if after[-1] < before[-1]:
            print(f"epoch {self.epoch}: reducing lr to {after[-1]}")


def whole(owner: str, patience: object) -> int:
    """A number of epochs; ValueError for what is none."""
    if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
        raise ValueError(
            f"{owner}: patience must be a number of epochs from 1 on, got {patience!r}"
        )
    return patience
