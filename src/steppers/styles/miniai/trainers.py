"""miniai's ways of training a batch: TrainLearner with methods, and TrainCB, a callback."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ...train.callbacks.operations import Operations
from ...train.events import OPERATIONS, Callback
from .learner import Learner


class TrainLearner(Learner):
    """A Learner with its own operations, to be overridden; inputs first, target second.

    Raises TypeError for a callback with operations, which would not be called.
    """

    def set_cbs(self, cbs: Sequence[Any]) -> None:
        """Replace the callbacks."""
        for cb in cbs:
            has = [name for name in OPERATIONS if callable(getattr(cb, name, None))]
            same = isinstance(cb, Operations) or (type(cb) is TrainCB and cb.n_inp == 1)
            if has and isinstance(cb, Callback) and not same:
                raise TypeError(
                    f"TrainLearner has operations of its own, so that {has[0]}() of "
                    f"{type(cb).__name__} would not be called: take Learner in its place"
                )
        super().set_cbs(cbs)

    def predict(self, *inputs: Any) -> Any:
        """The operation; with inputs, the model's outputs for them."""
        if inputs:
            return super().predict(*inputs)
        self.preds = self.model(self.batch[0])
        return None

    def get_loss(self) -> None:
        self.loss = self.loss_func(self.preds, self.batch[1])

    def backward(self) -> None:
        differentiated(self).backward()

    def step(self) -> None:
        self.opt.step()

    def zero_grad(self) -> None:
        self.opt.zero_grad()


class MomentumLearner(TrainLearner):
    """Momentum without an optimizer for it: gradients are multiplied by `mom`, not zeroed."""

    def __init__(
        self,
        model: nn.Module,
        dls: Any,
        loss_func: Callable[..., Any],
        lr: Any = 0.1,
        cbs: Any = None,
        opt_func: Callable[..., Any] | torch.optim.Optimizer | None = torch.optim.SGD,
        mom: float = 0.85,
    ) -> None:
        if not 0 <= mom < math.inf:
            raise ValueError(f"MomentumLearner: mom must be >= 0, got {mom}")
        self.mom = mom
        super().__init__(model, dls, loss_func, lr, cbs, opt_func)

    @torch.no_grad()
    def zero_grad(self) -> None:
        for p in self.model.parameters():
            if p.grad is not None:
                p.grad.mul_(self.mom)


class TrainCB(Callback):
    """The five operations as a callback; the first `n_inp` of a batch are the model's inputs."""

    n_inp = 1  # of heirs that do not call __init__

    def __init__(self, n_inp: int = 1) -> None:
        self.n_inp = n_inp

    def predict(self, learn: Any) -> None:
        learn.preds = learn.model(*learn.batch[: self.n_inp])

    def get_loss(self, learn: Any) -> None:
        learn.loss = learn.loss_func(learn.preds, *learn.batch[self.n_inp :])
        learn.computed_loss = learn.loss

    def backward(self, learn: Any) -> None:
        differentiated(learn).backward()

    def step(self, learn: Any) -> None:
        learn.opt.step()

    def zero_grad(self, learn: Any) -> None:
        learn.opt.zero_grad()


def differentiated(learn: Any) -> Any:
    """What to differentiate: `learn.loss` where a callback replaced it, as miniai's do.

    Our own callbacks change `learn.loss_grad`, and leave the loss that is reported as it is.
    """
    computed = getattr(learn, "computed_loss", None)
    return learn.loss_grad if learn.loss is computed else learn.loss
