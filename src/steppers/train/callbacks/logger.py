"""What loggers share: which numbers there are, and when they go out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..events import Callback
from .recorder import Recorder, recorder_of

if TYPE_CHECKING:
    from ..learner import Learner


class Logger(Callback, ABC):
    """Sends the recorder's row after each round and, if wanted, losses and hypers in between.

    A step is a training batch, counted from 1 over all fits of this object, so that a second fit
    goes on where the first ended. Reading the loss waits for the device, once every `every`
    batches.
    """

    order = 56  # after the recorder
    observes = True

    def __init__(self, every: int | None) -> None:
        if every is not None and (isinstance(every, bool) or every < 1):
            name = type(self).__name__
            raise ValueError(f"{name}: every must be a number of batches from 1 on, got {every}")
        self.every, self.steps, self.resumed = every, 0, False
        self._begun = False
        self._recorder: Recorder | None = None

    @abstractmethod
    def check(self, learn: Learner) -> None:
        """Raise where nothing can be written; called before the fit, changes nothing."""

    @abstractmethod
    def begin(self, learn: Learner) -> None:
        """Make ready, before the first round; a resumed fit has `steps` behind it."""

    @abstractmethod
    def send(self, event: str, numbers: Mapping[str, float], step: int) -> None:
        """Write numbers of a "batch" or a "round"."""

    def before_fit(self, learn: Learner) -> None:
        self._recorder, self._begun = recorder_of(learn, type(self).__name__), False
        self.check(learn)

    def before_round(self, learn: Learner) -> None:
        self._begin(learn)  # not before: now every callback has its state

    def after_fit(self, learn: Learner) -> None:
        self._begin(learn)

    def _begin(self, learn: Learner) -> None:
        if not self._begun:
            self._begun = True
            self.begin(learn)
            self.resumed = False

    def after_batch(self, learn: Learner) -> None:
        if not learn.training or self._recorder is None:
            return
        self.steps += 1
        if self.every and self.steps % self.every == 0 and self._recorder.losses:
            numbers = {"loss": self._recorder.losses[-1], **_hypers(self._recorder)}
            self.send("batch", numbers, self.steps)

    def after_round(self, learn: Learner) -> None:
        if self._recorder is not None:
            self.send("round", self._recorder.rows[-1], self.steps)

    def cleanup_fit(self, learn: Learner) -> None:
        self._recorder = None

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps, self.resumed = state["steps"], True


def settings(learn: Learner) -> dict[str, Any]:
    """What a fit was started with, as numbers and names."""
    found: dict[str, Any] = {
        "model": type(learn.model).__name__,
        "parameters": sum(p.numel() for p in learn.model.parameters()),
        "optimizer": type(learn.opt).__name__,
        "epochs": learn.n_epochs,
    }
    for name, value in learn.opt.param_groups[-1].items():
        if isinstance(value, int | float | str):
            found[name] = value
        elif isinstance(value, tuple):
            found |= {f"{name}_{i}": each for i, each in enumerate(value)}
    return found


def _hypers(recorder: Recorder) -> dict[str, float]:
    """The hypers of the last batch: one name where all groups agree, else one a group."""
    found: dict[str, float] = {}
    for name, values in recorder.hypers.last().items():
        if all(value == values[0] for value in values) and values[0] is not None:
            found[name] = values[0]
        else:
            numbered = enumerate(values)
            found |= {f"{name}/group_{i}": each for i, each in numbered if each is not None}
    return found
