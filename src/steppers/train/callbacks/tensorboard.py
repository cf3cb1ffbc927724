"""Sends a fit's numbers to TensorBoard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .logger import Logger

if TYPE_CHECKING:
    from ..learner import Learner


class TensorBoardLogger(Logger):
    """Scalars "round/valid_loss" … after each round, "batch/loss", "batch/lr" … in between.

    Args:
        target: a folder for the event files, or a writer with add_scalar(tag, value, step), which
            stays open. Files of a folder are flushed after each round.
        every: batches from one to the next; None: rounds alone.

    Raises ImportError for a folder where tensorboard is not installed, ValueError before the fit
    for a folder that cannot be made, TypeError for what is neither.
    """

    def __init__(self, target: str | Path | Any, every: int | None = 10) -> None:
        super().__init__(every)
        self.folder = Path(target) if isinstance(target, str | Path) else None
        self.writer: Any = None if self.folder is not None else target
        if self.folder is not None:
            _summary_writer()
        elif not callable(getattr(target, "add_scalar", None)):
            raise TypeError(
                "TensorBoardLogger: give a folder or a writer with add_scalar(tag, value, step), "
                f"got {target!r}"
            )

    def check(self, learn: Learner) -> None:
        if self.folder is not None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ValueError(f"cannot make the folder {self.folder}: {error}") from error

    def begin(self, learn: Learner) -> None:
        if self.folder is not None and self.writer is None:
            # what was written after the checkpoint is hidden from there on
            purge = self.steps + 1 if self.resumed else None
            self.writer = _summary_writer()(str(self.folder), purge_step=purge)

    def send(self, event: str, numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            self.writer.add_scalar(f"{event}/{name}", value, step)
        if event == "round" and callable(getattr(self.writer, "flush", None)):
            self.writer.flush()

    def cleanup_fit(self, learn: Learner) -> None:
        super().cleanup_fit(learn)
        if self.folder is not None and self.writer is not None:
            self.writer.close()
            self.writer = None


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError as error:
        raise ImportError("TensorBoardLogger needs tensorboard: pip install tensorboard") from error
    return SummaryWriter
