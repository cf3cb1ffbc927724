"""The first and the last touch of every batch: modes, counts, plain tensors, epochs left out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ....train.callbacks.device import mapped
from .callback import Callback
from .events import CancelEpochException


class TrainEvalCallback(Callback):
    """Count: `epoch`, `train_iter`, with it `pct_train`, and a loss of 0 at the beginning.

    `train_iter` is the place of the batch in the fit, and one more once the batch is done. The
    model goes to `dls.device`, where the data have one, and forgets its state, if it has a method
    `reset`. Modes are our Learner's doing.
    """

    order = -10
    run_valid = False

    def after_create(self) -> None:
        self.learn.n_epoch = self.n_epoch or 1

    def before_fit(self) -> None:
        self.learn.epoch, self.learn.loss = 0, torch.tensor(0.0)
        self.learn.train_iter = 0
        device = getattr(self.dls, "device", None)
        if device is not None:
            self.model.to(device)
        reset = getattr(self.model, "reset", None)
        if callable(reset):
            reset()

    def before_train(self) -> None:
        self.learn.train_iter = self.epoch * len(self.dls.train)
        self.learn.pct_train = None  # what our Learner counts

    def after_batch(self) -> None:
        self.learn.train_iter += 1


class CastToTensor(Callback):
    """Batches of plain tensors: subclasses lose their class, and share their memory."""

    order = 9

    def before_batch(self) -> None:
        self.learn.xb, self.learn.yb = plain(self.xb), plain(self.yb)


def plain(batch: Any) -> Any:
    """A nest whose tensors are of torch's own class."""
    return mapped(lambda x: x.as_subclass(Tensor) if isinstance(x, Tensor) else x, batch)


class SkipToEpoch(Callback):
    """Cancel the epochs before one; `fit(..., start_epoch=)` leaves them out without an event."""

    order = 70

    def __init__(self, epoch: int) -> None:
        self.skip_to = epoch

    def before_epoch(self) -> None:
        if self.epoch < self.skip_to:
            raise CancelEpochException
