"""fastai's callbacks among ours: each is called at fastai's events, which our loop's become."""

from __future__ import annotations

from typing import Any

import torch

from ....train.callbacks.device import to_device
from ....train.callbacks.metrics import Metrics
from ....train.callbacks.operations import Operations
from ....train.events import Callback as Ours
from .callback import Callback, of_model, refuse_own
from .counting import TrainEvalCallback
from .metrics import Score
from .progress import silent
from .recorder import Recorder
from .seen import Seen, in_list

CPU = torch.device("cpu")


class Bridged(Ours):
    """A callback of ours, at the same place in the order, that calls one of fastai's.

    Our epoch is one pass, theirs a round: before_epoch is their before_train or before_validate.
    """

    def __init__(self, cb: Callback) -> None:
        self.cb, self.order, self.observes = cb, cb.order, cb.observes

    def before_fit(self, learn: Any) -> None:
        self.cb("before_fit")

    def before_round(self, learn: Any) -> None:
        self.cb("before_epoch")

    def before_epoch(self, learn: Any) -> None:
        self.cb("before_train" if learn.training else "before_validate")

    def before_batch(self, learn: Any) -> None:
        self.cb("before_batch")

    def after_predict(self, learn: Any) -> None:
        self.cb("after_pred")

    def after_loss(self, learn: Any) -> None:
        self.cb("after_loss")

    def before_backward(self, learn: Any) -> None:
        self.cb("before_backward")

    def after_cancel_backward(self, learn: Any) -> None:
        self.cb("after_cancel_backward")

    def after_backward(self, learn: Any) -> None:
        self.cb("after_backward")

    def before_step(self, learn: Any) -> None:
        self.cb("before_step")

    def after_cancel_step(self, learn: Any) -> None:
        self.cb("after_cancel_step")

    def after_step(self, learn: Any) -> None:
        self.cb("after_step")

    def after_cancel_batch(self, learn: Any) -> None:
        self.cb("after_cancel_batch")

    def after_batch(self, learn: Any) -> None:
        self.cb("after_batch")

    def after_cancel_epoch(self, learn: Any) -> None:
        self.cb("after_cancel_train" if learn.training else "after_cancel_validate")

    def after_epoch(self, learn: Any) -> None:
        self.cb("after_train" if learn.training else "after_validate")

    def after_cancel_round(self, learn: Any) -> None:
        self.cb("after_cancel_epoch")

    def after_round(self, learn: Any) -> None:
        self.cb("after_epoch")

    def after_cancel_fit(self, learn: Any) -> None:
        self.cb("after_cancel_fit")

    def after_fit(self, learn: Any) -> None:
        self.cb("after_fit")

    def cleanup_fit(self, learn: Any) -> None:
        self.cb.run = True
        clean = self.cb.handler("cleanup_fit")
        if clean is not None:
            clean()

    def state_dict(self) -> dict[str, Any]:
        return self.cb.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.cb.load_state_dict(state)


class Separate(Operations):
    """The operations of a batch as fastai has them, with what a batch needs before they are done.

    A batch goes where the model is. All of `xb` are the model's inputs, all of `yb` the loss
    function's targets. The loss that is reported is a clone of the one that is differentiated, so
    that a change in place of one leaves the other. Without a target there is no loss.
    """

    order = -1000

    def before_batch(self, learn: Any) -> None:
        learn.split = None
        at = next((p.device for p in learn.model.parameters()), CPU)
        if at != CPU:
            learn.batch = to_device(learn.batch, at)

    def predict(self, learn: Any) -> None:
        learn.pred = learn.model(*learn.xb)

    def get_loss(self, learn: Any) -> None:
        targets = learn.yb
        if targets:
            learn.loss = learn.loss_func(learn.pred, *targets)
        elif learn.training:
            raise ValueError(
                f"a training batch of {len(learn.batch)} has no target left: dls.n_inp is "
                f"{getattr(learn.dls, 'n_inp', None)}"
            )

    def after_loss(self, learn: Any) -> None:
        if learn.yb:
            learn.loss = learn.loss.clone()


