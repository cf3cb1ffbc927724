"""The course's further callbacks: statistics, devices, transforms, progress, a look inside."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

from ...train.callbacks import bars
from ...train.callbacks.device import best_device, tensors_in, to_device
from ...train.callbacks.growing_table import clock
from .callback import Callback
from .lists import listify

Metric = Callable[[Any, Any], Any]


class AvgStats:
    """Loss and metrics of a pass, each weighted by the sizes of its batches."""

    def __init__(self, metrics: Any, in_train: bool) -> None:
        self.metrics: list[Metric] = listify(metrics)
        self.in_train = in_train
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.tot_loss, self.count = 0.0, 0
        self.tot_mets = [0.0 for _ in self.metrics]

    @property
    def all_stats(self) -> list[float]:
        """The sums: of the loss, then of each metric."""
        return [float(self.tot_loss), *(float(total) for total in self.tot_mets)]

    @property
    def avg_stats(self) -> list[float]:
        """The means: of the loss, then of each metric."""
        return [total / self.count for total in self.all_stats] if self.count else []

    @torch.no_grad()
    def accumulate(self, run: Any) -> None:
        """Add the batch that a run has now."""
        size = len(next(tensors_in((run.xb, run.yb)), run.yb))
        self.tot_loss += run.loss.detach() * size
        self.count += size
        for i, metric in enumerate(self.metrics):
            self.tot_mets[i] += metric(run.pred, run.yb) * size

    def __repr__(self) -> str:
        return f"{'train' if self.in_train else 'valid'}: {self.avg_stats}" if self.count else ""


class AvgStatsCallback(Callback):
    """Means of the loss and of metrics in both passes, as a row of a table after each epoch.

    The row goes to the run's logger as a list of texts: epoch, train_loss, train_<metric>,
    valid_loss, valid_<metric>, time. With `table=False` it is two lists, printed.
    """

    def __init__(self, metrics: Any = None, *, table: bool = True) -> None:
        self.train_stats, self.valid_stats = AvgStats(metrics, True), AvgStats(metrics, False)
        self.table, self.start_time = table, 0.0

    def begin_fit(self) -> None:
        metrics = ["loss", *(_name(metric) for metric in self.train_stats.metrics)]
        columns = [f"{part}_{name}" for part in ("train", "valid") for name in metrics]
        if self.table:
            self.logger(["epoch", *columns, "time"])

    def begin_epoch(self) -> None:
        self.train_stats.reset()
        self.valid_stats.reset()
        self.start_time = time.time()

    def after_loss(self) -> None:
        (self.train_stats if self.in_train else self.valid_stats).accumulate(self.run)

    def after_epoch(self) -> None:
        if not self.table:
            self.logger(self.train_stats)
            self.logger(self.valid_stats)
            return
        row = [str(self.epoch)]
        for stats in (self.train_stats, self.valid_stats):
            means = stats.avg_stats or [None] * (1 + len(stats.metrics))
            row += ["" if mean is None else f"{mean:.6f}" for mean in means]
        self.logger([*row, clock(time.time() - self.start_time)])


def _name(metric: Any) -> str:
    inner = getattr(metric, "func", metric)
    return getattr(inner, "__name__", type(inner).__name__)


class CudaCallback(Callback):
    """Move the model and each batch to the accelerator that torch finds, or to `device`.

    Without an accelerator they stay on the CPU.
    """

    def __init__(self, device: str | torch.device | None = None) -> None:
        self.device = best_device() if device is None else torch.device(device)

    def begin_fit(self) -> None:
        self.model.to(self.device)

    def begin_batch(self) -> None:
        self.run.xb, self.run.yb = to_device((self.xb, self.yb), self.device)


class BatchTransformXCallback(Callback):
    """Replace the inputs of each batch, in both passes, by `tfm` of them."""

    _order = 2

    def __init__(self, tfm: Callable[[Any], Any]) -> None:
        if not callable(tfm):
            raise TypeError(f"BatchTransformXCallback: wants a function, got {tfm!r}")
        self.tfm = tfm

    def begin_batch(self) -> None:
        self.run.xb = self.tfm(self.xb)


class ProgressCallback(Callback):
    """A bar for each pass; the rows of the table are written in columns.

    `kind` is the bar's: "bar", "lines", "silent", or "auto", a bar where there is a terminal.
    """

    _order = -1

    def __init__(self, kind: bars.Kind = "auto") -> None:
        if kind not in bars.KINDS:
            raise ValueError(f"ProgressCallback: kind must be one of {bars.KINDS}, got {kind!r}")
        self.kind: bars.Kind = kind
        self._moving: bars.Moving | None = None
        self._next = 0.0
        self._logger: Any = None

    def begin_fit(self) -> None:
        self._logger, self.run.logger = self.run.logger, write_row

    def begin_epoch(self) -> None:
        self._open("train")

    def begin_validate(self) -> None:
        self._open("valid")

    def after_batch(self) -> None:
        if self._moving is not None and time.monotonic() >= self._next:
            self._moving.update(self.iter + 1, f"loss {self.loss.item():.4f}")
            self._next = time.monotonic() + self._moving.interval

    def after_epoch(self) -> None:
        self._close()

    def after_fit(self) -> None:
        self._close()
        if self._logger is not None:  # the fit may have ended before it began
            self.run.logger, self._logger = self._logger, None

    def _open(self, part: str) -> None:
        self._close()
        title = f"epoch {self.epoch + 1}/{self.epochs} {part}"
        self._moving = bars.opened(self.kind, title, self.iters, 0)
        self._next = time.monotonic() + self._moving.interval

    def _close(self) -> None:
        if self._moving is not None:
            moving, self._moving = self._moving, None
            moving.close()


def write_row(row: Any) -> None:
    """Print a row of texts in columns; anything else as it is."""
    line = "  ".join(f"{cell:>10}" for cell in row) if isinstance(row, list) else row
    print(line, flush=True)


class DebugCallback(Callback):
    """Call `f(run)` at an event, or stop in the debugger there."""

    _order = 999

    def __init__(self, cb_name: str, f: Callable[[Any], Any] | None = None) -> None:
        self.cb_name, self.f = cb_name, f

    def __call__(self, cb_name: str) -> bool:
        if cb_name == self.cb_name:
            if self.f is None:
                breakpoint()
            else:
                self.f(self.run)
        return False
