"""The originals' runs done again: what came of them, beside what the originals printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..results import Table, loss_cell
from ..spreads import Spread
from . import counterexample, pictures, speed
from .experiment import Experiment
from .ordering import Order, orders
from .sources import Source
from .training import How, Run


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
    def by_epoch(self) -> list[float]:
        """The mean held-out accuracy after each epoch."""
        columns = zip(*(run.accuracies for run in self.finished), strict=True)
        return [sum(column) / len(column) for column in columns]

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
            percent(one.end.accuracy),
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
            "printed": [asdict(printed) for printed in one.printed],
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


@dataclass(frozen=True)
class Reruns:
    """The result of `steppers experiment`, for the command line and reports."""

    names: Sequence[str]  # as they were asked for
    source: Source
    how: How
    seed: int
    seeds: int
    reruns: Sequence[Rerun] = ()
    timed: speed.Timed | None = None
    played: counterexample.Played | None = None

    @property
    def title(self) -> str:
        on = " on digits in place of their data" if self.source.stand_in and self.reruns else ""
        return f"The originals' runs done again{on}: {', '.join(self.names)}"

    @property
    def command(self) -> list[str]:
        words = ["steppers", "experiment", *self.names]
        flags: Mapping[str, Any] = {
            "data": self.source.folder,
            "stand-in": self.source.stand_in,
            "pixels": self.source.pixels,
            "epochs": self.how.epochs,
            "seed": self.seed or None,
            "seeds": self.seeds if self.seeds > 1 else None,
            "steps": self.other_steps,
            "threads": self.how.threads,
            "workers": self.how.workers or None,
            "device": None if self.how.device == "cpu" else self.how.device,
        }
        for name, value in flags.items():
            words += [] if value is None else [f"--{name}", str(value)]
        return words

    @property
    def other_steps(self) -> int | None:
        """The game's steps where they are not the usual number."""
        if self.played is None or self.played.steps == counterexample.STEPS:
            return None
        return self.played.steps

    @property
    def data(self) -> str:
        said = dict.fromkeys(rerun.runs[0].data for rerun in self.reruns)
        return "; ".join([*([self.source.said] if self.reruns and self.source.said else []), *said])

    @property
    def diverged(self) -> bool:
        failed = self.played is not None and self.played.failed
        return failed or any(rerun.errors for rerun in self.reruns)

    def orders(self) -> list[Order]:
        """The families in which several optimizers compare."""
        return orders(
            [
                (
                    rerun.experiment.family,
                    rerun.experiment.name,
                    rerun.accuracy.mean if rerun.accuracy else None,
                    rerun.experiment.end.accuracy,
                )
                for rerun in self.reruns
            ]
        )

    def tables(self) -> list[Table]:
        """Runs beside the printed figures, the step times, the game."""
        found = list[Table]()
        if self.reruns:
            found.append(Table(HEADER, [one.row() for one in self.reruns], self.table_title, 2))
        if self.timed is not None:
            header = ["Adam", f"ms for {self.timed.steps:,} steps", "ratio", "printed ratio"]
            found.append(Table(header, speed.rows(self.timed), "Step times on labml.ai's network"))
        if self.played is not None:
            header = ["optimizer", "x, mean of the last cycle", "average regret"]
            found.append(Table(header, self.played.rows(), "Reddi's counter-example"))
        return found

    @property
    def table_title(self) -> str:
        """The table's, which says where digits stand in."""
        seeds = f", mean of {self.seeds} seeds" if self.seeds > 1 else ""
        return f"Held out at the end{seeds}" + (" (digits)" if self.source.stand_in else "")

    def sentences(self) -> list[str]:
        """The orders, the notes, how the game ended, what diverged."""
        return [
            *([f"{self.source.said}."] if self.reruns and self.source.said else []),
            *(order.sentence() for order in self.orders()),
            *([self.played.sentence()] if self.played else []),
            *self.notes(),
            *(error for rerun in self.reruns for error in rerun.errors),
        ]

    def notes(self) -> list[str]:
        """What is to be known of runs, those with the same note together."""
        found: dict[str, list[str]] = {}
        for rerun in self.reruns:
            if rerun.experiment.note:
                found.setdefault(rerun.experiment.note, []).append(rerun.experiment.name)
        return [f"{', '.join(names)}: {note}" for note, names in found.items()]

    def pictures(self) -> dict[str, bytes]:
        drawn = dict[str, bytes]()
        if any(rerun.accuracy for rerun in self.reruns):
            title = self.source.said or "Ours on the originals' data, and what they printed"
            drawn["accuracies"] = pictures.accuracies(self.reruns, title)
        if self.played is not None:
            drawn["game"] = pictures.game(self.played)
        return drawn

    def as_dict(self) -> dict[str, Any]:
        """All figures, for JSON."""
        return {
            "stand_in": self.source.stand_in,
            "data": self.data,
            "seed": self.seed,
            "seeds": self.seeds,
            "threads": self.how.threads,
            "device": self.how.device,
            "experiments": [rerun.as_dict() for rerun in self.reruns],
            "orders": [
                {"family": one.family, **one.pairs(), "in_words": one.sentence()}
                for one in self.orders()
            ],
            "speed": self.timed.as_dict() if self.timed else None,
            "counterexample": self.played.as_dict() if self.played else None,
        }

    def curves(self) -> list[dict[str, Any]]:
        """Every run's losses, and the game's path once a cycle."""
        paths = self.played.paths if self.played else {}
        cycle = counterexample.CYCLE
        games = [
            {"experiment": counterexample.NAME, "optimizer": name, "every": cycle,
             "x": list(path[::cycle])}
            for name, path in paths.items()
        ]  # fmt: skip
        return [*(curve for rerun in self.reruns for curve in rerun.curves()), *games]


def percent(value: float | None) -> str:
    """An accuracy for the table, a dash where there is none."""
    return "-" if value is None else f"{value:.1%}"
