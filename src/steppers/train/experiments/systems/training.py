"""One training run of an original's settings, from one seed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch.nn.functional as F
from torch import nn

from .... import groups, rng
from ... import metrics
from ...callbacks.device import Device
from ...callbacks.metrics import Metrics
from ...callbacks.operations import Operations
from ...callbacks.recorder import Recorder
from ...data.dataset import Data
from ...learner import Learner
from ...progress import Progress
from ..callbacks import Report, SmoothLabels, Watch
from ..runs import recorder, threads
from ..settings import Setup
from .experiment import Experiment, Recipe, Span


@dataclass(frozen=True)
class How:
    """What a run has beside the original's settings; None: as the original or torch has it.

    Raises:
        ValueError: a number out of its range, or a device that torch does not know.
        RuntimeError: a device that is not there.
    """

    epochs: int | None = None
    threads: int | None = None
    device: str = "cpu"
    workers: int = 0

    def __post_init__(self) -> None:
        Setup(**asdict(self))  # checks them all


@dataclass(frozen=True)
class Run:
    """What one run showed. With an `error` it ended before its time."""

    seed: int
    data: str  # the sentence that names the data
    batch_size: int
    steps_per_epoch: int
    rows: Sequence[dict[str, Any]]  # one an epoch, as the recorder has it
    losses: Sequence[float]  # of each training batch, before its step
    rates: Sequence[float]
    seconds: float
    error: str | None = None

    @property
    def accuracies(self) -> list[float]:
        """Held out, after each epoch."""
        return [row["valid_accuracy"] for row in self.rows]


def parameters(model: nn.Module, recipe: Recipe) -> Any:
    """What the optimizer gets: all in one group, or norms and biases in one that does not decay."""
    if recipe.decays_all:
        return model.parameters()
    return groups.no_decay(model, weight_decay=recipe.hypers["weight_decay"])


def make_learner(
    experiment: Experiment, data: Data, batch_size: int, seed: int, how: How
) -> Learner:
    """A learner with the original's settings before its first step. Seeds every generator."""
    rng.seed_all(seed)
    model = experiment.net.make().to(how.device)
    optimizer = experiment.optimizer.make(parameters(model, experiment.optimizer), experiment.lr)
    loaders = data.loaders(batch_size, workers=how.workers, seed=seed)
    span = Span(how.epochs or experiment.epochs, len(loaders.train))
    cbs: list[Any] = [
        Operations(),
        Metrics({"accuracy": metrics.accuracy}, train_metrics=True),
        Recorder(),
        *([Device(how.device)] if how.device != "cpu" else []),
        *([SmoothLabels(experiment.smoothing)] if experiment.smoothing else []),
        *experiment.schedule.callbacks(experiment.lr, span),
    ]
    return Learner(
        model,
        loaders,
        F.cross_entropy,
        lr=experiment.lr,
        opt_func=optimizer,
        cbs=cbs,
        default_cbs=False,
    )


def train_one(
    experiment: Experiment, data: Data, batch_size: int, seed: int, how: How, shown: Progress
) -> Run:
    """Train one network; a run that diverges ends, and has an `error`.

    Raises:
        ValueError: the data's shape is one that the network cannot take.
    """
    learn = make_learner(experiment, data, batch_size, seed, how)
    begin, error = time.perf_counter(), None
    try:
        with threads(how.threads):
            learn.fit(how.epochs or experiment.epochs, cbs=[Watch(experiment.name), Report(shown)])
    except FloatingPointError as stopped:
        error = str(stopped)
    kept = recorder(learn)
    return Run(
        seed=seed,
        data=data.description,
        batch_size=batch_size,
        steps_per_epoch=learn.n_iter,
        rows=[{**row, "epoch": row["epoch"] + 1} for row in kept.rows],
        losses=[float(loss) for loss in kept.losses],
        rates=[float(rates[-1] or 0.0) for rates in kept.hypers["lr"]],
        seconds=time.perf_counter() - begin,
        error=error,
    )
