"""Runs of the originals done again, by name: from the data to the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from ...data.dataset import Data
from ...progress import Kind, Progress, progress
from ..runs import threads
from ..settings import seeds_from
from . import counterexample, speed
from .experiment import Experiment
from .rerun import Rerun
from .reruns import Reruns
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
    on_result: Callable[[Reruns], object] | None = None,
) -> Reruns:
    """Run experiments by name or by pattern (`fashion-*`, `all`), one after the other.

    Args:
        source: the originals' data, from a folder, the cache or by download; or what stands in.
        how: epochs, threads and device, where they are to be other than the original's.
        seed, seeds: so many runs of each, from `seed` on.
        steps: of the counter-example.
        show: progress on stderr.
        on_result: gets the result so far after each experiment, to keep it whatever comes.

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
    result = Reruns(tuple(names), tuple(wanted), given, kept, seed, seeds)
    tell = on_result or ignore
    with progress(show, total=total) as shown:
        for rerun in rerun_all(rows, numbers, given, kept, shown):
            result = replace(result, reruns=(*result.reruns, rerun))
            tell(result)
        if speed.NAME in wanted:
            timed = speed.run(device=kept.device, count=kept.threads, seed=seed)
            result = replace(result, timed=timed)
            tell(result)
        if plays:
            with threads(kept.threads):
                played = counterexample.run(steps, partial(count_on, shown, steps))
            result = replace(result, played=played)
            tell(result)
    return result


def ignore(_result: Reruns) -> None:
    """Where nobody wants to be told."""


def count_on(shown: Progress, steps: int, step: int) -> None:
    """One step of the game for the bar, and a line for each tenth of a long one."""
    shown.step({})
    if steps >= counterexample.STEPS and step % (steps // 10) == 0:
        shown.epoch(f"{counterexample.NAME}: {step:,} of {steps:,} steps")


def total_steps(rows: Sequence[Experiment], source: Source, how: How, seed: int) -> int:
    """The training batches of one seed. Loads all the data, so that what is missing is said now.

    Raises:
        FileNotFoundError: data is missing; the message has each data set and who wants it.
    """
    total, missing = 0, dict[str, FileNotFoundError]()
    for row in rows:
        if row.data in missing:
            continue
        try:
            data = source.load(row, seed)
        except FileNotFoundError as error:
            missing[row.data] = error
        else:
            total += (how.epochs or row.epochs) * batches(row, source, data)
    if missing:
        said = [f"{wanting(rows, name)} ({error})" for name, error in missing.items()]
        raise FileNotFoundError(
            f"{'; '.join(said)}; give the folder that has it with --data, or train on other data "
            "with --stand-in digits"
        )
    return total


def wanting(rows: Sequence[Experiment], data: str) -> str:
    """Which runs miss their data: the first, and how many more."""
    names = [row.name for row in rows if row.data == data]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"{names[0]}{more}: {data} is not there"


def batches(row: Experiment, source: Source, data: Data) -> int:
    """The training batches of an epoch."""
    return len(data.loaders(source.batch_size(row, data)).train)


def rerun_all(
    rows: Sequence[Experiment], seeds: Sequence[int], source: Source, how: How, shown: Progress
) -> Iterator[Rerun]:
    """Every experiment from every seed."""
    count = len(rows) * len(seeds)
    for number, row in enumerate(rows):
        runs = list[Run]()
        for seed in seeds:
            data = source.load(row, seed)
            run = train_one(row, data, source.batch_size(row, data), seed, how, shown)
            runs.append(run)
            end = f"{run.accuracies[-1]:.2%}" if run.error is None else "diverged"
            place = number * len(seeds) + len(runs)
            shown.epoch(f"{place}/{count} {row.name}, seed {seed}: {end}")
        yield Rerun(row, runs)