class View(Seen):
    """A Learner of ours as callbacks of fastai's see it; what they set on it is set there."""

    def __init__(self, cbs: list[Callback]) -> None:
        vars(self).update(cbs=cbs, logger=silent)
        for cb in cbs:
            cb.learn = self

    def watch(self, trainer: Any) -> None:
        """See a Learner; its callbacks are attributes unless it has such a name itself."""
        vars(self)["_trainer"] = trainer
        for cb in self.cbs:
            if isinstance(cb, Recorder) or not has_static(trainer, cb.name):
                vars(self)[cb.name] = cb

    def __getattr__(self, name: str) -> Any:
        refuse_own(self, name)
        if name.startswith("_"):
            raise AttributeError(f"a learner's view has no {name!r}")
        if has_static(self.trainer, name):
            return getattr(self.trainer, name)
        return of_model("Learner", self.trainer.model, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in vars(self) or hasattr(type(self), name):
            super().__setattr__(name, value)
        else:
            setattr(self.trainer, name, value)

    def knows(self, name: str) -> bool:
        """Whether there is a name, without computing it."""
        own = name in vars(self) or hasattr(type(self), name)
        return own or has_static(self.trainer, name) or hasattr(self.trainer.model, name)

    @property
    def trainer(self) -> Any:
        """Our Learner. Raises AttributeError before the first fit."""
        if "_trainer" not in vars(self):
            raise AttributeError("callbacks that are bridged see nothing before the first fit")
        return vars(self)["_trainer"]

    @property
    def own_recorder(self) -> Any:
        """Our Learner's recorder."""
        return self.trainer.recorder

    @property
    def metrics(self) -> list[Score]:
        """The metrics that our Learner computes."""
        found = [cb for cb in self.trainer.cbs if isinstance(cb, Metrics)]
        return [Score(self, name) for cb in found for name in cb.metrics]


class Opening(Ours):
    """Gives the view its Learner, before any of fastai's callbacks is called."""

    order = -1000

    def __init__(self, view: View) -> None:
        self.view, self._created = view, False

    def before_fit(self, learn: Any) -> None:
        self._take(learn)

    def before_epoch(self, learn: Any) -> None:
        self._take(learn)  # a validation by itself has no before_fit

    def before_batch(self, learn: Any) -> None:
        self.view.split = None

    def after_loss(self, learn: Any) -> None:
        learn.loss = learn.loss.clone()

    def _take(self, learn: Any) -> None:
        self.view.watch(learn)
        if not self._created:
            self._created = True
            for cb in sorted(self.view.cbs, key=lambda cb: cb.order):
                cb("after_create")


def bridged(*cbs: Any) -> list[Ours]:
    """Callbacks of fastai's for a Learner of ours.

    `Learner(model, dls, cbs=bridged(MyCallback()))`: each keeps its place in the order among the
    others. Unless they are given, a TrainEvalCallback and a Recorder are there too, for what others
    read; nothing is logged. Their `learn` is a view of the Learner with fastai's names. Cancels are
    our Learner's.
    """
    given: list[Any] = [cb for each in cbs for cb in in_list(each)]
    for cb in given:
        if not isinstance(cb, Callback):
            raise TypeError(f"bridged: wants callbacks of fastai's style, got {cb!r}")
    needed = [cls() for cls in (TrainEvalCallback, Recorder)
              if not any(isinstance(cb, cls) for cb in given)]  # fmt: skip
    view = View([*needed, *given])
    return [Opening(view), *(Bridged(cb) for cb in view.cbs)]


def has_static(thing: Any, name: str) -> bool:
    """Whether an object, or its class, has a name; no property is asked."""
    return name in vars(thing) or hasattr(type(thing), name)
