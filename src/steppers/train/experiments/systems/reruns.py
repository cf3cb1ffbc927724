"""The originals' runs done again: what came of them, beside what the originals printed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..results import Table
from . import counterexample, epochs, pictures, speed
from .bands import end_band
from .ordering import Order, orders
from .rerun import HEADER, Rerun
from .sources import Source
from .training import How

MARKS = (
    "± of a printed accuracy: where 95 % of the counts on so many images lie; of ours: the "
    "deviation over the seeds"
)


@dataclass(frozen=True)
class Reruns:
    """The result of `steppers experiment`, for the command line and reports."""

    names: Sequence[str]  # as they were asked for
    wanted: Sequence[str]  # what these stand for
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
        return orders([(rerun.experiment.family, rerun.end) for rerun in self.reruns])

    def tables(self) -> list[Table]:
        """Runs beside the printed figures, the step times, the game."""
        found = list[Table]()
        if self.reruns:
            found.append(Table(HEADER, [one.row() for one in self.reruns], self.table_title, 2))
            found.append(epochs.table(self.reruns, self.epochs_title))
        if self.timed is not None:
            found.append(speed.table(self.timed))
        if self.played is not None:
            header = ["optimizer", "x, mean of the last cycle", "average regret"]
            found.append(Table(header, self.played.rows(), "Reddi's counter-example"))
        return found

    @property
    def table_title(self) -> str:
        """The table's, which says where digits stand in."""
        return f"Held out at the end{self.over}"

    @property
    def epochs_title(self) -> str:
        """The title of the table of epochs."""
        return f"After each epoch{self.over}"

    @property
    def over(self) -> str:
        """What a table's figures are of."""
        seeds = f", mean of {self.seeds} seeds" if self.seeds > 1 else ""
        return seeds + (" (digits)" if self.source.stand_in else "")

    def sentences(self) -> list[str]:
        """The orders, the notes, how the game ended, what diverged."""
        return [
            *([f"{self.source.said}."] if self.reruns and self.source.said else []),
            *self.within(),
            *(order.sentence() for order in self.orders()),
            *([self.played.sentence()] if self.played else []),
            *([MARKS] if any(end_band(rerun.experiment) for rerun in self.reruns) else []),
            *self.notes(),
            *self.not_run(),
            *(error for rerun in self.reruns for error in rerun.errors),
        ]

    def within(self) -> list[str]:
        """How many runs ended within the band of what was printed; nothing on other data."""
        if self.source.stand_in is not None or self.how.epochs is not None:
            return []
        sides: dict[int, list[str]] = {0: [], -1: [], 1: []}
        for rerun in self.reruns:
            band, accuracy = end_band(rerun.experiment), rerun.accuracy
            if band is not None and accuracy is not None:
                sides[band.side(accuracy.mean)].append(rerun.experiment.name)
        words = {0: "within", -1: "below", 1: "above"}
        said = [f"{words[side]} {', '.join(names)}" for side, names in sides.items() if names]
        return [f"against the printed bands: {'; '.join(said)}"] if said else []

    def not_run(self) -> list[str]:
        """What was asked for and has no result, as the campaign was stopped before."""
        done = {rerun.experiment.name for rerun in self.reruns}
        done |= {speed.NAME} if self.timed else set()
        done |= {counterexample.NAME} if self.played else set()
        left = [name for name in self.wanted if name not in done]
        return [f"stopped before: {', '.join(left)}"] if left else []

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
            if any(len(rerun.by_epoch) > 1 for rerun in self.reruns):
                drawn["epochs"] = pictures.by_epoch(self.reruns, title)
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
        """Every run's losses, and the game's path once in some cycles."""
        every, paths = self.played.thinned() if self.played else (0, {})
        games = [
            {"experiment": counterexample.NAME, "optimizer": name, "every": every, "x": path}
            for name, path in paths.items()
        ]
        return [*(curve for rerun in self.reruns for curve in rerun.curves()), *games]
