"""Training on mixtures of two samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.distributions import Beta

from ..events import Callback

if TYPE_CHECKING:
    from ..learner import Learner


class MixUp(Callback):
    """Mix each training batch with itself in another order (Zhang et al. 2017, arXiv:1710.09412).

    Inputs become lam * x + (1 - lam) * x[order], with one lam a batch from Beta(alpha, alpha).
    Floating targets are mixed alike. Of whole-number targets, which are classes, the losses are:
    lam * loss(preds, y) + (1 - lam) * loss(preds, y[order]). Any loss function will do, label
    smoothing too. lam or 1 - lam, whichever is larger, belongs to the batch's own target, so that
    metrics on training batches compare with the class that has the larger part.

    All draws are from torch's generators. Validation batches are left alone.

    Raises ValueError for an alpha that is not above 0, TypeError for inputs that are whole numbers.
    """

    order = 4  # after the transforms of the batch

    def __init__(self, alpha: float = 0.4) -> None:
        if not 0 < alpha < math.inf:
            raise ValueError(f"MixUp: alpha must be > 0, got {alpha}")
        self.alpha = alpha
        self.lam = 1.0
        self._other: Tensor | None = None  # classes of the samples that were mixed in

    def before_batch(self, learn: Learner) -> None:
        self._other = None
        if not learn.training:
            return
        *inputs, target = learn.batch
        _check(inputs, target)
        share = Beta(self.alpha, self.alpha, validate_args=False).sample().item()
        self.lam = max(share, 1 - share)
        order = torch.randperm(len(target), device=target.device)
        mixed = [self._mix(x, order) for x in inputs]
        if target.is_floating_point():
            learn.batch = (*mixed, self._mix(target, order))
        else:
            learn.batch, self._other = (*mixed, target), target[order]

    def _mix(self, x: Tensor, order: Tensor) -> Tensor:
        return torch.lerp(x[order.to(x.device)], x, self.lam)

    def get_loss(self, learn: Learner) -> None:
        learn.loss = learn.loss_func(learn.preds, learn.batch[-1])
        if self._other is not None:
            other = learn.loss_func(learn.preds, self._other)
            learn.loss = self.lam * learn.loss + (1 - self.lam) * other

    def cleanup_batch(self, learn: Learner) -> None:
        self._other = None


def _check(inputs: list[object], target: object) -> None:
    if not isinstance(target, Tensor):
        raise TypeError(f"MixUp: the target must be a tensor, got {type(target).__name__}")
    for x in inputs:
        if not isinstance(x, Tensor) or not x.is_floating_point():
            kind = str(x.dtype) if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"MixUp: inputs must be floating-point tensors, got {kind}")
