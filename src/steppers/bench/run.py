"""A whole benchmark: every job on every work, judged by the bandwidth seen beside it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ..optimizer import Optimizer
from ..train.progress import Progress
from . import bounds, timing
from .first import First, in_fresh_process
from .jobs import Job, all_ways
from .machine import free_bytes
from .peers import quiet
from .timing import PROBE, Times
from .ways import Params, Stepper, Way
from .work import Work

STATE = 4  # parameters, gradients and two slots: what a way holds, in units of the parameters
MARGIN = 3  # what a step may hold beside, in the same units


@dataclass(frozen=True)
class Settings:
    """What to measure, and how."""

    jobs: Sequence[Job]
    works: Sequence[Work]
    engines: Sequence[str] = ("auto",)
    against: Sequence[str] = ("torch",)
    rounds: int = 15
    threads: Sequence[int] = (1,)
    fresh: bool = True
    probe_numbers: int = 1 << 25


@dataclass
class Lane:
    """One way of one job on one work, with what was measured."""

    way: Way
    times: list[Times] = field(default_factory=list[Times])
    engine: str | None = None
    moved: int | None = None
    first: First | None = None

    @property
    def best(self) -> Times:
        """The times with the number of threads that was better."""
        return min(self.times, key=lambda each: each.median)


@dataclass
class Result:
    """One job on one work."""

    job: Job
    work: Work
    lanes: list[Lane]
    bandwidths: list[float]  # bytes a second of the probe, round by round
    notes: list[str]

    def of(self, family: str) -> list[Lane]:
        """The lanes of one family, the fastest first."""
        found = [lane for lane in self.lanes if lane.way.family == family]
        return sorted(found, key=lambda lane: lane.best.median)


def bench(settings: Settings, shown: Progress) -> list[Result]:
    """Measure everything; a result that comes out noisy is measured a second time."""
    results: list[Result] = []
    probe = timing.probe(settings.probe_numbers, settings.works[0].device)
    for work in settings.works:
        for job in settings.jobs:
            result = measure(settings, job, work, probe, shown)
            if noisy(result, best_bandwidth([*results, result])):
                shown.epoch(f"{name_of(result)}: the machine was busy; once more")
                result = measure(settings, job, work, probe, shown)
            results.append(result)
            shown.epoch(f"{name_of(result)}: {summary(result)}")
    return results


def best_bandwidth(results: Iterable[Result]) -> float:
    """The best bandwidth that any round saw."""
    return max(each for result in results for each in result.bandwidths)


def noisy(result: Result, best: float) -> bool:
    """Whether more than half of the rounds ran on a busy machine."""
    return timing.slow_share(result.bandwidths, best) > 0.5


def name_of(result: Result) -> str:
    """The result's work, dtype and job."""
    return f"{result.work.name} {result.work.dtype} {result.job.label}"


def summary(result: Result) -> str:
    """The fastest of each family, in one line."""
    fastest = [each[0] for family in ("steppers", "torch", "peer") if (each := result.of(family))]
    return ", ".join(f"{lane.way.label} {1e3 * lane.best.median:.3g} ms" for lane in fastest)


def measure(
    settings: Settings, job: Job, work: Work, probe: Callable[[], object], shown: Progress
) -> Result:
    """One job on one work: all its ways in turn, then each in a fresh process."""
    work = work.matrices() if job.matrices else work
    ways, notes = all_ways(job, settings.engines, settings.against)
    ways = fitting(ways, work, notes)

    def tick() -> None:
        shown.step({"job": job.label, "work": work.name})

    lanes, rounds = timed(settings, ways, work, probe, tick, notes)
    if settings.fresh:
        gc.collect()  # the other processes need the memory
        for lane in lanes:
            lane.first = freshly(job, lane, work, notes)
    return Result(job, work, lanes, timing.bandwidths(rounds, settings.probe_numbers), notes)


def timed(
    settings: Settings,
    ways: Sequence[Way],
    work: Work,
    probe: Callable[[], object],
    tick: Callable[[], None],
    notes: list[str],
) -> tuple[list[Lane], list[Times]]:
    """All ways in turn, and the probe's times among them; a way that fails is a note."""
    made = {way: step for way in ways if (step := warmed(way, work, notes))}
    steps = {way.label: Guarded(stepper.step) for way, stepper in made.items()}
    with quiet():
        times = timing.in_turn(
            {**steps, PROBE: probe}, settings.threads, settings.rounds, visit_of(work), tick
        )
    notes += [f"{name}: {one_line(each.error)}" for name, each in steps.items() if each.error]
    lanes = [
        lane_of(way, stepper, times[way.label])
        for way, stepper in made.items()
        if not steps[way.label].error
    ]
    return lanes, times[PROBE]


@dataclass
class Guarded:
    """A step that may fail: its error is kept, and it does nothing from then on."""

    step: Callable[[], object]
    error: Exception | None = None

    def __call__(self) -> None:
        if self.error is None:
            try:
                self.step()
            except Exception as error:  # another library may raise anything, and the rest goes on
                self.error = error


def visit_of(work: Work) -> timing.Visit:
    """How to time on the work's device."""
    return timing.visitor(work.device)


def fitting(ways: list[Way], work: Work, notes: list[str]) -> list[Way]:
    """The first ways that free memory can hold at once, with a note for each of the others."""
    free = free_bytes(work.device)
    room = len(ways) if free is None else int((free / work.bytes - MARGIN) // STATE)
    gigabytes = (len(ways) * STATE + MARGIN) * work.bytes / 1e9
    for way in ways[max(room, 1) :]:
        notes.append(f"{way.label}: left out, all ways together need {gigabytes:.0f} GB of memory")
    return ways[: max(room, 1)]


def warmed(way: Way, work: Work, notes: list[str]) -> Stepper | None:
    """A way made for fresh parameters, after two steps; None, and a note, where that fails."""
    try:
        params = work.parameters()
        with quiet():
            stepper = way.make(params)
            check(stepper, params)
            stepper.step()  # with the state that the first one made
        return stepper
    except Exception as error:  # another library may raise anything, and the rest goes on
        notes.append(f"{way.label}: {one_line(error)}")
        return None


def check(stepper: Stepper, params: Params) -> None:
    """Take the first step: weights must move and gradients stay, or later steps are no work."""
    before = [p.detach().clone() for p in params]
    stepper.step()
    if any(p.grad is None for p in params):
        raise RuntimeError("its step takes the gradients away, so that the next has no work")
    if all(bool((p == old).all()) for p, old in zip(params, before, strict=True)):
        raise RuntimeError("its first step moved nothing")


def one_line(error: Exception) -> str:
    """An error as one short line."""
    text = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {text[:200]}"


def lane_of(way: Way, stepper: Stepper, times: list[Times]) -> Lane:
    """What was measured; of ours also the engine and the bytes of a step."""
    if not isinstance(stepper, Optimizer):
        return Lane(way, times)
    return Lane(way, times, stepper.engine.name, bounds.bytes_per_step(stepper))


def freshly(job: Job, lane: Lane, work: Work, notes: list[str]) -> First | None:
    """The way in a process of its own, or a note."""
    try:
        return in_fresh_process(job.label, lane.way.label, work, lane.best.threads)
    except (RuntimeError, ValueError, OSError) as error:
        notes.append(f"{lane.way.label}: {one_line(error)}")
        return None
