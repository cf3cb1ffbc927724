"""Writes a fit's rows to a CSV file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..events import Callback
from .log_file import LogFile
from .recorder import Recorder, recorder_of

if TYPE_CHECKING:
    from ..learner import Learner


class CSVLogger(Callback):
    """A line with the recorder's row after each round, on the disk before the next one begins.

    Numbers are written in full. Where a later row has columns that the first had not (a metric of
    a validation that was left out at first), the file is written anew with all of them. A resumed
    fit cuts off what was written after its checkpoint.

    Args:
        path: the file; its folder is made.
        append: go on in a file that is there, instead of replacing it when the first round ends.

    Raises ValueError before the fit for a place where no file can be written, and where there is
    no Recorder.
    """

    order = 56  # after the recorder
    observes = True

    def __init__(self, path: str | Path = "history.csv", append: bool = False) -> None:
        self.file, self.columns = LogFile(path, append), list[str]()
        self._recorder: Recorder | None = None

    def before_fit(self, learn: Learner) -> None:
        self._recorder = recorder_of(learn, "CSVLogger")
        self.file.check()
        self.file.begun = False

    def after_round(self, learn: Learner) -> None:
        if self._recorder is not None:
            if not self.file.begun:
                self._begin(self._recorder.rows[:-1])
            self._add(self._recorder.rows[-1])

    def after_fit(self, learn: Learner) -> None:
        if not self.file.begun and self._recorder is not None:
            self._begin(self._recorder.rows)  # a fit without a round leaves an empty file

    def cleanup_fit(self, learn: Learner) -> None:
        self._recorder = None

    def read_log(self) -> list[dict[str, Any]]:
        """The rows in the file: numbers as numbers, what is missing as None.

        Raises FileNotFoundError where nothing was written yet.
        """
        with open(self.file.path, newline="", encoding="utf-8") as file:
            return [{k: _read(v) for k, v in row.items() if k} for row in csv.DictReader(file)]

    def state_dict(self) -> dict[str, Any]:
        return {"size": self.file.size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.file.resume_at, self.file.begun = state["size"], False

    def _begin(self, before: list[dict[str, Any]]) -> None:
        """Make ready; a resumed fit whose file is gone gets its rows from the recorder."""
        lost = self.file.begin()
        if lost:
            self.file.rewrite([])
        with open(self.file.path, newline="", encoding="utf-8") as file:
            self.columns = next(csv.reader(file), [])
        for row in before if lost else ():
            self._add(row)

    def _add(self, row: dict[str, Any]) -> None:
        new = [name for name in row if name not in self.columns]
        if not new:
            self.file.write(_line(row.get(name, "") for name in self.columns))
            return
        rows = [*(self.read_log() if self.columns else ()), row]
        # as the row has them, those that only earlier ones have at the end
        self.columns = [*row, *(name for name in self.columns if name not in row)]
        lines = [[each.get(name, "") for name in self.columns] for each in rows]
        self.file.rewrite([_line(self.columns), *(_line(line) for line in lines)])


def _line(cells: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(["" if c is None else c for c in cells])
    return text.getvalue()


def _read(text: str | None) -> Any:
    """A cell as it was written."""
    if not text:
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
