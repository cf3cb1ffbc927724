"""Lowers the learning rate where a score does not get better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ... import hypers
from .progress import say
from .tracker import Mode, Tracker

if TYPE_CHECKING:
    from ..learner import Learner


class ReduceLROnPlateau(Tracker):
    """Multiply every group's lr by `factor` after `patience` rounds that were not better.

    No rate is brought below `min_lr`, and one that is below stays. A schedule of lr in the same
    fit sets its own rate at each batch and wins. A new fit begins anew, a resumed one goes on.
    Raises ValueError for a factor out of (0, 1), a patience below 1 and a negative min_lr.
    """

    def __init__(
        self,
        monitor: str = "valid_loss",
        factor: float = 0.1,
        patience: int = 1,
        min_lr: float = 0.0,
        *,
        min_delta: float = 0.0,
        mode: Mode | None = None,
    ) -> None:
        if not 0 < factor < 1:
            raise ValueError(f"ReduceLROnPlateau: factor must be in (0, 1), got {factor}")
        if patience < 1:
            raise ValueError(f"ReduceLROnPlateau: patience must be 1 or more, got {patience}")
        if not min_lr >= 0:
            raise ValueError(f"ReduceLROnPlateau: min_lr must be >= 0, got {min_lr}")
        self.factor, self.patience, self.min_lr = factor, patience, min_lr
        super().__init__(monitor, mode, min_delta)

    def forget(self) -> None:
        super().forget()
        self.wait = 0

    def before_fit(self, learn: Learner) -> None:
        super().before_fit(learn)
        if not self._resumed:
            self.forget()

    def compare(self, learn: Learner, value: float, better: bool) -> None:
        self.wait = 0 if better else self.wait + 1
        if self.wait < self.patience:
            return
        self.wait = 0
        before = [float(lr) for lr in hypers.get(learn.opt, "lr")]
        after = [max(lr * self.factor, min(lr, self.min_lr)) for lr in before]
        if any(new < old * (1 - 1e-9) for old, new in zip(before, after, strict=True)):
            hypers.put(learn.opt, "lr", after)
            rates = ", ".join(f"{lr:.3g}" for lr in dict.fromkeys(after))
            say(learn, f"epoch {learn.epoch}: {self.monitor} no better, lr to {rates}")

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "wait": self.wait}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.wait = state["wait"]
