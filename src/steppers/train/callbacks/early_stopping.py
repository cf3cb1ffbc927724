"""Ends a fit that does not get better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..events import CancelFit
from .progress import say
from .tracker import Mode, Tracker

if TYPE_CHECKING:
    from ..learner import Learner


class EarlyStopping(Tracker):
    """End the fit after `patience` rounds in which the score was not better by `min_delta`.

    The round that decides is finished, its row written and its checkpoint saved; `stopped_epoch`
    is its number. A new fit begins anew, a resumed one goes on with what it knows. Raises
    ValueError for a patience below 1 and as `Tracker` does.
    """

    def __init__(
        self,
        monitor: str = "valid_loss",
        min_delta: float = 0.0,
        patience: int = 1,
        mode: Mode | None = None,
    ) -> None:
        if patience < 1:
            raise ValueError(f"EarlyStopping: patience must be 1 or more, got {patience}")
        self.patience = patience
        super().__init__(monitor, mode, min_delta)

    def forget(self) -> None:
        super().forget()
        self.wait, self.stopped_epoch = 0, None

    def before_fit(self, learn: Learner) -> None:
        super().before_fit(learn)
        if not self._resumed:
            self.forget()

    def compare(self, learn: Learner, value: float, better: bool) -> None:
        self.wait = 0 if better else self.wait + 1
        if self.wait >= self.patience and learn.epoch + 1 < learn.n_epochs:
            self.stopped_epoch = learn.epoch
            best = f"best in epoch {self.best_epoch}, {self.best:.6f}"
            was = best if self.best_epoch is not None else "never a number"
            say(learn, f"stopped after epoch {learn.epoch}: {self.monitor} was {was}")

    def before_round(self, learn: Learner) -> None:
        if self.stopped_epoch is not None:
            raise CancelFit

    def state_dict(self) -> dict[str, Any]:
        stopped = self.stopped_epoch
        return {**super().state_dict(), "wait": self.wait, "stopped_epoch": stopped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.wait, self.stopped_epoch = state["wait"], state["stopped_epoch"]
