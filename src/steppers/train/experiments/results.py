"""What every experiment gives: figures, tables, pictures, and the command that repeats it."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

import torch

from ..tasks import Score
from .costs import Cost
from .spreads import Spread
from .trials import Trial


@dataclass(frozen=True)
class Table:
    """Rows under a header; the first `left` columns are to the left."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    left: int = 1


class Result(Protocol):
    """An experiment's result, as reports and the command line read it."""

    @property
    def title(self) -> str:
        """One line that says what was done."""
        ...

    @property
    def command(self) -> list[str]:
        """The words of the command line that repeats it."""
        ...

    @property
    def data(self) -> str:
        """The sentence that names the data."""
        ...

    @property
    def diverged(self) -> bool:
        """Whether a run ended before its time."""
        ...

    def tables(self) -> list[Table]:
        """The figures for people."""
        ...

    def sentences(self) -> list[str]:
        """What to say below the tables."""
        ...

    def pictures(self) -> dict[str, bytes]:
        """PNG files by name, without the ending."""
        ...

    def as_dict(self) -> dict[str, Any]:
        """The figures, for JSON."""
        ...

    def curves(self) -> list[dict[str, Any]]:
        """What the pictures were drawn from, for JSON."""
        ...


def versions() -> dict[str, str]:
    """What it ran with."""
    return {
        "steppers": version("steppers"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def milliseconds(value: float | None) -> str:
    """A time for a table: three digits, or a dash where none was measured."""
    return "-" if value is None else f"{value:#.3g}"


def loss_cell(spread: Spread | None) -> str:
    """A loss for a table."""
    return "-" if spread is None else spread.show("{:.4f}".format)


def score_cell(trial: Trial, score: Score) -> str:
    """A score for a table, or that all diverged, or how many."""
    if trial.score is None:
        return "diverged"
    some = f" ({len(trial.errors)} diverged)" if trial.errors else ""
    return trial.score.show(score.show) + some


def cost_cells(cost: Cost | None) -> list[str]:
    """A cost for a table, under `COSTS`."""
    if cost is None:
        return ["-"] * len(COSTS)
    return [
        milliseconds(cost.step_ms),
        f"{cost.state_bytes:,}",
        f"{cost.state_bytes_per_parameter:.2f}",
        cost.engine,
    ]


COSTS = ("ms/step", "state bytes", "a param", "engine")


def data_of(trial: Trial) -> str:
    """The sentence that names the data, of the first seed, and how the others differ."""
    seeds = [run.settings.seed for run in trial.runs]
    first, more = trial.runs[0].data, len({run.data for run in trial.runs}) > 1
    rest = f"seeds {seeds[1]} to {seeds[-1]}" if len(seeds) > 2 else f"seed {seeds[-1]}"
    return f"{first}; likewise for {rest}" if more else first


def plain_setup(trial: Trial) -> Mapping[str, Any]:
    """What decided the runs beside the optimizer."""
    left_out = ("hypers", "optimizer", "seed", "schedule")
    settings = trial.runs[0].settings.as_dict()
    kept = {key: value for key, value in settings.items() if key not in left_out}
    return {("folder" if key == "data" else key): value for key, value in kept.items()}
