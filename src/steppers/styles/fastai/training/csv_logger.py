"""fastai's CSVLogger: the logged rows in a file, each on the disk before the next."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from ....train.callbacks.csv_logger import CSVLogger as Reader
from ....train.callbacks.log_file import LogFile
from .callback import Callback
from .recorder import fitting


class CSVLogger(Callback):
    """Write the names and each logged row to learn.path/fname; `append` goes on in the file.

    The learner's logger gets the rows too. `read_log()` is the file as a pandas DataFrame where
    pandas is installed, else as a list of dicts.

    Raises ValueError before the fit for a place where no file can be written.
    """

    order = 60
    observes = True

    def __init__(self, fname: str | Path = "history.csv", append: bool = False) -> None:
        self.fname, self.append = Path(fname), append
        self._logger: Any = None
        self._file: LogFile | None = None

    def before_fit(self) -> None:
        if not fitting(self.learn):
            return
        self._file = LogFile(self._place(), self.append)
        self._file.check()
        self._file.begin()
        self._file.write(line(self.recorder.metric_names))
        self._logger, self.learn.logger = self.learn.logger, self.write

    def write(self, row: list[Any]) -> None:
        """A row to the file and to the logger that was there."""
        if self._file is not None:
            self._file.write(line(row))
        self._logger(row)

    def cleanup_fit(self) -> None:
        if self._logger is not None:
            self.learn.logger, self._logger = self._logger, None

    def read_log(self) -> Any:
        """The rows in the file. Raises FileNotFoundError where nothing was written yet."""
        path = self._place()
        try:
            import pandas  # pyright: ignore[reportMissingImports]  # optional
        except ImportError:
            return Reader(path).read_log()
        return pandas.read_csv(path)

    def _place(self) -> Path:
        return Path(getattr(self.learn, "path", ".")) / self.fname


def line(row: list[Any]) -> str:
    """A row as a line of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(["" if cell is None else cell for cell in row])
    return text.getvalue()
