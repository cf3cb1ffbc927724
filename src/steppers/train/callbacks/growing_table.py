"""A table that is printed while it grows: one line a row, the columns aligned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class GrowingTable:
    """Lines for rows of numbers; the names above the first row, and where columns are new."""

    def __init__(self) -> None:
        self.columns: list[str] = []

    def lines(self, row: Mapping[str, Any]) -> list[str]:
        """What to print for a further row.

        >>> for line in GrowingTable().lines({"epoch": 0, "train_loss": 0.25, "time": 61.2}):
        ...     print(line)
        epoch  train_loss     time
            0    0.250000     1:01
        """
        new = [name for name in row if name not in self.columns]
        if new:
            self.columns = [*row]
        cells = [shown(name, row.get(name)).rjust(_width(name)) for name in self.columns]
        head = ["  ".join(name.rjust(_width(name)) for name in self.columns)] if new else []
        return [*head, "  ".join(cells)]


def _width(name: str) -> int:
    return max(len(name), {"epoch": 5, "time": 7}.get(name, 10))


def shown(name: str, value: Any) -> str:
    """A value in its cell: six decimals as a rule, a time in minutes and seconds.

    >>> shown("loss", 0.5), shown("loss", 1e-7), shown("time", 3725), shown("loss", None)
    ('0.500000', '1.000e-07', '1:02:05', '')
    """
    if value is None:
        return ""
    if name == "time":
        return clock(value)
    if isinstance(value, int):
        return str(value)
    return f"{value:.3e}" if 0 < abs(value) < 1e-4 or abs(value) >= 1e6 else f"{value:.6f}"


def clock(seconds: float) -> str:
    """Seconds as m:ss, or h:mm:ss from an hour on."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
