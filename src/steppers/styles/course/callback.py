"""The course's callbacks: methods named as events, and every name of the run as their own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ...train.events import CancelBatch, CancelFit, CancelTrain, CancelValid

if TYPE_CHECKING:
    from .run import Run


class CancelTrainException(CancelFit):
    """Ends the whole fit, as the course means it; fastai's and the Learner's ends one pass."""


class CancelEpochException(CancelTrain, CancelValid):
    """Ends the pass that runs, over the training or the validation data."""


class CancelBatchException(CancelBatch):
    """Ends the batch."""


def camel2snake(name: str) -> str:
    """A class's name as an attribute's.

    >>> camel2snake("AvgStats")
    'avg_stats'
    """
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", words).lower()


class Callback:
    """Methods named as events; what it does not have itself it reads from its run.

    So `self.model` is the run's, and `self.run.xb = …` writes it. `_order` sorts callbacks, the
    least first. A truthy value returned from begin_epoch or begin_validate skips that pass.
    """

    _order: float = 0
    run: Any

    def set_runner(self, run: Run) -> None:
        """Take the run whose names are seen."""
        self.run = run

    def __getattr__(self, name: str) -> Any:
        if name == "run" or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__} has no {name}: it is in no run yet")
        return getattr(self.run, name)

    @property
    def name(self) -> str:
        """The class's name in snake case, without "Callback": the attribute of the run."""
        return camel2snake(re.sub(r"Callback$", "", type(self).__name__) or "callback")

    def __call__(self, cb_name: str) -> bool:
        """Call the method of an event, if there is one."""
        method = getattr(type(self), cb_name, None) or vars(self).get(cb_name)
        if method is None:
            return False
        return bool(getattr(self, cb_name)())


class TrainEvalCallback(Callback):
    """Counts: `n_iter` training batches, `n_epochs` with its fraction, `in_train`."""

    def begin_fit(self) -> None:
        self.run.n_epochs, self.run.n_iter = 0.0, 0

    def begin_epoch(self) -> None:
        self.run.n_epochs, self.run.in_train = float(self.run.epoch), True

    def begin_batch(self) -> None:
        if self.run.in_train:  # a fit that goes on from a checkpoint begins in mid-epoch
            self.run.n_epochs = self.run.epoch + self.run.iter / self.run.iters

    def after_batch(self) -> None:
        if self.run.in_train:
            self.run.n_iter += 1
            self.run.n_epochs = self.run.epoch + (self.run.iter + 1) / self.run.iters

    def begin_validate(self) -> None:
        self.run.in_train = False
