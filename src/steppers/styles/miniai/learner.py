"""miniai's Learners on our loop: TrainLearner, whose operations are methods, and its relatives."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from ...train.callbacks.operations import Operations
from ...train.events import (
    OPERATIONS,
    Callback,
    Cancel,
    CancelBatch,
    CancelFit,
    CancelTrain,
    CancelValid,
)
from ...train.learner import Learner as Trainer
from ...train.learner import OptimizerFunction


class CancelFitException(CancelFit):
    """Ends the fit."""


class CancelEpochException(CancelTrain, CancelValid):
    """Ends the pass that runs; miniai's epoch is one pass."""


class CancelBatchException(CancelBatch):
    """Ends the batch."""


def run_cbs(cbs: Iterable[Any], method_nm: str, learn: Any = None) -> None:
    """Call a method of those callbacks that have it, by `order`, with the learner."""
    for cb in sorted(cbs, key=lambda cb: getattr(cb, "order", 0)):
        method = getattr(cb, method_nm, None)
        if method is not None:
            method(learn)


class Learner(Trainer):
    """Our Learner as miniai has it: a new optimizer for every fit, no after_ event on a cancel.

    The five operations `predict get_loss backward step zero_grad` are methods without arguments,
    which ask the callbacks: a `TrainCB`, or else the Learner's own way. `opt_func` gets all
    parameters and the rate, by position.

    `fit(..., reset_opt=False)` keeps the optimizer from the fit before.
    """

    def __init__(
        self,
        model: nn.Module,
        dls: Any = (0,),
        loss_func: Callable[..., Any] = nn.functional.mse_loss,
        lr: Any = 0.1,
        cbs: Any = None,
        opt_func: OptimizerFunction | torch.optim.Optimizer = torch.optim.SGD,
    ) -> None:
        self._computed: Any = None
        super().__init__(
            model,
            dls,
            loss_func,
            lr,
            cbs or (),
            by_position(opt_func),
            wd_bn_bias=True,
            default_cbs=False,
        )

    def fit(  # pyright: ignore[reportIncompatibleMethodOverride]  # miniai's arguments
        self,
        n_epochs: int = 1,
        train: bool = True,
        valid: bool = True,
        cbs: Any = None,
        lr: Any = None,
        reset_opt: bool = True,
    ) -> None:
        """Train for so many epochs, with further callbacks for this fit."""
        super().fit(n_epochs, lr, cbs=cbs or (), train=train, valid=valid, reset_opt=reset_opt)

    def callback(self, method_nm: str) -> None:
        """Call an event, of any name, of all callbacks."""
        run_cbs(self.cbs, method_nm, self)

    def level(self, name: str, body: Callable[[], None], cancel: type[Cancel]) -> None:
        """Run `body` between the events of a level; a cancel leaves out what is left of them."""
        try:
            self(f"before_{name}")
            body()
            self(f"after_{name}")
        except cancel:
            self(f"after_cancel_{name}")  # ours alone: no callback of miniai's has one
        finally:
            self._clean_up(f"cleanup_{name}")

    # --- operations ------------------------------------------------------------------------------

    def operate(self, name: str) -> None:
        """Do a part of a batch: by the method of that name."""
        getattr(self, name)()
        if name == "get_loss":
            self._computed = self.loss

    def predict(self, *inputs: Any) -> Any:
        """The operation; with inputs, the model's outputs for them, as our Learner's predict."""
        return super().predict(*inputs) if inputs else super().operate("predict")

    def get_loss(self) -> None:
        super().operate("get_loss")

    def backward(self) -> None:
        super().operate("backward")

    def step(self) -> None:
        super().operate("step")

    def zero_grad(self) -> None:
        super().operate("zero_grad")

    # --- the rest --------------------------------------------------------------------------------

    def lr_find(  # pyright: ignore[reportIncompatibleMethodOverride]  # miniai's arguments
        self,
        gamma: float = 1.3,
        max_mult: float = 3.0,
        start_lr: float = 1e-5,
        max_epochs: int = 10,
        *,
        restore: bool = False,
    ) -> Any:
        """Train at a rate that grows by `gamma` a batch, until the loss is `max_mult` its least.

        Returns the LRFinderCB, which shows itself as its picture in a notebook. The weights stay as
        they are then; with `restore=True` they come back as they were.
        """
        from .finder import LRFinderCB

        finder = LRFinderCB(gamma=gamma, max_mult=max_mult, restore=restore)
        self.fit(max_epochs, lr=start_lr, cbs=[finder])
        return finder

    @property
    def opt(self) -> torch.optim.Optimizer:
        """The optimizer; a callback may put another one, which wraps it, in its place."""
        return self.with_opt().opt

    @opt.setter
    def opt(self, value: torch.optim.Optimizer) -> None:
        self.layers = replace(self.with_opt(), opt=value)


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
                    f"{type(cb).__name__} would not be called: use Learner with TrainCB"
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
        differentiated(self, self._computed).backward()

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
        opt_func: OptimizerFunction | torch.optim.Optimizer = torch.optim.SGD,
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

    def __init__(self, n_inp: int = 1) -> None:
        self.n_inp = n_inp
        self._computed: Any = None

    def predict(self, learn: Any) -> None:
        learn.preds = learn.model(*learn.batch[: self.n_inp])

    def get_loss(self, learn: Any) -> None:
        learn.loss = self._computed = learn.loss_func(learn.preds, *learn.batch[self.n_inp :])

    def backward(self, learn: Any) -> None:
        differentiated(learn, getattr(self, "_computed", None)).backward()

    def step(self, learn: Any) -> None:
        learn.opt.step()

    def zero_grad(self, learn: Any) -> None:
        learn.opt.zero_grad()


def differentiated(learn: Any, computed: Any) -> Any:
    """What to differentiate: `learn.loss` where a callback replaced it, as miniai's do.

    Our own callbacks change `learn.loss_grad`, and leave the loss that is reported as it is.
    """
    return learn.loss_grad if learn.loss is computed else learn.loss


def by_position(opt_func: Any) -> Any:
    """An optimizer's maker for our Learner that calls `opt_func(parameters, lr)`."""
    if isinstance(opt_func, torch.optim.Optimizer) or opt_func is None:
        return opt_func

    def make(groups: list[dict[str, Any]], lr: Any) -> torch.optim.Optimizer:
        return opt_func([p for group in groups for p in group["params"]], lr)

    return make
