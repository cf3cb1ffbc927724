"""One experiment done again: its runs, and the figures that they give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..results import loss_cell
from ..spreads import Spread
from . import epochs
from .bands import cell, end_band
from .experiment import Experiment
from .ordering import End
from .training import Run


@dataclass(frozen=True)
class Rerun:
    """One experiment, and our run of it from each seed."""

    experiment: Experiment
    runs: Sequence[Run]

    @property
    def finished(self) -> list[Run]:
        """The runs that did not diverge."""
        return [run for run in self.runs if run.error is None]

    @property
    def accuracy(self) -> Spread | None:
        """Held out at the end; None where all runs diverged."""
        return Spread.of(run.accuracies[-1] for run in self.finished)

    @property
    def loss(self) -> Spread | None:
        """Held out at the end; None where all runs diverged."""
        return Spread.of(run.rows[-1]["valid_loss"] for run in self.finished)

    @property
    def end(self) -> End | None:
        """Ours and the printed accuracy, to be compared with others'; None where one is missing."""
        ours, band = self.accuracy, end_band(self.experiment)
        if ours is None or band is None:
            return None
        error = (ours.deviation or 0.0) / math.sqrt(ours.count)
        return End(self.experiment.name, ours.mean, band.accuracy, error, band.half)

    @property
    def by_epoch(self) -> list[float]:
        """The mean held-out accuracy after each epoch."""
        return [row["valid_accuracy"] for row in self.by_figure()]

    def by_figure(self) -> list[dict[str, float]]:
        """The means over the runs after each epoch: accuracy and loss, held out and in training."""
        return [
            {name: sum(row[name] for row in rows) / len(rows) for name in epochs.FIGURES}
            for rows in zip(*(run.rows for run in self.finished), strict=True)
        ]

    @property
    def errors(self) -> list[str]:
        """Why runs ended before their time."""
        return [run.error for run in self.runs if run.error]

    def row(self) -> list[str]:
        """Its line of the table."""
        one, run = self.experiment, self.runs[0]
        accuracy = self.accuracy.show("{:.1%}".format) if self.accuracy else "diverged"
        return [
            one.name,
            one.optimizer.words,
            str(len(run.rows) or "-"),
            str(run.batch_size),
            accuracy,
            loss_cell(self.loss),
            cell(end_band(one)),
            "-" if one.end.loss is None else f"{one.end.loss:.3f}",
        ]

    def as_dict(self) -> dict[str, Any]:
        """Its figures and settings, for JSON."""
        one = self.experiment
        return {
            "experiment": one.name,
            "system": one.system,
            "page": one.page,
            "family": one.family,
            "net": one.net.words,
            "weights": one.net.weights,
            "optimizer": one.optimizer.words,
            "hypers": {"lr": one.lr, **one.optimizer.hypers},
            "schedule": one.schedule.words,
            "note": one.note,
            "data": self.runs[0].data,
            "batch_size": self.runs[0].batch_size,
            "original_batch_size": one.batch_size,
            "steps_per_epoch": self.runs[0].steps_per_epoch,
            "seeds": [run.seed for run in self.runs],
            "accuracy": self.accuracy.mean if self.accuracy else None,
            "accuracy_deviation": self.accuracy.deviation if self.accuracy else None,
            "loss": self.loss.mean if self.loss else None,
            "accuracy_by_epoch": self.by_epoch,
            "epochs": self.by_figure(),
            "printed": [asdict(printed) for printed in one.printed],
            "printed_on": one.judges,
            "printed_band": asdict(band) if (band := end_band(one)) else None,
            "seconds": sum(run.seconds for run in self.runs),
            "errors": self.errors,
        }

    def curves(self) -> list[dict[str, Any]]:
        """Every run's losses, rates and rows."""
        return [
            {
                "experiment": self.experiment.name,
                "seed": run.seed,
                "losses": list(run.losses),
                "rates": list(run.rates),
                "epochs": list(run.rows),
            }
            for run in self.runs
        ]


HEADER = (
    "experiment", "optimizer", "epochs", "batch", "accuracy", "loss",
    "printed accuracy", "printed loss",
)  # fmt: skip
