"""A run: the course's callbacks on our Learner, whose events become the course's."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ...train.events import Callback as Part
from ...train.events import CancelTrain, CancelValid
from ...train.learner import Learner as Trainer
from .callback import TrainEvalCallback
from .lists import listify

EVENTS = frozenset({
    "begin_fit", "begin_epoch", "begin_batch", "after_pred", "after_loss", "after_backward",
    "after_step", "after_cancel_batch", "after_batch", "after_cancel_epoch", "begin_validate",
    "after_epoch", "after_cancel_train", "after_fit",
})  # fmt: skip


class Run:
    """The callbacks of a fit and what they see: `xb yb pred loss epoch epochs iter iters n_iter`.

    `cbs` are callbacks, `cb_funcs` classes or partials that make them. Each is set as an attribute
    by its name (`run.recorder`), unless the run has such an attribute already.
    """

    ALL_CBS = EVENTS

    def __init__(self, cbs: Any = None, cb_funcs: Any = None) -> None:
        self.cbs: list[Any] = []
        self._named = set[str]()
        self.in_train, self.n_epochs, self.n_iter, self.epochs = False, 0.0, 0, 0
        self.logger: Callable[..., Any] = print
        self.learn: Any = None
        self._trainer: Trainer | None = None
        self.add_cbs([TrainEvalCallback(), *listify(cbs)])
        self.add_cbs(make() for make in listify(cb_funcs))

    def add_cbs(self, cbs: Any) -> None:
        """Add callbacks, for good.

        Raises TypeError for a class and for what is no callback, ValueError for one that is there
        already; none is added then.
        """
        added = listify(cbs)
        for place, cb in enumerate(added):
            _check_callback(cb, [*self.cbs, *added[:place]])
        for cb in added:
            self._add(cb)

    def add_cb(self, cb: Any) -> None:
        """Add a callback, for good."""
        self.add_cbs([cb])

    def _add(self, cb: Any) -> None:
        cb.set_runner(self)
        self.cbs.append(cb)
        if cb.name in self._named or not (cb.name in vars(self) or hasattr(type(self), cb.name)):
            self._named.add(cb.name)
            setattr(self, cb.name, cb)

    def remove_cbs(self, cbs: Any) -> None:
        """Take callbacks away; their attributes stay, to look at."""
        gone = listify(cbs)
        self.cbs = [cb for cb in self.cbs if not any(cb is each for each in gone)]

    def __call__(self, cb_name: str) -> bool:
        """Call an event of all callbacks, by `_order`; True where one returned a true value."""
        if cb_name not in EVENTS:
            raise ValueError(
                f"there is no event {cb_name!r}; there are {', '.join(sorted(EVENTS))}"
            )
        skip = False
        for cb in sorted(self.cbs, key=lambda cb: getattr(cb, "_order", 0)):
            skip = bool(cb(cb_name)) or skip
        return skip

    # --- what callbacks see of the trainer -------------------------------------------------------

    @property
    def trainer(self) -> Trainer:
        """Our Learner that runs the fit. Raises AttributeError before the first."""
        if self._trainer is None:
            raise AttributeError("a run has no batch, loss or epoch before its first fit")
        return self._trainer

    @property
    def batch(self) -> Any:
        return self.trainer.batch

    @property
    def xb(self) -> Any:
        batch = self.trainer.batch
        return batch[0] if len(batch) == 2 else tuple(batch[:-1])

    @xb.setter
    def xb(self, value: Any) -> None:
        several = isinstance(value, tuple) and len(self.trainer.batch) != 2
        self.trainer.batch = (*(value if several else (value,)), self.trainer.batch[-1])

    @property
    def yb(self) -> Any:
        return self.trainer.batch[-1]

    @yb.setter
    def yb(self, value: Any) -> None:
        self.trainer.batch = (*self.trainer.batch[:-1], value)

    @property
    def pred(self) -> Any:
        return self.trainer.preds

    @pred.setter
    def pred(self, value: Any) -> None:
        self.trainer.preds = value

    @property
    def loss(self) -> Tensor:
        return self.trainer.loss

    @loss.setter
    def loss(self, value: Tensor) -> None:
        self.trainer.loss = self.trainer.loss_grad = value

    @property
    def epoch(self) -> int:
        return self.trainer.epoch

    @property
    def dl(self) -> Any:
        return self.trainer.dl

    @property
    def iter(self) -> int:
        return self.trainer.iter

    @property
    def iters(self) -> int:
        return len(self.trainer.dl)

    # --- a fit -----------------------------------------------------------------------------------

    def train(self, epochs: int, learn: Any) -> None:
        """Train what `learn` holds (model, data, loss_func, opt) on our Learner."""
        self.learn = learn
        for cb in self.cbs:
            cb.set_runner(self)
        _check_optimizer(learn)
        rates = [group["lr"] for group in learn.opt.param_groups]
        self._trainer = Trainer(
            learn.model,
            loaders(learn.data),
            learn.loss_func,
            rates,
            [Bridge(run=self)],
            learn.opt,
            default_cbs=False,
        )
        self._trainer.fit(epochs)

    def begin_on(self, trainer: Trainer) -> None:
        """Take the Learner that is about to fit."""
        self._trainer = trainer


class Bridge(Part):
    """One callback of our Learner that calls the course's; passes outside a fit are left alone.

    It takes callbacks, and classes or partials that make some, and has them in its `run`:
    `Learner(model, dls, cbs=Bridge(cb_funcs=[course.Recorder]))`.
    """

    def __init__(self, cbs: Any = None, cb_funcs: Any = None, *, run: Run | None = None) -> None:
        self.run = DirectRun(cbs, cb_funcs) if run is None else run
        self._fitting, self._skipped = False, False

    def before_fit(self, learn: Trainer) -> None:
        self._fitting, self.run.epochs = True, learn.n_epochs
        self.run.begin_on(learn)
        if isinstance(self.run, DirectRun):
            self.run.learn = learn
        self.run("begin_fit")

    def before_epoch(self, learn: Trainer) -> None:
        event = "begin_epoch" if learn.training else "begin_validate"
        if self._fitting and self.run(event):
            self._skipped = True
            raise CancelTrain if learn.training else CancelValid

    def before_batch(self, learn: Trainer) -> None:
        self._call("begin_batch")

    def after_predict(self, learn: Trainer) -> None:
        self._call("after_pred")

    def after_loss(self, learn: Trainer) -> None:
        self._call("after_loss")

    def after_backward(self, learn: Trainer) -> None:
        self._call("after_backward")

    def after_step(self, learn: Trainer) -> None:
        self._call("after_step")

    def after_cancel_batch(self, learn: Trainer) -> None:
        self._call("after_cancel_batch")

    def cleanup_batch(self, learn: Trainer) -> None:
        self._call("after_batch")  # which the course calls whatever happened

    def after_cancel_epoch(self, learn: Trainer) -> None:
        if not self._skipped:
            self._call("after_cancel_epoch")
        self._skipped = False

    def after_round(self, learn: Trainer) -> None:
        self._call("after_epoch")

    def after_cancel_fit(self, learn: Trainer) -> None:
        self._call("after_cancel_train")

    def cleanup_fit(self, learn: Trainer) -> None:
        try:
            self._call("after_fit")
        finally:
            self._fitting = False

    def state_dict(self) -> dict[str, Any]:
        # in the Learner's after_batch, where checkpoints are written, ours is still to come
        counted = self.run.in_train and "batch" in self.run.trainer.running
        return {"n_iter": self.run.n_iter + counted}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.run.n_iter = state["n_iter"]

    def _call(self, event: str) -> None:
        if self._fitting:
            self.run(event)


class DirectRun(Run):
    """A run whose model, optimizer, loss and data are those of our Learner."""

    @property
    def model(self) -> torch.nn.Module:
        return self.trainer.model

    @property
    def opt(self) -> torch.optim.Optimizer:
        return self.trainer.opt

    @property
    def loss_func(self) -> Any:
        return self.trainer.loss_func

    @property
    def data(self) -> Any:
        return self.trainer.dls


def loaders(data: Any) -> Any:
    """Data with `train_dl` and `valid_dl`, or with `train` and `valid`, as our Learner takes it."""
    if hasattr(data, "train_dl"):
        return SimpleNamespace(train=data.train_dl, valid=getattr(data, "valid_dl", None))
    if not hasattr(data, "train"):
        raise TypeError(f"data must have train_dl and valid_dl, got {type(data).__name__}")
    return data


def _check_callback(cb: object, others: list[Any]) -> None:
    """Raise TypeError for what is no callback, ValueError for one that is there already."""
    if isinstance(cb, type | partial):
        name = getattr(getattr(cb, "func", cb), "__name__", cb)
        raise TypeError(f"a callback must be an instance: {name}(), or give it in cb_funcs=")
    if not callable(cb) or not hasattr(cb, "set_runner"):
        raise TypeError(f"a callback must be a course.Callback, got {cb!r}")
    if any(cb is other for other in others):
        raise ValueError(
            f"this {type(cb).__name__} is given twice: it would get each event twice; make two"
        )


def _check_optimizer(learn: Any) -> None:
    """Raise TypeError where a learner has no optimizer of torch's kind, or one without a rate."""
    opt: object = getattr(learn, "opt", None)
    if not isinstance(opt, torch.optim.Optimizer):
        raise TypeError(
            f"fit: wants a Learner with an optimizer, got {learn!r}, whose opt is {opt!r}; it must "
            "be a torch.optim.Optimizer, as course.Optimizer is"
        )
    if not all("lr" in group for group in opt.param_groups):
        raise TypeError(f"fit: {type(opt).__name__} has no hyper-parameter lr; name its rate so")
