"""How a fit is shown: a bar for each pass, a table of the logged rows, a graph of the losses."""

from __future__ import annotations

import time
from typing import Any

from ....train.callbacks import bars
from ....train.callbacks.live_graph import Display, LiveGraph, notebook_display
from .callback import Callback
from .recorder import fitting


class ProgressCallback(Callback):
    """A bar for each pass, with the smoothed loss beside it; the logged rows are a table.

    While a fit runs `learn.logger` is its own: numbers to 6 decimals, in columns. Under `no_mbar()`
    there is no bar, under `no_logging()` no table. `kind` is the bar's: "bar", "lines", "silent",
    or "auto", a bar where there is a terminal or a notebook. `learn.progress` is a number of our
    Learner's, so that this callback is found among `learn.cbs`.
    """

    order = 60
    observes = True

    def __init__(self, kind: bars.Kind = "auto") -> None:
        if kind not in bars.KINDS:
            raise ValueError(f"ProgressCallback: kind must be one of {bars.KINDS}, got {kind!r}")
        if kind == "bar":
            bars.check_available()
        self.kind: bars.Kind = kind
        self._moving: bars.Moving | None = None
        self._next, self._logger = 0.0, None
        self._widths: list[int] = []

    def before_fit(self) -> None:
        if fitting(self.learn) and self.learn.logger is not silent:
            self._logger, self.learn.logger = self.learn.logger, self.write
            self.write(self.recorder.metric_names)

    def before_train(self) -> None:
        self._open("train")

    def before_validate(self) -> None:
        self._open("valid")

    def after_batch(self) -> None:
        if self._moving is not None and time.monotonic() >= self._next:
            loss = getattr(self.learn, "smooth_loss", None) if self.training else None
            text = "" if loss is None else f"{float(loss):.4f}"
            self._moving.update(self.iter + 1, text)
            self._next = time.monotonic() + self._moving.interval

    def after_train(self) -> None:
        self._close()

    def after_validate(self) -> None:
        self._close()

    def cleanup_fit(self) -> None:
        self._close()
        if self._logger is not None:
            self.learn.logger, self._logger = self._logger, None

    def write(self, row: list[Any]) -> None:
        """Print a row of the table; names come first and give the columns their widths."""
        cells = [cell_of(cell) for cell in row]
        if all(isinstance(cell, str) for cell in row):
            self._widths = [max(len(cell), 5 if cell == "epoch" else 10) for cell in cells]
        widths = [*self._widths, *(10 for _ in cells[len(self._widths) :])]
        if self.kind != "silent":
            line = "  ".join(cell.rjust(w) for cell, w in zip(cells, widths, strict=False))
            print(line, flush=True)

    def _open(self, part: str) -> None:
        self._close()
        if self.learn.create_mbar:
            title = f"epoch {self.epoch + 1}/{self.n_epoch} {part}"
            total = len(self.dl) if hasattr(self.dl, "__len__") else None
            self._moving = bars.opened(self.kind, title, total, 0)
            self._next = time.monotonic() + self._moving.interval

    def _close(self) -> None:
        if self._moving is not None:
            moving, self._moving = self._moving, None
            moving.close()


class ShowGraphCallback(Callback):
    """Draw the losses while the fit runs, by `display`; in a notebook there is one.

    Raises RuntimeError, before the fit, where nothing can show it.
    """

    order = 65
    run_valid = False
    observes = True

    def __init__(self, display: Display | None = None) -> None:
        self.display = display
        self._graph: LiveGraph | None = None

    def before_fit(self) -> None:
        if fitting(self.learn):
            self._graph = LiveGraph(self.own_recorder, self.display or notebook_display())

    def after_batch(self) -> None:
        if self._graph is not None:
            self._graph.update()

    def after_epoch(self) -> None:
        if self._graph is not None:
            self._graph.draw()

    def cleanup_fit(self) -> None:
        self._graph = None


def cell_of(value: Any) -> str:
    """A value of a row: floats to 6 decimals, what is missing as nothing."""
    if value is None:
        return ""
    return f"{value:.6f}" if isinstance(value, float) else str(value)


def silent(*_: Any) -> None:
    """The logger of `no_logging()`."""
