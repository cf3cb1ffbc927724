"""Sweep: one optimizer over several values of one hyper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..progress import Kind
from . import pictures
from .results import COSTS, Table, cost_cells, data_of, loss_cell, plain_setup, score_cell
from .settings import Contender, Setup, enter, flags, seeds_from
from .trials import Trial, run_trials


@dataclass(frozen=True)
class Sweep:
    """One optimizer's trials, one for each value of a hyper."""

    contender: Contender  # with its own value of the hyper
    hyper: str
    trials: Sequence[Trial]
    setup: Setup  # as it was given

    @property
    def title(self) -> str:
        return f"{self.contender.found.name} on {self.setup.task}, by {self.hyper}"

    @property
    def command(self) -> list[str]:
        seeds = [run.settings.seed for run in self.trials[0].runs]
        values = ",".join(str(trial.value) for trial in self.trials)
        words = ["--optimizer", self.contender.spec, "--hyper", self.hyper, "--values", values]
        words += flags(self.setup)
        words += ["--seed", str(seeds[0])] if seeds[0] else []
        words += ["--seeds", str(len(seeds))] if len(seeds) > 1 else []
        return ["steppers", "sweep", *words]

    @property
    def data(self) -> str:
        return data_of(self.trials[0])

    @property
    def diverged(self) -> bool:
        return any(trial.errors for trial in self.trials)

    @property
    def best(self) -> Trial:
        """The trial of the least held-out loss, of those with the fewest runs that diverged."""
        return min(self.trials, key=lambda t: (len(t.errors), t.loss.mean if t.loss else 0.0))

    def tables(self) -> list[Table]:
        score = self.contender.task.score
        rows = [
            [str(t.value), score_cell(t, score), loss_cell(t.loss), *cost_cells(t.cost)]
            for t in self.trials
        ]
        header = [self.hyper, score.name.replace("_", " "), "loss", *COSTS]
        return [Table(header, rows)]

    def sentences(self) -> list[str]:
        setup, count = self.contender.setup, len(self.trials[0].runs)
        seeds = f", mean ± deviation of {count} seeds" if count > 1 else ""
        lines = [
            f"{self.contender.spec}, {setup.schedule}, {setup.epochs} epochs, "
            f"batch {setup.batch_size}{seeds}",
        ]
        if self.best.loss is not None:
            lines.append(f"least held-out loss: {self.hyper}={self.best.value}")
        return [*lines, *(error for trial in self.trials for error in trial.errors[:1])]

    def pictures(self) -> dict[str, bytes]:
        return {
            "sweep": pictures.hyper(self.hyper, self.trials, f"{self.title}\n{self.data}"),
            "curves": pictures.curves(self.trials, self.data),
        }

    def as_dict(self) -> dict[str, Any]:
        first = self.trials[0]
        rows = [{"value": trial.value, **trial.as_dict()} for trial in self.trials]
        return {
            "data": self.data,
            **plain_setup(first),
            "optimizer": self.contender.found.name,
            "hypers": dict(self.contender.hypers),
            "schedule": self.contender.setup.schedule,
            "seed": first.runs[0].settings.seed,
            "seeds": len(first.runs),
            "hyper": self.hyper,
            "best": self.best.value,
            "values": rows,
        }

    def curves(self) -> list[dict[str, Any]]:
        return [{"value": t.value, **curve} for t in self.trials for curve in t.curves()]


def sweep(
    optimizer: str,
    hyper: str,
    values: Sequence[Any],
    setup: Setup | None = None,
    *,
    hypers: Mapping[str, Any] | None = None,
    seed: int = 0,
    seeds: int = 1,
    show: Kind = "silent",
) -> Sweep:
    """Train one optimizer with each value of one hyper, from the same weights and batches.

    `hyper` may be an element of a tuple, like beta2 of betas, or a short name, like wd.

    Raises:
        ValueError: an unknown name, with the nearest, a value out of its range, or no values.
        ImportError: a package that the data or the pictures need is missing.
    """
    if not values:
        raise ValueError(f"sweep: no values for {hyper} are given")
    if len({str(value) for value in values}) < len(values):
        raise ValueError(f"sweep: each value of {hyper} once, got {', '.join(map(str, values))}")
    given = setup or Setup()
    contender = enter(optimizer, given, hypers)
    contenders = [
        replace(contender.with_hyper(hyper, value), label=f"{hyper}={value}") for value in values
    ]
    trials = run_trials(contenders, seeds_from(seed, seeds), show=show, values=values)
    return Sweep(contender, hyper, trials, given)
