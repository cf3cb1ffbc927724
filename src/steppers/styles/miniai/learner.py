"""miniai's Learner on our loop: what a fit begins with, which events a cancel leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from ... import hypers
from ...train import fits, loaders
from ...train.events import (
    EVENTS,
    Callback,
    Cancel,
    CancelBatch,
    CancelFit,
    CancelTrain,
    CancelValid,
    listed,
)
from ...train.layers import Layers, taken
from ...train.learner import Learner as Trainer


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
    which ask the callbacks: a `TrainCB`, or else the Learner's own way.

    `opt_func` gets all parameters and the fit's rate, by position, and may return any object with
    `step()` and `zero_grad()`. With None there is no new one: `learn.opt` is yours to set.
    `fit(..., reset_opt=False)` keeps the optimizer from the fit before.
    """

    def __init__(
        self,
        model: nn.Module,
        dls: Any = (0,),
        loss_func: Callable[..., Any] = nn.functional.mse_loss,
        lr: Any = 0.1,
        cbs: Any = None,
        opt_func: Callable[..., Any] | torch.optim.Optimizer | None = torch.optim.SGD,
    ) -> None:
        if not (opt_func is None or callable(opt_func) or _is_torchs(opt_func)):
            raise TypeError(
                "Learner: opt_func must make an optimizer of (parameters, lr), got "
                f"{opt_func!r}; a class like torch.optim.SGD does"
            )
        self.computed_loss: Any = None  # what get_loss gave, before any callback changed it
        self._left = False  # gradients that no zero_grad has seen
        dls = None if isinstance(dls, tuple) and dls == (0,) else dls  # no data as yet
        super().__init__(model, dls, loss_func, lr, _listed(cbs), default_cbs=False)
        self.opt_func: Any = opt_func
        self.layers: Layers | None = None

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
        self.refuse_within("fit", "fit")
        for name, value in (("train", train), ("valid", valid)):
            if not isinstance(value, int):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"fit: {name} must be True or False, got {value!r}; lr= is a rate")
        fits.check(self, n_epochs, 0, train=False)
        if train:
            with suppress(TypeError):  # data without a length are as much as comes
                loaders.check_any(self.dls)
        with self.added(_listed(cbs)):
            self.n_epochs, self.epochs = n_epochs, range(n_epochs)
            self.ready(lr, reset_opt=reset_opt)
            self._drop_what_is_left()
            self.level("fit", partial(self._rounds, train, valid), CancelFit)

    def _batches(self) -> None:
        before = self._trained() if self.training else 0
        for self.iter, self.batch in enumerate(self.dl, self.first_iter):  # noqa: B020
            if self.training:
                self.train_iter = before + self.iter
            self.level("batch", self._batch, CancelBatch)

    def _trained(self) -> int:
        """Training batches before this pass; where their number is not known, those there were."""
        try:
            return self.epoch * self.n_iter
        except TypeError:
            return self.train_iter + 1 if self.epoch else 0

    def _drop_what_is_left(self) -> None:
        """Drop gradients of a fit that ended between backward and zero_grad, and no others."""
        if self._left:
            for p in self.model.parameters():
                p.grad = None
        self._left = False

    # --- events ----------------------------------------------------------------------------------

    def callback(self, method_nm: str) -> None:
        """Call an event, of any name, of all callbacks."""
        if method_nm not in EVENTS:
            run_cbs(self.cbs, method_nm, self)
        elif method_nm.startswith("cleanup_"):
            super()._clean_up(method_nm)  # every callback's, whatever one of them raises
        else:
            super().__call__(method_nm)

    def __call__(self, event: str) -> None:
        self.callback(event)

    def _clean_up(self, event: str) -> None:
        self.callback(event)

    def level(self, name: str, body: Callable[[], None], cancel: type[Cancel]) -> None:
        """Run `body` between the events of a level; a cancel leaves out what is left of them."""
        outer = self.running
        try:
            self.running = (*outer, name)
            self(f"before_{name}")
            body()
            self(f"after_{name}")
        except cancel:
            self(f"after_cancel_{name}")  # ours alone: no callback of miniai's has one
        finally:
            try:
                self._clean_up(f"cleanup_{name}")
            finally:
                self.running = outer

    # --- operations ------------------------------------------------------------------------------

    def operate(self, name: str) -> None:
        """Do a part of a batch: by the method of that name."""
        self._left = self._left or name == "backward"
        getattr(self, name)()
        if name == "get_loss":
            self.computed_loss = self.loss
        elif name == "zero_grad":
            self._left = False

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

    # --- the optimizer ---------------------------------------------------------------------------

    def with_opt(self) -> Layers:
        """The optimizer, made if there is none, and its parameter groups."""
        if self.layers is None:
            self.layers = self._made(self.lr)
        return self.layers

    def ready(self, lr: Any = None, wd: float | None = None, reset_opt: bool = False) -> None:
        """Have an optimizer with a rate: a new one, or where it is kept, the one that is there."""
        rate = self.lr if lr is None else lr
        if callable(self.opt_func) and (reset_opt or self.layers is None):
            self.layers = self._made(rate)
        elif self.opt_func is not None and _is_torchs(self.opt):
            super().ready(lr, wd, reset_opt)
        elif self.opt_func is not None or lr is not None:
            _set_rate(self.opt, rate)

    def set_modes(self, training: bool) -> None:
        """Switch the model, and an optimizer that has modes; evaluation needs no optimizer."""
        if self.layers is None:
            self.model.train(training)
        else:
            super().set_modes(training)

    def _made(self, lr: Any) -> Layers:
        if _is_torchs(self.opt_func):
            return taken(self.opt_func, self.model)
        if self.opt_func is None:
            raise RuntimeError(
                f"{type(self).__name__}: there is no optimizer: set learn.opt, or give opt_func="
            )
        return _around(self.opt_func(list(self.model.parameters()), lr))

    @property
    def opt(self) -> Any:
        """The optimizer; you, or a callback, may put another in its place."""
        return self.with_opt().opt

    @opt.setter
    def opt(self, value: Any) -> None:
        self.layers = _around(value) if self.layers is None else replace(self.layers, opt=value)

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

        Returns the LRFinderCB, which has the rates and losses, and draws them in a notebook. The
        weights stay as they are then; with `restore=True` they come back as they were.
        """
        from .finder import LRFinderCB

        finder = LRFinderCB(gamma=gamma, max_mult=max_mult, restore=restore)
        self.fit(max_epochs, lr=start_lr, cbs=[finder])
        return finder


def _listed(cbs: Any) -> list[Any]:
    """Callbacks as a list; one alone may be iterable itself, as those that keep hooks are."""
    return [cbs] if isinstance(cbs, Callback) else listed(() if cbs is None else cbs)


def _is_torchs(opt: Any) -> bool:
    return isinstance(opt, torch.optim.Optimizer)


def _around(opt: Any) -> Layers:
    """An optimizer of any kind, each of its groups, if it has any, a layer group."""
    if not callable(getattr(opt, "step", None)) or not callable(getattr(opt, "zero_grad", None)):
        raise TypeError(f"Learner: an optimizer has step() and zero_grad(), got {opt!r}")
    count = len(getattr(opt, "param_groups", ()))
    return Layers(opt, tuple(range(count)), (True,) * count, count)


def _set_rate(opt: Any, lr: Any) -> None:
    """Set the rate: in the groups of torch's optimizers, on others as miniai's have it."""
    if _is_torchs(opt):
        hypers.put(opt, "lr", lr)
    else:
        opt.lr = lr
