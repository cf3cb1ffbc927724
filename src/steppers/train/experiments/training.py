"""Train: one optimizer on one task, from one seed or several."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..data.dataset import Data
from ..learner import Learner
from ..progress import Kind, Progress, progress
from ..tasks import Score
from . import pictures
from .costs import measure
from .results import Table, data_of, milliseconds, plain_setup, score_cell
from .runs import Row, Run, threads, train_one
from .settings import Contender, Settings, Setup, enter, flags, seeds_from
from .spreads import Spread
from .trials import Loaded, Trial, steps


@dataclass(frozen=True)
class Training:
    """One optimizer's runs, and those on the task's other held-out part if they were asked for."""

    trial: Trial
    other: Trial | None = None
    baselines: Sequence[tuple[str, float]] = ()  # what the score is held against

    @property
    def runs(self) -> list[Run]:
        """The run of each seed."""
        return list(self.trial.runs)

    @property
    def score(self) -> Spread | None:
        """The held-out score over the seeds; None if all diverged."""
        return self.trial.score

    @property
    def title(self) -> str:
        return f"{self.trial.contender.found.name} on {self.setup.task}"

    @property
    def setup(self) -> Setup:
        """How the task was trained."""
        return self.trial.contender.setup

    @property
    def measure(self) -> Score:
        """What the task is judged by."""
        return self.trial.contender.task.score

    @property
    def command(self) -> list[str]:
        seeds = [run.settings.seed for run in self.runs]
        words = ["--optimizer", self.trial.contender.spec, *flags(self.setup)]
        words += ["--seed", str(seeds[0])] if seeds[0] else []
        words += ["--seeds", str(len(seeds))] if len(seeds) > 1 else []
        words += ["--other"] if self.other and len(seeds) == 1 else []
        return ["steppers", "train", *words]

    @property
    def data(self) -> str:
        return data_of(self.trial)

    @property
    def diverged(self) -> bool:
        return bool(self.trial.errors or (self.other and self.other.errors))

    def sentences(self) -> list[str]:
        """The setting and the end, the other held-out part, the baseline, the cost."""
        trial, show = self.trial, self.measure.show
        name, cost = self.measure.name.replace("_", " "), trial.cost
        lines = [
            f"{trial.contender.spec}, {self.setup.schedule}: {score_cell(trial, self.measure)} "
            f"held out ({name}{of_seeds(trial)})"
        ]
        if self.other is not None:
            task_other = trial.contender.task.other
            what = task_other.name if task_other else ""
            lines.append(
                f"{what}: {score_cell(self.other, self.measure)} "
                f"(trained again{of_seeds(self.other)}; {data_of(self.other)})"
            )
        lines += [f"{what}: {show(value)}" for what, value in self.baselines]
        if cost is not None:
            lines.append(
                f"{milliseconds(cost.step_ms)} ms a step, {cost.state_bytes:,} bytes of state "
                f"({cost.state_bytes_per_parameter:.2f} a parameter), engine {cost.engine}"
            )
        return [*lines, *trial.errors]

    def tables(self) -> list[Table]:
        """The end of each seed's run, the other held-out part beside it."""
        name = self.measure.name.replace("_", " ")
        rows = [
            [str(run.settings.seed), self.measure.show(run.score), loss(run), f"{run.seconds:.1f}"]
            for run in self.runs
        ]
        header = ["seed", name, "held-out loss", "seconds"]
        task_other = self.trial.contender.task.other
        if self.other is not None and task_other is not None:
            header.append(task_other.name)
            for row, run in zip(rows, self.other.runs, strict=True):
                row.append(self.measure.show(run.score))
        return [Table(header, rows, "Each seed")]

    def pictures(self) -> dict[str, bytes]:
        return {"curves": pictures.curves([self.trial], self.data, with_rate=True)}

    def as_dict(self) -> dict[str, Any]:
        """As a trial's figures, with the setting and each epoch of the first seed."""
        figures = {**self.trial.as_dict(), "optimizer": self.trial.contender.found.name}
        return {
            "data": self.data,
            **plain_setup(self.trial),
            "seed": self.runs[0].settings.seed,
            **figures,
            "history": list(self.runs[0].rows),
            "runs": [
                {"seed": r.settings.seed, "score": r.score, "loss": r.loss} for r in self.runs
            ],
            "other": self.other.as_dict() if self.other else None,
            "other_data": data_of(self.other) if self.other else None,
            "baselines": dict(self.baselines),
        }

    def curves(self) -> list[dict[str, Any]]:
        return self.trial.curves()


def of_seeds(trial: Trial) -> str:
    """How many seeds a mean is of, if there are several."""
    return f", mean of {len(trial.runs)} seeds" if len(trial.runs) > 1 else ""


def loss(run: Run) -> str:
    """A run's loss for a table."""
    return "diverged" if run.loss is None else f"{run.loss:.4f}"


def train(
    optimizer: str | Contender = "AdamW",
    setup: Setup | None = None,
    *,
    hypers: Mapping[str, Any] | None = None,
    seed: int = 0,
    seeds: int = 1,
    other: bool | None = None,
    show: Kind = "silent",
    on_row: Callable[[Settings, Row], None] | None = None,
    cbs: Iterable[Any] = (),
) -> Training:
    """Train one optimizer on a task, from `seeds` seeds on from `seed`, one after the other.

    >>> from steppers.train.experiments import Setup
    >>> found = train("lion(lr=1e-3)", Setup(epochs=1, batch_size=256))
    >>> 0 < found.score.mean < 1
    True

    Args:
        optimizer: a name, or a spec with hypers, `torch.` before torch.optim's classes; or what
            `enter` made of these, which then stands for setup and hypers too.
        setup: the task and its options.
        hypers: beside those in the spec; what is open is what suits the task.
        other: train again for the task's other held-out part (digits: writers not seen in
            training); None: where there are several seeds.
        show: progress on stderr, a bar or lines.
        on_row: called with the settings and the row of each epoch of the main runs.
        cbs: further callbacks of each run.

    Raises:
        ValueError: an unknown name, with the nearest, or a value out of its range.
        ImportError: a package that the data needs is missing.
    """
    entered = isinstance(optimizer, Contender)
    contender = optimizer if entered else enter(optimizer, setup or Setup(), hypers)
    chosen, task = seeds_from(seed, seeds), contender.task
    if other and task.other is None:
        raise ValueError(f"{task.name} has no other held-out part")
    again = task.other if (seeds > 1 if other is None else other) else None
    baselines = task.baselines(contender.setup.data) if task.baselines else []
    data, held = Loaded(contender), again.load() if again else None
    parts = [data.of(seed), *([held] if held else [])]
    total = sum(len(chosen) * steps(contender, part) for part in parts)
    with progress(show, total=total) as shown:
        main = train_each(contender, chosen, data.of, shown, on_row, cbs)
        rest = train_each(contender, chosen, lambda _: held, shown) if held else None
    return Training(main, rest, baselines)


def train_each(
    contender: Contender,
    seeds: Sequence[int],
    data: Callable[[int], Data],
    shown: Progress,
    on_row: Callable[[Settings, Row], None] | None = None,
    cbs: Iterable[Any] = (),
) -> Trial:
    """A run from each seed, and what the optimizer costs."""
    runs, learners = list[Run](), list[Learner]()
    for seed in seeds:
        run, learn = train_one(
            contender.with_seed(seed), data(seed), shown=shown, on_row=on_row, cbs=cbs
        )
        runs.append(run)
        learners = learners or [learn]
    with threads(contender.threads):
        (cost,) = measure(learners)
    return Trial(contender, [replace(run, cost=cost) for run in runs])
