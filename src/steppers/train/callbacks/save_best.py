"""Keeps the weights of the best round in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..checkpoint import check_place
from .tracker import Mode, Tracker, column

if TYPE_CHECKING:
    from ..learner import Learner


class SaveBest(Tracker):
    """Write the model to a file, for `learn.load`, after each round that is the best so far.

    The best is that of all fits of this object, so that a second fit does not overwrite it with
    something worse. A score of the validation pass is judged as that pass ends, while the model
    holds the weights that it is of (those of an EMA, where there is one). The file is whole or not
    there.

    Args:
        path: the file; its folder is made.
        monitor, mode, min_delta: what is best (see `Tracker`).
        with_opt: keep the optimizer's state too.
        restore: load the best round when the fit ends, also when it ends early.

    Raises ValueError before the fit where no file can be written.
    """

    def __init__(
        self,
        path: str | Path = "best.pt",
        monitor: str = "valid_loss",
        *,
        mode: Mode | None = None,
        min_delta: float = 0.0,
        with_opt: bool = False,
        restore: bool = False,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.path, self.with_opt, self.restore = Path(path), with_opt, restore
        self._judged = False

    def before_fit(self, learn: Learner) -> None:
        super().before_fit(learn)
        check_place(self.path)

    def before_round(self, learn: Learner) -> None:
        self._judged = False

    def after_epoch(self, learn: Learner) -> None:
        if learn.training or self._recorder is None:
            return
        scores = self._recorder.scores
        name = column(scores, self.monitor)
        if name is not None and not name.startswith("train_"):
            self._judged = self.judge(learn, scores)

    def after_round(self, learn: Learner) -> None:
        if not self._judged:
            super().after_round(learn)

    def compare(self, learn: Learner, value: float, better: bool) -> None:
        if better:
            learn.save(self.path, with_opt=self.with_opt)

    def after_fit(self, learn: Learner) -> None:
        if self.restore and self.best_epoch is not None:
            learn.load(self.path, with_opt=self.with_opt)
