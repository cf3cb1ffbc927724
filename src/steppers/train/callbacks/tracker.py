"""What callbacks share that watch one score from round to round."""

from __future__ import annotations

import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from ..events import Callback
from .metrics import Metrics
from .recorder import Recorder, recorder_of

if TYPE_CHECKING:
    from ..learner import Learner

Mode = Literal["min", "max"]
LESS = ("loss", "error", "mse", "mae", "perplexity", "bits_per_byte")
MORE = ("accuracy", "acc", "precision", "recall", "f1", "auroc", "auc", "iou", "dice", "r2")


class Tracker(Callback, ABC):
    """Compares a score of the recorder's rows with the best so far, after each round.

    A round without the score, because it was cancelled, does not count; NaN is never better.

    Args:
        monitor: a column of the recorder's rows: valid_loss, train_loss or a metric.
        mode: "min" where less is better, "max" where more is; None: by the name.
        min_delta: how much better counts as better, not negative.

    Raises ValueError at construction for a name that does not tell the mode; before the fit for
    one that no row will have; after the first round where it was not known before.
    """

    order = 65  # after the recorder and the loggers
    observes = True

    def __init__(self, monitor: str, mode: Mode | None, min_delta: float = 0.0) -> None:
        self.who = type(self).__name__
        if not min_delta >= 0:
            raise ValueError(f"{self.who}: min_delta must be >= 0, got {min_delta}")
        self.monitor, self.min_delta = monitor, min_delta
        self.mode = checked_mode(self.who, monitor, mode)
        self._recorder: Recorder | None = None
        self._seen = self._resumed = False
        self.forget()

    @abstractmethod
    def compare(self, learn: Learner, value: float, better: bool) -> None:
        """Act on the score of a round."""

    def forget(self) -> None:
        """Begin anew: nothing is best yet."""
        self.best = math.inf if self.mode == "min" else -math.inf
        self.best_epoch: int | None = None

    def before_fit(self, learn: Learner) -> None:
        self._recorder = recorder_of(learn, self.who)
        self._seen = False
        known = _known_columns(learn)
        if known is not None and column(dict.fromkeys(known), self.monitor) is None:
            raise ValueError(_unknown(self.who, self.monitor, known))

    def after_round(self, learn: Learner) -> None:
        if self._recorder is not None:
            row = self._recorder.rows[-1]
            if not self.judge(learn, row) and not self._seen:
                raise ValueError(_unknown(self.who, self.monitor, list(row)))

    def judge(self, learn: Learner, row: Mapping[str, Any]) -> bool:
        """Compare the score in a row, if it is there, and act on it."""
        name = column(row, self.monitor)
        if name is None:
            return False
        self._seen, value = True, row[name]
        delta = -self.min_delta if self.mode == "min" else self.min_delta
        better = value < self.best + delta if self.mode == "min" else value > self.best + delta
        if better:
            self.best, self.best_epoch = value, learn.epoch
        self.compare(learn, value, better)
        return True

    def after_cancel_round(self, learn: Learner) -> None:
        self._seen = True  # the round may lack any score

    def cleanup_fit(self, learn: Learner) -> None:
        self._recorder, self._resumed = None, False

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._resumed = True
        self.best, self.best_epoch = state["best"], state["best_epoch"]


def checked_mode(who: str, monitor: str, mode: Mode | None) -> Mode:
    """The mode given, else what the name tells.

    >>> checked_mode("SaveBest", "valid_loss", None), checked_mode("SaveBest", "accuracy", None)
    ('min', 'max')
    """
    if mode in ("min", "max"):
        return mode
    if mode is not None:
        raise ValueError(f"{who}: mode must be 'min', 'max' or None, got {mode!r}")
    name = monitor.lower()
    if any(word in name for word in LESS):
        return "min"
    if any(word in name for word in MORE):
        return "max"
    raise ValueError(f"{who}: is less or more of {monitor!r} better? Give mode='min' or 'max'")


def column(row: Mapping[str, Any], monitor: str) -> str | None:
    """The column of a name; a metric of both passes is valid_ unless it says train_."""
    for name in (monitor, f"valid_{monitor}", monitor.removeprefix("valid_")):
        if name in row and name not in ("epoch", "loss"):
            return name
    return None


def _known_columns(learn: Learner) -> list[str] | None:
    """The columns that rows will have, or None: an object's compute() may give any."""
    metrics = [cb for cb in learn.cbs if isinstance(cb, Metrics)]
    if not metrics or any(hasattr(m, "compute") for cb in metrics for m in cb.metrics.values()):
        return None
    names = ["train_loss"]
    names += [f"train_{name}" for cb in metrics if cb.train_metrics for name in cb.metrics]
    if learn.dls.valid is not None:
        names += ["valid_loss", *(name for cb in metrics for name in cb.metrics)]
    return [*names, "time"]


def _unknown(who: str, monitor: str, known: list[str]) -> str:
    near = difflib.get_close_matches(monitor, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    if monitor.startswith("valid_") and "valid_loss" not in known:
        hint = f"there is no validation; there are {', '.join(known)}"
    return f"{who}: no row has {monitor!r}; {hint}"
