"""A run's callbacks: what it states, what it shows, what ends it, what its setup asks for."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ..callbacks.accumulation import GradientAccumulation
from ..callbacks.clipping import ClipGradients
from ..callbacks.device import Device
from ..callbacks.ema import EMA
from ..callbacks.mixup import MixUp
from ..callbacks.precision import MixedPrecision
from ..callbacks.schedule import ParamScheduler
from ..events import Callback
from ..progress import Progress
from .plans import SCHEDULES
from .settings import PRECISIONS, Settings, Setup

if TYPE_CHECKING:
    from ..learner import Learner


def asked_for(setup: Setup, optimizer: torch.optim.Optimizer) -> list[Any]:
    """The callbacks that a setup's options stand for."""
    found: list[Any] = []
    plan = SCHEDULES[setup.schedule or "none"]
    if plan is not None:
        found.append(ParamScheduler({"lr": plan([g["lr"] for g in optimizer.param_groups])}))
    if setup.device != "cpu":
        found.append(Device(setup.device))
    if setup.precision:
        found.append(MixedPrecision(PRECISIONS[setup.precision]))
    if setup.accumulate > 1:
        found.append(GradientAccumulation(setup.accumulate))
    if setup.clip is not None:
        found.append(ClipGradients(max_norm=setup.clip))
    if setup.mixup:
        found.append(MixUp(setup.mixup))
    if setup.label_smoothing:
        found.append(SmoothLabels(setup.label_smoothing))
    if setup.ema is not None:
        found.append(EMA(setup.ema))
    return found


class SmoothLabels(Callback):
    """Smooths the labels of the training loss (arXiv:1512.00567); the held-out loss stays plain."""

    def __init__(self, share: float) -> None:
        self.share = share
        self.plain: Any = None

    def before_epoch(self, learn: Learner) -> None:
        self.plain = learn.loss_func
        if learn.training:
            learn.loss_func = partial(self.plain, label_smoothing=self.share)

    def cleanup_epoch(self, learn: Learner) -> None:
        learn.loss_func = self.plain


class Stated(Callback):
    """Keeps the settings in checkpoints, so that a checkpoint alone says what it is of."""

    KEY = "Stated.0"  # where `saving.callback_states` puts them

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def before_fit(self, learn: Learner) -> None:
        """Nothing: a callback must have an event."""

    def state_dict(self) -> dict[str, Any]:
        return self.settings.as_dict()


class Watch(Callback):
    """Ends a run whose loss is not finite, before a step is taken on it.

    On a GPU the loss is looked at in every twentieth batch, lest each waits for the device.
    """

    order = -5
    FAR = 20

    def __init__(self, name: str) -> None:
        self.name = name

    def after_loss(self, learn: Learner) -> None:
        if learn.training and (not learn.loss.is_cuda or learn.iter % self.FAR == 0):
            self.check(learn.loss.item(), learn.train_iter)

    def after_round(self, learn: Learner) -> None:
        held_out = learn.scores["valid"].get("loss")
        if held_out is not None:
            self.check(held_out, learn.train_iter + 1)

    def check(self, loss: float, step: int) -> None:
        """Raise FloatingPointError for a run that has diverged."""
        if not math.isfinite(loss):
            steps = "1 step" if step == 1 else f"{step} steps"
            raise FloatingPointError(
                f"{self.name} diverged: the loss is {loss} after {steps}; try a smaller lr"
            )


class Report(Callback):
    """Tells how a run goes: each batch to the bar, each epoch's row to whoever wants it."""

    order = 900  # after the recorder and what changes its row, before checkpoints
    PAUSE = 0.2  # seconds between words beside the bar

    def __init__(self, shown: Progress, on_row: Callable[[Any], None] | None = None) -> None:
        self.shown, self.on_row, self.said = shown, on_row, 0.0
        self.words: dict[str, str] = {}

    def after_batch(self, learn: Learner) -> None:
        if learn.training:
            if time.monotonic() - self.said > self.PAUSE:
                self.said = time.monotonic()
                epoch = f"{learn.epoch + 1}/{learn.n_epochs}"
                self.words = {"epoch": epoch, "loss": f"{learn.loss.item():.3f}"}
            self.shown.step(self.words)

    def after_round(self, learn: Learner) -> None:
        if self.on_row is not None:
            self.on_row(learn)
