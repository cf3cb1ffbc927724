"""Runs of the originals done again, by name: from the data to the result."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ...data.dataset import Data
from ...progress import Kind, Progress, progress
from ..runs import threads
from ..settings import seeds_from
from . import counterexample, speed
from .experiment import Experiment
from .reruns import Rerun, Reruns
from .rows import EXPERIMENTS, chosen
from .sources import Source
from .training import How, Run, train_one


def run_experiments(
    names: Sequence[str],
    source: Source | None = None,
    how: How | None = None,
    *,
    seed: int = 0,
    seeds: int = 1,
    steps: int = counterexample.STEPS,
    show: Kind = "silent",
) -> Reruns:
    """Run experiments by name or by pattern (`fashion-*`, `all`), one after the other.

    Args:
        source: the originals' data, from a folder, the cache or by download; or what stands in.
        how: epochs, threads and device, where they are to be other than the original's.
        seed, seeds: so many runs of each, from `seed` on.
        steps: of the counter-example.
        show: progress on stderr.

    Raises:
        ValueError: no such name, with the nearest, or a number out of its range.
        FileNotFoundError: the originals' data is not there; nothing has been trained then.
    """
    wanted, given, kept = chosen(names), source or Source(), how or How()
    rows, numbers = [EXPERIMENTS[n] for n in wanted if n in EXPERIMENTS], seeds_from(seed, seeds)
    if steps < 1:
        raise ValueError(f"steps must be a whole number from 1 on, got {steps!r}")
    plays = counterexample.NAME in wanted
    total = total_steps(rows, given, kept, seed) * seeds + (steps if plays else 0)
    with progress(show, total=total) as shown:
        reruns = rerun_all(rows, numbers, given, kept, shown)
        timed = None
        if speed.NAME in wanted:
            timed = speed.run(device=kept.device, count=kept.threads, seed=seed)
        played = None
        if plays:
            with threads(kept.threads):
                played = counterexample.run(steps, partial(shown.step, {}))
    return Reruns(tuple(names), given, kept, seed, seeds, reruns, timed, played)


def total_steps(rows: Sequence[Experiment], source: Source, how: How, seed: int) -> int:
    """The training batches of one seed. Loads all the data, so that what is missing is said now."""
    return sum(
        (how.epochs or row.epochs) * batches(row, source, source.load(row, seed)) for row in rows
    )


def batches(row: Experiment, source: Source, data: Data) -> int:
    """The training batches of an epoch."""
    return len(data.loaders(source.batch_size(row, data)).train)


def rerun_all(
    rows: Sequence[Experiment], seeds: Sequence[int], source: Source, how: How, shown: Progress
) -> list[Rerun]:
    """Every experiment from every seed."""
    found, count = list[Rerun](), len(rows) * len(seeds)
    for number, row in enumerate(rows):
        runs = list[Run]()
        for seed in seeds:
            data = source.load(row, seed)
            run = train_one(row, data, source.batch_size(row, data), seed, how, shown)
            runs.append(run)
            end = f"{run.accuracies[-1]:.2%}" if run.error is None else "diverged"
            place = number * len(seeds) + len(runs)
            shown.epoch(f"{place}/{count} {row.name}, seed {seed}: {end}")
        found.append(Rerun(row, runs))
    return found
