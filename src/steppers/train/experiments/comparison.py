"""Compare: several optimizers, at several learning rates, from several seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..progress import Kind
from . import pictures
from .optimizers import pairs
from .results import COSTS, Table, cost_cells, data_of, loss_cell, plain_setup, score_cell
from .settings import Contender, Setup, enter, flags, seeds_from
from .trials import Trial, run_trials

OPTIMIZERS = ("torch.AdamW", "AdamW", "Lion", "LAMB")


@dataclass(frozen=True)
class Comparison:
    """Optimizers side by side: a trial for each, or for each of them at each learning rate."""

    trials: Sequence[Trial]
    setup: Setup  # as it was given
    lrs: Sequence[float] = ()

    @property
    def title(self) -> str:
        return f"{len(self.by_optimizer())} optimizers on {self.setup.task}"

    @property
    def command(self) -> list[str]:
        own = {"lr"} if self.lrs else set[str]()
        firsts = [trials[0].contender for trials in self.by_optimizer().values()]
        entries = [_spec(one, own - {*one.shown}) for one in firsts]
        first = self.trials[0]
        seeds = [run.settings.seed for run in first.runs]
        words = ["--optimizers", ",".join(entries), *flags(self.setup)]
        words += ["--lrs", ",".join(map(repr, self.lrs))] if self.lrs else []
        words += ["--seed", str(seeds[0])] if seeds[0] else []
        words += ["--seeds", str(len(seeds))] if len(seeds) > 1 else []
        return ["steppers", "compare", *words]

    @property
    def data(self) -> str:
        return data_of(self.trials[0])

    @property
    def diverged(self) -> bool:
        return any(trial.errors for trial in self.trials)

    def by_optimizer(self) -> dict[str, list[Trial]]:
        """The trials of each optimizer, one a rate."""
        found: dict[str, list[Trial]] = {}
        for trial in self.trials:
            found.setdefault(trial.label, []).append(trial)
        return found

    def best(self) -> list[Trial]:
        """For each optimizer its trial of the least held-out loss."""
        return [min(trials, key=_loss_or_more) for trials in self.by_optimizer().values()]

    def tables(self) -> list[Table]:
        score = self.trials[0].contender.task.score
        rate = ["lr"] if self.lrs else []
        rows = [
            [
                trial.label,
                *([f"{trial.value:g}"] if self.lrs else []),
                score_cell(trial, score),
                loss_cell(trial.loss),
                *cost_cells(trial.cost),
            ]
            for trial in self.trials
        ]
        header = ["optimizer", *rate, score.name.replace("_", " "), "loss", *COSTS]
        return [Table(header, rows)]

    def sentences(self) -> list[str]:
        setup, count = self.trials[0].contender.setup, len(self.trials[0].runs)
        seeds = f", mean ± deviation of {count} seeds" if count > 1 else ""
        lines = [f"{setup.epochs} epochs, batch {setup.batch_size}{seeds}; lr and the rest:"]
        lines += [
            f"  {trial.label}: {pairs(trial.contender.hypers)}, {trial.contender.setup.schedule}"
            for trial in (self.best() if self.lrs else self.trials)
        ]
        if self.lrs:
            lines[0] = lines[0].replace("lr and the rest", "the best of each")
        return [*lines, *(error for trial in self.trials for error in trial.errors[:1])]

    def pictures(self) -> dict[str, bytes]:
        found = {"curves": pictures.curves(self.best(), self.data)}
        if self.lrs:
            found["rates"] = pictures.rates(self.by_optimizer(), self.data)
        return found

    def as_dict(self) -> dict[str, Any]:
        first = self.trials[0]
        return {
            "data": self.data,
            **plain_setup(first),
            "seed": first.runs[0].settings.seed,
            "seeds": len(first.runs),
            "lrs": list(self.lrs),
            "optimizers": [
                {**trial.as_dict(), "lr": trial.contender.hypers.get("lr")} for trial in self.trials
            ],
        }

    def curves(self) -> list[dict[str, Any]]:
        return [
            {**curve, "lr": trial.contender.hypers.get("lr")}
            for trial in self.trials
            for curve in trial.curves()
        ]


def _spec(contender: Contender, without: set[str]) -> str:
    hypers = {key: value for key, value in contender.hypers.items() if key not in without}
    return f"{contender.found.name}({pairs(hypers)})" if hypers else contender.found.name


def _loss_or_more(trial: Trial) -> tuple[int, float]:
    """Fewer runs that diverged are better, then less loss."""
    return len(trial.errors), trial.loss.mean if trial.loss else 0.0


def compare(
    optimizers: Sequence[str] = OPTIMIZERS,
    setup: Setup | None = None,
    *,
    lrs: Sequence[float] = (),
    hypers: Mapping[str, Any] | None = None,
    seed: int = 0,
    seeds: int = 1,
    show: Kind = "silent",
) -> Comparison:
    """Train the same network with several optimizers, from the same weights and batches.

    With `lrs` each optimizer is trained at each of them, but for one whose spec has an lr; `hypers`
    are for all of them. Runs that diverge are told of, and do not stop the others.

    Raises:
        ValueError: an unknown name, with the nearest, or a value out of its range.
        ImportError: a package that the data or the pictures need is missing.
    """
    if not optimizers:
        raise ValueError("compare: no optimizer is named")
    given = setup or Setup()
    entered = _told_apart([enter(spec, given, hypers) for spec in optimizers])
    pairs_of = [(one, lr) for one in entered for lr in _rates(one, lrs)]
    contenders = [one if lr is None else one.with_hyper("lr", lr) for one, lr in pairs_of]
    values = [lr if lr is not None else one.hypers.get("lr") for one, lr in pairs_of]
    trials = run_trials(contenders, seeds_from(seed, seeds), show=show, values=values)
    return Comparison(trials, given, tuple(lrs))


def _rates(contender: Contender, lrs: Sequence[float]) -> Sequence[float | None]:
    """The rates at which a contender is trained; None is its own."""
    return lrs if lrs and "lr" not in contender.shown else [None]


def _told_apart(contenders: Sequence[Contender]) -> list[Contender]:
    """Contenders of which no two have the same label."""
    counts: dict[str, int] = {}
    found: list[Contender] = []
    for one in contenders:
        counts[one.label] = counts.get(one.label, 0) + 1
        again = counts[one.label]
        found.append(one if again == 1 else replace(one, label=f"{one.label} ({again})"))
    return found
