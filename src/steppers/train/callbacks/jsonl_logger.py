"""Writes a fit to a file of JSON lines."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .log_file import LogFile
from .logger import Logger

if TYPE_CHECKING:
    from ..learner import Learner


class JSONLLogger(Logger):
    """A line of JSON for each round, and one every `every` batches, each on the disk at once.

    Lines are {"event": "round", "step": 120, "epoch": 0, "train_loss": …} and {"event": "batch",
    "step": 10, "loss": …, "lr": …}; a number that is not finite is null, for JSON has none. A
    resumed fit cuts off what was written after its checkpoint.

    Raises ValueError before the fit for a place where no file can be written.
    """

    def __init__(
        self, path: str | Path = "history.jsonl", every: int | None = None, append: bool = False
    ) -> None:
        super().__init__(every)
        self.file = LogFile(path, append)

    def check(self, learn: Learner) -> None:
        self.file.check()
        self.file.begun = False

    def begin(self, learn: Learner) -> None:
        self.file.begin()

    def send(self, event: str, numbers: Mapping[str, float], step: int) -> None:
        finite = {name: _finite(value) for name, value in numbers.items()}
        self.file.write(json.dumps({"event": event, "step": step, **finite}, allow_nan=False))

    def read_log(self) -> list[dict[str, Any]]:
        """The lines in the file, as dicts; a last one that was cut short is left out."""
        lines = self.file.path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1] if line]

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "size": self.file.size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.file.resume_at, self.file.begun = state["size"], False


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
