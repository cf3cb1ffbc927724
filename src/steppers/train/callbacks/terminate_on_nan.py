"""Ends a fit whose loss is not a number."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..events import Callback, CancelFit
from .progress import say

if TYPE_CHECKING:
    from ..learner import Learner


class TerminateOnNaN(Callback):
    """End the fit at a training loss that is NaN or infinite, before the step that it would take.

    The parameters are those that gave this loss, so what is wrong can be looked at. `stopped_at`
    is the training batch, from 0 over all epochs; None where nothing happened. On an accelerator
    each batch waits for its loss.
    """

    order = 61  # after the recorder, which keeps the loss
    observes = True

    def __init__(self) -> None:
        self.stopped_at: int | None = None

    def before_fit(self, learn: Learner) -> None:
        self.stopped_at = None

    def after_loss(self, learn: Learner) -> None:
        if not learn.training or math.isfinite(loss := learn.loss.item()):
            return
        self.stopped_at = learn.train_iter
        say(learn, f"stopped: the loss of training batch {learn.train_iter} is {loss}")
        raise CancelFit
