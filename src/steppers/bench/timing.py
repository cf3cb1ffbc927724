"""Steps timed in turn: A B C, A B C, …, each with one thread and with all."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

# Seconds a step of a visit. A short step is repeated: the first one after another library's pays
# for that library's worker threads, which wait in a loop for some milliseconds, and for the cache.
Visit = Callable[[Callable[[], object], int], float]
VISIT, MOST = 10e-3, 20  # seconds of one visit, and its steps at most
SLOW, FEW = 10, 5  # what takes ten times as long as the fastest is visited five times

PROBE = "x.add_(y)"
PROBE_BYTES = 12  # it reads two floats and writes one
FAR = 1.5  # a round whose bandwidth is so much under the best seen is one on a busy machine


@dataclass(frozen=True)
class Times:
    """Seconds of one way's steps with so many threads, one value a round."""

    threads: int
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle value."""
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        """A quarter of the values lies under the first, a quarter above the second."""
        if len(self.seconds) < 2:
            return self.median, self.median
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return low, high


def on_cpu(step: Callable[[], object], count: int) -> float:
    """Median seconds of a step by the clock."""
    times: list[float] = []
    for _ in range(count):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def on_cuda(step: Callable[[], object], count: int) -> float:
    """Mean seconds of a step between two events, with nothing else on the device."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    for _ in range(count):
        step()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3 / count


def visitor(device: str) -> Visit:
    """How to time on a device."""
    return on_cuda if device.startswith("cuda") else on_cpu


def in_turn(
    steps: Mapping[str, Callable[[], object]],
    threads: Sequence[int],
    rounds: int,
    visit: Visit,
    tick: Callable[[], None],
) -> dict[str, list[Times]]:
    """Time all steps in each round, in another order each time; every step has been taken once.

    The order is drawn, so that nobody always comes after the same other one.
    """
    found: dict[tuple[str, int], list[float]] = {(name, n): [] for n in threads for name in steps}
    with settings_kept():
        plan = {(name, n): planned(steps[name], n, visit) for name, n in found}
        fastest = min((plan[key][0] for key in plan if key[0] != PROBE), default=0.0)
        for number in range(rounds):
            for name, n in order(steps, threads, number):
                seconds, repeats = plan[name, n]
                if number < FEW or seconds < SLOW * fastest or name == PROBE:
                    torch.set_num_threads(n)
                    found[name, n].append(visit(steps[name], repeats))
            tick()
    return {name: [Times(n, tuple(found[name, n])) for n in threads] for name in steps}


def planned(step: Callable[[], object], threads: int, visit: Visit) -> tuple[float, int]:
    """A step's seconds in a first visit, and how many steps later visits take."""
    torch.set_num_threads(threads)
    seconds = visit(step, 1)
    return seconds, max(1, min(MOST, int(VISIT / max(seconds, 1e-9))))


def order(steps: Mapping[str, object], threads: Sequence[int], seed: int) -> list[tuple[str, int]]:
    """All steps with the first count of threads, then with the next."""
    draw = random.Random(seed)
    return [(label, n) for n in threads for label in draw.sample(list(steps), len(steps))]


@contextmanager
def settings_kept() -> Generator[None, None, None]:
    """No garbage collection in the block, and the present number of threads after it."""
    threads, collecting = torch.get_num_threads(), gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if collecting:
            gc.enable()


def probe(numbers: int, device: str) -> Callable[[], object]:
    """`x.add_(y)` on tensors that no cache holds: the fastest way to read and write in place."""
    x, y = (torch.ones(numbers, device=device) for _ in range(2))
    return lambda: x.add_(y)


def bandwidths(times: Sequence[Times], numbers: int) -> list[float]:
    """Bytes a second of the probe in each round, with the number of threads that was better."""
    rounds = zip(*(each.seconds for each in times), strict=True)
    return [PROBE_BYTES * numbers / min(seconds) for seconds in rounds]


def slow_share(rounds: Sequence[float], best: float) -> float:
    """The share of the rounds whose bandwidth is far under the best seen in the process."""
    return sum(each * FAR < best for each in rounds) / len(rounds)
