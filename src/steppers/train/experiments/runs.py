"""One run: a network trained with one optimizer from one seed, and what it showed."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ... import rng
from ..callbacks.metrics import Metrics
from ..callbacks.operations import Operations
from ..callbacks.recorder import Recorder
from ..data.dataset import Data
from ..learner import Learner
from ..progress import Progress, Silent
from .callbacks import Report, Stated, Watch, asked_for
from .costs import Cost
from .optimizers import maker
from .settings import Settings

Row = dict[str, Any]  # one epoch: epoch (from 1), step, train_loss, loss, the score, seconds


@dataclass(frozen=True)
class Run:
    """What one run showed. With an `error` it ended before its time."""

    settings: Settings
    data: str  # the sentence that names the data
    rows: Sequence[Row]  # one an epoch
    losses: Sequence[float]  # of each training batch, before its step
    rates: Sequence[float]  # the learning rate of the last group in each training batch
    steps_per_epoch: int
    seconds: float
    error: str | None = None
    cost: Cost | None = None

    @property
    def loss(self) -> float | None:
        """The held-out loss at the end; None for a run that diverged."""
        return None if self.error or not self.rows else self.rows[-1]["loss"]

    @property
    def score(self) -> float | None:
        """The task's score on the held-out part at the end; None for a run that diverged."""
        name = self.settings.task.score.name
        return None if self.error or not self.rows else self.rows[-1][name]

    @property
    def scores(self) -> list[float]:
        """The score after each epoch."""
        return [row[self.settings.task.score.name] for row in self.rows]


def make_learner(
    settings: Settings,
    data: Data,
    cbs: Iterable[Any] = (),
) -> Learner:
    """A learner before its first step. Seeds every generator of random numbers."""
    rng.seed_all(settings.seed)
    setup = settings.setup
    model = settings.task.model().to(setup.device)
    optimizer = maker(settings.found, settings.hypers)(model)
    loaders = data.loaders(setup.batch_size or 1, workers=setup.workers, seed=settings.seed)
    own = [Operations(), Metrics(settings.task.score.make()), Recorder(), Stated(settings)]
    return Learner(
        model,
        loaders,
        settings.task.loss,
        lr=[group["lr"] for group in optimizer.param_groups],
        opt_func=optimizer,
        cbs=[*own, *asked_for(setup, optimizer), *cbs],
        default_cbs=False,
    )


def train_one(
    settings: Settings,
    data: Data,
    *,
    label: str | None = None,
    shown: Progress | None = None,
    on_row: Callable[[Settings, Row], None] | None = None,
    cbs: Iterable[Any] = (),
) -> tuple[Run, Learner]:
    """Train one network; a run that diverges ends, and has an `error`.

    Raises:
        ValueError: the optimizer cannot be made from its hypers, or a callback refuses the fit.
    """
    told = None if on_row is None else partial(tell_row, settings, on_row)
    report = Report(shown or Silent(), told)
    learn = make_learner(settings, data, [Watch(label or settings.optimizer), report, *cbs])
    begin, error = time.perf_counter(), None
    try:
        with threads(settings.setup.threads or settings.task.threads):
            learn.fit(settings.setup.epochs or 1)
    except FloatingPointError as stopped:
        error = str(stopped)
    run = Run(
        settings=settings,
        data=data.description,
        rows=rows_of(learn),
        losses=[float(loss) for loss in recorder(learn).losses],
        rates=[rates[-1] or 0.0 for rates in recorder(learn).hypers["lr"]],
        steps_per_epoch=learn.n_iter,
        seconds=time.perf_counter() - begin,
        error=error,
    )
    return run, learn


def recorder(learn: Learner) -> Recorder:
    """The learner's recorder."""
    return next(cb for cb in learn.cbs if isinstance(cb, Recorder))


def rows_of(learn: Learner) -> list[Row]:
    """The recorder's rows, epochs from 1, under the names that reports use."""
    return [row_of(learn, row) for row in recorder(learn).rows]


def row_of(learn: Learner, row: Row) -> Row:
    """One row of the recorder, epochs from 1, under the names that reports use."""
    named = {"train_loss", "valid_loss", "epoch", "time"}
    epoch = row["epoch"] + 1
    return {
        "epoch": epoch,
        "step": epoch * learn.n_iter,
        "train_loss": row["train_loss"],
        "loss": row["valid_loss"],
        **{key: value for key, value in row.items() if key not in named},
        "seconds": row["time"],
    }


def tell_row(settings: Settings, on_row: Callable[[Settings, Row], None], learn: Learner) -> None:
    """Hand on the row of the epoch that is done."""
    on_row(settings, rows_of(learn)[-1])


@contextmanager
def threads(count: int | None) -> Generator[None, None, None]:
    """Run a block with so many of torch's threads; None: as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
