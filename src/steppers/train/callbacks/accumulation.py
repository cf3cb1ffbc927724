"""Steps that see the gradients of several batches."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING, Any, cast

from ..events import Callback, CancelBatch
from .device import tensors_in

if TYPE_CHECKING:
    from ..learner import Learner


class GradientAccumulation(Callback):
    """Step once every `n` batches, with the gradient of one batch that holds all their samples.

    That is exact for losses that are means over the samples, also where batches differ in size:
    each counts by its number of samples. The last group of a pass may be smaller than n; it makes
    its step too, with the mean over the samples it has. BatchNorm still sees each batch alone.

    The batches before a group's last end in CancelBatch, so that after_step and zero_grad are not
    called for them. A pass that is cut off within a group drops the group's gradients.

    Raises ValueError for an n below 1, TypeError for one that is no whole number.
    """

    order = 5  # before MixedPrecision and ClipGradients, which work on a whole group's gradients

    def __init__(self, n: int) -> None:
        if not isinstance(cast("object", n), int) or isinstance(n, bool):
            raise TypeError(f"GradientAccumulation: n must be a number of batches, got {n!r}")
        if n < 1:
            raise ValueError(f"GradientAccumulation: n must be >= 1, got {n}")
        self.n = n
        self._clear()

    def _clear(self) -> None:
        self.count = 0  # batches whose gradients are in
        self.weight = 0.0  # what the group's mean is to be divided by: 1 for n batches of one size
        self.first = 0  # samples of the group's first batch
        self._share = 0.0  # of the batch that runs

    def after_loss(self, learn: Learner) -> None:
        if learn.training:
            size = _samples(learn.batch)
            self.first = self.first or size
            self._share = size / (self.n * self.first)
            learn.loss_grad = learn.loss_grad * self._share

    def after_cancel_backward(self, learn: Learner) -> None:
        self._share = 0.0

    def after_backward(self, learn: Learner) -> None:
        if self._share:
            self.count, self.weight = self.count + 1, self.weight + self._share

    def before_step(self, learn: Learner) -> None:
        if self.count < self.n and not _last(learn):
            raise CancelBatch
        if self.weight and abs(self.weight - 1) > 1e-9:
            for p in (p for group in learn.opt.param_groups for p in group["params"]):
                if p.grad is not None:
                    p.grad.div_(self.weight)
        self._clear()

    def cleanup_epoch(self, learn: Learner) -> None:
        if self.count:
            learn.opt.zero_grad()
            self._clear()

    def state_dict(self) -> dict[str, Any]:
        """The place in the group; its gradients are in the checkpoint, as all gradients are."""
        return {"count": self.count, "weight": self.weight, "first": self.first}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state whose gradients the parameters have."""
        self.count, self.weight, self.first = state["count"], state["weight"], state["first"]


def _samples(batch: Any) -> int:
    """The length of the target's first dimension, or of the first tensor that has one."""
    for x in [*tensors_in(batch[-1]), *tensors_in(batch)]:
        if x.ndim:
            return max(len(x), 1)
    return 1


def _last(learn: Learner) -> bool:
    """Whether no batch of this pass follows."""
    total = len(cast("Sized", learn.dl)) if hasattr(learn.dl, "__len__") else learn.n_iter
    return learn.iter + 1 >= total
