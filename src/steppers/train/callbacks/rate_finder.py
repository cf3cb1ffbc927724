"""A sweep of learning rates as a callback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lr_find import Sweep
from ..events import Callback, CancelFit

if TYPE_CHECKING:
    from ..learner import Learner


class RateFinder(Callback):
    """Set the sweep's rate before each training batch, give it the loss, stop when it is over."""

    order = 65  # after schedules, whose rate it replaces

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep

    def before_batch(self, learn: Learner) -> None:
        self.sweep.set_lr()

    def after_loss(self, learn: Learner) -> None:
        if self.sweep.record(learn.loss):
            raise CancelFit
