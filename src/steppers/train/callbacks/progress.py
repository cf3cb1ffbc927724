"""How a fit is shown while it runs: a bar for each pass, a table with a row for each round."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..events import Callback
from . import bars
from .bars import Kind, Moving
from .growing_table import GrowingTable
from .live_graph import Display, LiveGraph, notebook_display
from .recorder import Recorder

if TYPE_CHECKING:
    from ..learner import Learner


class Progress(Callback):
    """A bar for each pass on stderr, and on stdout a table that grows by a row each round.

    The rows are the recorder's; without one there is no table. Bars go when their pass is over; one
    that is over at once gets none.

    Args:
        kind: "bar"; "lines", which writes a line every half minute, for logs; "silent", which
            shows neither that nor the table; "auto", a bar on a terminal and in a notebook, else
            lines.
        plot: draw the losses live, by `display`; None: in a notebook.
        display: shows a matplotlib Figure in place of the one before; in a notebook there is one.
        write: what takes the lines of the table, print unless given.

    Raises ValueError for another kind, ImportError for a bar without tqdm, RuntimeError for a plot
    that nothing can show.
    """

    order = 55  # after the recorder, whose rows it shows
    observes = True
    delay = 0.2  # seconds: a pass that is shorter gets no bar, which would only flicker

    def __init__(
        self,
        kind: Kind = "auto",
        *,
        plot: bool | None = None,
        display: Display | None = None,
        write: Callable[[str], Any] | None = None,
    ) -> None:
        if kind not in bars.KINDS:
            raise ValueError(f"Progress: kind must be one of {', '.join(bars.KINDS)}, got {kind!r}")
        if kind == "bar":
            bars.check_available()
        self.kind: Kind = kind
        self.plot, self.write = plot, write or _print
        self.display = display or (notebook_display() if plot else None)
        self.shows_bar, self.shows_table = True, True
        self.table = GrowingTable()
        self._moving: Moving | None = None
        self._graph: LiveGraph | None = None
        self._recorder: Recorder | None = None
        self._next, self._fitting = 0.0, False
        self._first: int | None = None  # the batch with which the pass began

    # --- events ----------------------------------------------------------------------------------

    def before_fit(self, learn: Learner) -> None:
        self.table, self._fitting = GrowingTable(), True
        self._recorder = next((cb for cb in learn.cbs if isinstance(cb, Recorder)), None)
        self._graph = self._new_graph()

    def before_batch(self, learn: Learner) -> None:
        if self._first is None:  # only now it is known where a resumed pass begins
            self._first, self._next = learn.iter, time.monotonic() + self.delay
        if self._moving is None and time.monotonic() >= self._next:
            kind: Kind = self.kind if self.shows_bar else "silent"
            self._moving = bars.opened(kind, self._title(learn), _length(learn.dl), self._first)
            self._next += self._moving.interval

    def after_batch(self, learn: Learner) -> None:
        if self._moving is not None and time.monotonic() >= self._next:
            self._moving.update(learn.iter + 1, self._loss(learn))
            self._next = time.monotonic() + self._moving.interval
        if self._graph is not None and learn.training:
            self._graph.update()

    def cleanup_epoch(self, learn: Learner) -> None:
        self._first = None
        if self._moving is not None:
            moving, self._moving = self._moving, None
            moving.close()

    def after_round(self, learn: Learner) -> None:
        if self._recorder is not None:
            for line in self.table.lines(self._recorder.rows[-1]):
                self.say(line)
        if self._graph is not None:
            self._graph.update()

    def after_fit(self, learn: Learner) -> None:
        if self._graph is not None:
            self._graph.draw()

    def cleanup_fit(self, learn: Learner) -> None:
        self._graph, self._recorder, self._fitting = None, None, False

    # --- what it shows ---------------------------------------------------------------------------

    def say(self, line: str) -> None:
        """Write a line where the table is written."""
        if self.shows_table and self.kind != "silent":
            self.write(line)

    def _loss(self, learn: Learner) -> str:
        if not learn.training or self._recorder is None or not self._recorder.smooth:
            return ""
        return f"loss {self._recorder.smooth[-1]:.4f}"

    def _title(self, learn: Learner) -> str:
        if not self._fitting:
            return "train" if learn.training else "validation"
        of = f"epoch {learn.epoch + 1}/{learn.n_epochs}"
        return f"{of} {'train' if learn.training else 'valid'}"

    def _new_graph(self) -> LiveGraph | None:
        if self.plot and self._recorder is None:
            raise ValueError("Progress(plot=True) draws a Recorder's losses: add Recorder()")
        wanted = self.plot if self.plot is not None else self.display or bars.in_notebook()
        if not wanted or not self.shows_bar or self.kind == "silent" or self._recorder is None:
            return None
        return LiveGraph(self._recorder, self.display or notebook_display())


@contextmanager
def no_bar(learn: Learner) -> Generator[None, None, None]:
    """Show no bar and no graph while the block runs; the table stays."""
    with _switched(learn, "shows_bar"):
        yield


@contextmanager
def no_logging(learn: Learner) -> Generator[None, None, None]:
    """Print no table while the block runs; bars stay."""
    with _switched(learn, "shows_table"):
        yield


@contextmanager
def _switched(learn: Learner, name: str) -> Generator[None, None, None]:
    before = [(cb, getattr(cb, name)) for cb in learn.cbs if isinstance(cb, Progress)]
    for cb, _ in before:
        setattr(cb, name, False)
    try:
        yield
    finally:
        for cb, value in before:
            setattr(cb, name, value)


def say(learn: Learner, line: str) -> None:
    """Write a line where the learner's tables are written, if they are."""
    for cb in learn.cbs:
        if isinstance(cb, Progress):
            cb.say(line)


def _length(dl: Any) -> int | None:
    try:
        return len(dl)
    except TypeError:
        return None


def _print(line: str) -> None:
    print(line, flush=True)
