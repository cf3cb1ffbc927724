"""Each epoch of a run: the four figures that pages print, ours over the seeds and theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..results import Table
from ..spreads import Spread
from .bands import cell, printed_band
from .experiment import Printed

if TYPE_CHECKING:
    from .rerun import Rerun

# Ours in the recorder's rows, and the page's.
FIGURES = {
    "valid_accuracy": "accuracy",
    "valid_loss": "loss",
    "train_accuracy": "train_accuracy",
    "train_loss": "train_loss",
}
HEADER = (
    "experiment", "epoch", "accuracy", "printed", "loss", "printed",
    "train accuracy", "printed", "train loss", "printed",
)  # fmt: skip


def table(reruns: Sequence[Rerun], title: str) -> Table:
    """A row for each epoch of each experiment."""
    return Table(HEADER, [row for rerun in reruns for row in rows(rerun)], title)


def rows(rerun: Rerun) -> list[list[str]]:
    """An experiment's rows; without figures of ours where all its runs diverged."""
    count = len(rerun.finished[0].rows) if rerun.finished else 0
    return [row(rerun, number) for number in range(count)]


def row(rerun: Rerun, number: int) -> list[str]:
    """One epoch, from 0."""
    printed = page(rerun, number)
    cells = [rerun.experiment.name, str(number + 1)]
    for ours, theirs in FIGURES.items():
        shown = "{:.1%}" if theirs.endswith("accuracy") else "{:.3f}"
        spread = Spread.of(run.rows[number][ours] for run in rerun.finished)
        value = getattr(printed, theirs)
        cells.append("-" if spread is None else spread.show(shown.format))
        cells.append("-" if value is None else shown.format(value))
    cells[3] = cell(printed_band(rerun.experiment, printed.accuracy))
    return cells


def page(rerun: Rerun, number: int) -> Printed:
    """What the page printed after an epoch; nothing where it went on for fewer, or ours for more.

    A run of another length than the original's has its epochs elsewhere in the schedule: its
    figures stand alone.
    """
    pages = rerun.experiment.printed
    alike = rerun.finished and len(rerun.finished[0].rows) == len(pages)
    return pages[number] if alike else Printed()
