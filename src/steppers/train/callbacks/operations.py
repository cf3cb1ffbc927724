"""The operations of a batch, as the Learner does them when no other callback does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events import Callback

if TYPE_CHECKING:
    from ..learner import Learner


class Operations(Callback):
    """Outputs from all but the batch's last element, the loss from the last, one step."""

    order = -10
    replaceable = True  # another callback's operation of the same name takes its place

    def predict(self, learn: Learner) -> None:
        if not isinstance(learn.batch, tuple | list):
            raise TypeError(
                "a batch must be a tuple of inputs and, at its end, the target, got a "
                f"{type(learn.batch).__name__}; a before_batch event may make one of it"
            )
        learn.preds = learn.model(*learn.batch[:-1])

    def get_loss(self, learn: Learner) -> None:
        learn.loss = learn.loss_func(learn.preds, learn.batch[-1])

    def backward(self, learn: Learner) -> None:
        learn.loss_grad.backward()

    def step(self, learn: Learner) -> None:
        learn.opt.step()

    def zero_grad(self, learn: Learner) -> None:
        learn.opt.zero_grad()
