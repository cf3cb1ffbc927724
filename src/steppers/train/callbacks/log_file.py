"""A text file that grows by whole lines, and goes on where a checkpoint says."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..checkpoint import check_place, whole_file


class LogFile:
    """Lines appended one by one, each on the disk before the next; nothing stays open between.

    The file is begun at the first line, so that what an earlier run left is there until then.
    """

    def __init__(self, path: str | Path, append: bool) -> None:
        self.path, self.append = Path(path), append
        self.begun = False
        self.resume_at: int | None = None  # bytes, where a checkpoint knows how many

    def check(self) -> None:
        """Raise ValueError where the file cannot be written."""
        check_place(self.path)
        if self.path.exists() and not os.access(self.path, os.W_OK):
            raise ValueError(f"cannot write to {self.path}")

    def begin(self) -> bool:
        """Make ready for the first line of a fit; whether a resumed file lacks what it had.

        A resumed file is cut to the length that it had at the checkpoint.
        """
        size, wanted = self._length(), self.size
        lost = self.resume_at is not None and size < wanted
        self.begun, self.resume_at = True, None
        with open(self.path, "ab") as file:
            file.truncate(min(size, wanted))
        if min(size, wanted):
            self._end_line()
        return lost

    def write(self, line: str) -> None:
        """Add a line; it is on the disk when this returns."""
        with open(self.path, "ab") as file:
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    def rewrite(self, lines: Iterable[str]) -> None:
        """Put other lines in the place of all; the old file or the new one is there throughout."""
        with whole_file(self.path) as file:
            file.writelines(f"{line}\n".encode() for line in lines)

    @property
    def size(self) -> int:
        """The length so far; before the first line, the length at which the file goes on."""
        if self.begun or (self.append and self.resume_at is None):
            return self._length()
        return self.resume_at or 0

    def _length(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _end_line(self) -> None:
        """End a last line that a killed process left without its end."""
        with open(self.path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            whole = file.read() == b"\n"
        if not whole:
            self.write("")
