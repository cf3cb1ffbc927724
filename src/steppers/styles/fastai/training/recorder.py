"""fastai's Recorder: rates, smoothed losses, and a row of values for each epoch."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ....lr_find.found import SUGGESTIONS, Found
from ....train.callbacks import pictures
from .callback import Callback
from .metrics import AvgLoss, AvgSmoothLoss, Metric


class Recorder(Callback):
    """What a fit did, by fastai's names; a new fit begins empty, a validation adds nothing.

    - `lrs`, `losses`: of each training batch the last group's rate and the smoothed loss, which
      is also `learn.smooth_loss`. It runs on from epoch to epoch.
    - `values`: of each epoch the scores; the last is `learn.final_record`. `metric_names` are their
      names, between "epoch" and "time". `iters`: training batches at the end of each.
    - `log`: the row that `learn.logger` gets: epoch, scores, time.
    - `hps`: what a ParamScheduler set, by hyper.
    """

    order = 50
    _stateattrs = ("lrs", "iters", "losses", "values")  # and the smoothed loss

    def __init__(
        self,
        add_time: bool = True,
        train_metrics: bool = False,
        valid_metrics: bool = True,
        beta: float = 0.98,
    ) -> None:
        self.add_time, self.train_metrics = add_time, train_metrics
        self.valid_metrics = valid_metrics
        self.loss, self.smooth_loss = AvgLoss(), AvgSmoothLoss(beta)
        self._forget()

    def _forget(self) -> None:
        self.lrs, self.losses = list[float](), list[Tensor]()
        self.iters, self.values = list[int](), list[list[Any]]()
        self.hps: dict[str, list[Any]] = {}
        self.log: list[Any] = []
        self.found: Found | None = None
        self.metric_names = ["epoch", *(["time"] if self.add_time else [])]
        self.cancel_train = self.cancel_valid = False
        self.start_epoch = time.perf_counter()

    def before_fit(self) -> None:
        if fitting(self.learn):
            self._forget()
            self.smooth_loss.reset()
        self.metric_names = ["epoch", *self._columns(), *(["time"] if self.add_time else [])]

    def _columns(self) -> list[str]:
        own = [m.name for m in self.metrics]
        valid = ["loss", *own] if self.valid_metrics and self.dls.valid is not None else []
        train = ["loss", *(own if self.train_metrics else ())]
        both = self.train_metrics and bool(valid)
        return [*_of_pass("train", train, both), *_of_pass("valid", valid, both)]

    def before_epoch(self) -> None:
        self.cancel_train = self.cancel_valid = False
        self.start_epoch, self.log = time.perf_counter(), [self.epoch]

    def before_train(self) -> None:
        for metric in self._of_train()[1:]:
            metric.reset()

    def before_validate(self) -> None:
        for metric in self._of_valid():
            metric.reset()

    def after_batch(self) -> None:
        if not self.yb:
            return
        for metric in self._of_train() if self.training else self._of_valid():
            metric.accumulate(self.learn)
        if self.training:
            self.lrs.append(float(self.opt.param_groups[-1]["lr"]))
            self.losses.append(self.smooth_loss.value)
            self.learn.smooth_loss = self.smooth_loss.value

    def after_cancel_train(self) -> None:
        self.cancel_train = True

    def after_cancel_validate(self) -> None:
        self.cancel_valid = True

    def after_train(self) -> None:
        self._take("train", self._of_train(), self.cancel_train)

    def after_validate(self) -> None:
        self._take("valid", self._of_valid(), self.cancel_valid)

    def after_epoch(self) -> None:
        self.learn.final_record = self.log[1:]
        if not fitting(self.learn):
            return
        self.values.append(self.learn.final_record)
        if self.add_time:
            self.log.append(minutes(time.perf_counter() - self.start_epoch))
        self.logger(self.log)
        self.iters.append(self.smooth_loss.count)

    def _take(self, part: str, metrics: list[Metric], cancelled: bool) -> None:
        """Add a pass's values to the row: None for one that was cut short, so that columns stay."""
        values = [None if cancelled else number(metric.value) for metric in metrics]
        self.log += values
        pairs = zip(metrics, values, strict=True)
        self.learn.report(part, {m.name: v for m, v in pairs if v is not None})

    def _of_train(self) -> list[Metric]:
        return [self.smooth_loss, *(self.metrics if self.train_metrics else ())]

    def _of_valid(self) -> list[Metric]:
        return [self.loss, *self.metrics] if self.valid_metrics else []

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "smooth": [self.smooth_loss.count, self.smooth_loss.val]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.smooth_loss.count, self.smooth_loss.val = state["smooth"]
        super().load_state_dict({name: list(state[name]) for name in self._stateattrs})

    @contextmanager
    def aside(self) -> Generator[None, None, None]:
        """Keep the row of the epoch that runs from a validation within it."""
        log, self.log = self.log, [self.epoch]
        try:
            yield
        finally:
            self.learn.final_record, self.log = self.log[1:], log

    def take_found(self, found: Found) -> None:
        """Have the curve of a search for the rate as the record."""
        self._forget()
        self.lrs, self.losses = list(found.lrs), [torch.tensor(loss) for loss in found.smoothed]
        self.found = found

    # --- pictures: matplotlib Figures, apart from any that pyplot knows --------------------------

    def plot_loss(self, skip_start: int = 5, with_valid: bool = True) -> Any:
        """The training loss without its first batches, smoothed, and the validation loss."""
        return pictures.losses(self.learn.own_recorder, skip_start, with_valid)

    def plot_lr_find(self, suggestions: Any = SUGGESTIONS) -> Any:
        """The curve of the last search for the rate, with a mark for each suggestion."""
        if self.found is None:
            raise ValueError("plot_lr_find: there was no search for the rate yet, see lr_find")
        return self.found.plot(suggestions)

    def plot_sched(self, keys: Any = None) -> Any:
        """What a ParamScheduler set, batch by batch, in two columns."""
        names = [keys] if isinstance(keys, str) else list(keys or self.hps)
        if missing := [name for name in names if name not in self.hps]:
            known = ", ".join(self.hps) or "nothing was scheduled"
            raise ValueError(f"plot_sched: there is no schedule of {missing[0]!r}; {known}")
        if not names:
            raise ValueError("plot_sched: nothing was scheduled in the last fit")
        return pictures.series({name: self.hps[name] for name in names})


def _of_pass(part: str, columns: list[str], every: bool) -> list[str]:
    """Names of a pass's columns: its loss, which is the first, says of which pass it is."""
    return [f"{part}_{name}" if every or not i else name for i, name in enumerate(columns)]


def fitting(learn: Any) -> bool:
    """Whether a fit runs: a validation by itself has before_fit and after_fit too."""
    return "fit" in learn.running


def number(value: Any) -> Any:
    """A tensor of one element as a number, anything else as it is."""
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value


def minutes(seconds: float) -> str:
    """A duration as fastai writes it: 00:07, and 1:00:07 from an hour on.

    >>> minutes(7.4), minutes(3607)
    ('00:07', '1:00:07')
    """
    whole = int(seconds)
    hours, rest = divmod(whole, 3600)
    clock = f"{rest // 60:02d}:{rest % 60:02d}"
    return f"{hours}:{clock}" if hours else clock
