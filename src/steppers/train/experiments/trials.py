"""Contenders over several seeds: a grid of runs, and the mean and spread of each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..data.dataset import Data
from ..learner import Learner
from ..progress import Kind, Progress, progress
from .costs import Cost, measure
from .optimizers import maker
from .runs import Run, threads, train_one
from .settings import Contender
from .spreads import Spread


@dataclass(frozen=True)
class Trial:
    """One contender, and its run from each seed."""

    contender: Contender
    runs: Sequence[Run]
    value: Any = None  # of the hyper that the experiment varies

    @property
    def label(self) -> str:
        """The contender's label."""
        return self.contender.label

    @property
    def loss(self) -> Spread | None:
        """The held-out loss of the runs that did not diverge."""
        return Spread.of(run.loss for run in self.runs)

    @property
    def score(self) -> Spread | None:
        """The held-out score of the runs that did not diverge."""
        return Spread.of(run.score for run in self.runs)

    @property
    def errors(self) -> list[str]:
        """Why runs ended before their time."""
        return [run.error for run in self.runs if run.error]

    @property
    def cost(self) -> Cost | None:
        """What the optimizer costs."""
        return self.runs[0].cost

    def as_dict(self) -> dict[str, Any]:
        """Its figures, for JSON; the score under its own name."""
        run, cost = self.runs[0], self.cost
        name = run.settings.task.score.name
        return {
            "optimizer": self.label,
            "hypers": dict(self.contender.hypers),
            "schedule": self.contender.setup.schedule,
            "seeds": [each.settings.seed for each in self.runs],
            name: self.score.mean if self.score else None,
            f"{name}_deviation": self.score.deviation if self.score else None,
            "loss": self.loss.mean if self.loss else None,
            "loss_deviation": self.loss.deviation if self.loss else None,
            "steps": len(run.losses),
            "seconds": sum(each.seconds for each in self.runs) / len(self.runs),
            "step_ms": cost.step_ms if cost else None,
            "state_bytes": cost.state_bytes if cost else None,
            "state_bytes_per_parameter": cost.state_bytes_per_parameter if cost else None,
            "parameters": cost.parameters if cost else None,
            "engine": cost.engine if cost else None,
            "error": self.errors[0] if self.errors else None,
            "diverged": len(self.errors),
        }

    def curves(self) -> list[dict[str, Any]]:
        """Every run's losses, rates and scores, for whoever wants to draw them another way."""
        return [
            {
                "optimizer": self.label,
                "seed": run.settings.seed,
                "losses": list(run.losses),
                "rates": list(run.rates),
                "steps_per_epoch": run.steps_per_epoch,
                "epochs": list(run.rows),
                "error": run.error,
            }
            for run in self.runs
        ]


def run_trials(
    contenders: Sequence[Contender],
    seeds: Sequence[int],
    *,
    show: Kind = "silent",
    values: Sequence[Any] | None = None,
) -> list[Trial]:
    """Run every contender from every seed, seed by seed, then time the optimizers' steps in turn.

    Each starts from the weights and the order of the data that its seed gives, whatever ran before.
    """
    for contender in contenders:
        try_out(contender)
    data = Loaded(contenders[0])
    total = len(seeds) * sum(steps(c, data.of(seeds[0])) for c in contenders)
    found: list[list[Run]] = [[] for _ in contenders]
    learners: dict[str, Learner] = {}  # one for each label, to be timed
    with progress(show, total=total) as shown:
        for seed in seeds:
            for number, contender in enumerate(contenders):
                settings, label = contender.with_seed(seed), contender.label
                run, learn = train_one(settings, data.of(seed), label=label, shown=shown)
                found[number].append(run)
                learners.setdefault(label, learn)
                tell(shown, run, contender, sum(map(len, found)), len(seeds) * len(contenders))
    with threads(contenders[0].threads):
        costs = dict(zip(learners, measure(list(learners.values())), strict=True))
    chosen = values or [None] * len(contenders)
    return [
        Trial(contender, [replace(run, cost=costs[contender.label]) for run in runs], value)
        for contender, runs, value in zip(contenders, found, chosen, strict=True)
    ]


def try_out(contender: Contender) -> None:
    """Make the optimizer once; ValueError, before anything is trained, for hypers it refuses."""
    maker(contender.found, contender.hypers)(contender.task.model())


class Loaded:
    """The data of a contender's task, loaded once for each seed."""

    def __init__(self, contender: Contender) -> None:
        self.contender = contender
        self.by_seed: dict[int, Data] = {}

    def of(self, seed: int) -> Data:
        """The data for a seed."""
        if seed not in self.by_seed:
            self.by_seed[seed] = self.contender.data(seed)
        return self.by_seed[seed]


def steps(contender: Contender, data: Data) -> int:
    """The training batches of one run."""
    setup = contender.setup
    return (setup.epochs or 1) * len(data.loaders(setup.batch_size or 1).train)


def tell(shown: Progress, run: Run, contender: Contender, number: int, count: int) -> None:
    """A line about a run that has ended."""
    end = "diverged" if run.error else run.settings.task.score.show(run.score)
    shown.epoch(f"{number}/{count} {contender.label}, seed {run.settings.seed}: {end}")
