"""labml.ai's speed test: one backward pass, then many steps of each Adam on the MNIST network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from .... import rng
from ..results import Table
from ..runs import threads
from . import nets, optimizers

NAME = "mnist-adam-speed"
WARM_UP, STEPS, TURNS = 100, 1000, 10
# What labml.ai printed, on a GPU: milliseconds of the warm-up and of the steps after it, for its
# Adam and for torch's of its time.
PRINTED_MS = {"ours": (119.15, 1192.89), "torch.optim.Adam": (222.59, 1356.01)}
PRINTED = PRINTED_MS["ours"][1] / PRINTED_MS["torch.optim.Adam"][1]
HEADER = (
    "Adam", "warm-up ms", "printed", "ms", "printed", "ratio", "printed ratio",
)  # fmt: skip


def ours(params: Any) -> torch.optim.Optimizer:
    """labml.ai's Adam as a chain."""
    return optimizers.LABML_ADAM.make(params, 1e-3)


def torchs(params: Any) -> torch.optim.Optimizer:
    """torch's, a tensor at a time, as it was then."""
    return torch.optim.Adam(params, lr=1e-3, foreach=False)


def torchs_foreach(params: Any) -> torch.optim.Optimizer:
    """torch's, over all tensors at once."""
    return torch.optim.Adam(params, lr=1e-3, foreach=True)


WAYS: Mapping[str, Callable[[Any], torch.optim.Optimizer]] = {
    "ours": ours,
    "torch.optim.Adam": torchs,
    "torch.optim.Adam, foreach": torchs_foreach,
}


@dataclass(frozen=True)
class Timed:
    """Milliseconds that the steps took, by way, and what ran them."""

    milliseconds: Mapping[str, float]
    warm_up: Mapping[str, float]  # milliseconds of the steps before these
    steps: int
    device: str
    threads: int

    @property
    def ratio(self) -> float:
        """Ours over torch's, a tensor at a time."""
        return self.milliseconds["ours"] / self.milliseconds["torch.optim.Adam"]

    def as_dict(self) -> dict[str, Any]:
        """The figures, for JSON."""
        return {
            "experiment": NAME,
            "steps": self.steps,
            "milliseconds": dict(self.milliseconds),
            "warm_up_steps": WARM_UP,
            "warm_up_milliseconds": dict(self.warm_up),
            "printed_milliseconds": {
                way: {"warm_up": first, "steps": then} for way, (first, then) in PRINTED_MS.items()
            },
            "ratio": self.ratio,
            "printed_ratio": PRINTED,
            "device": self.device,
            "threads": self.threads,
        }


def run(
    steps: int = STEPS, *, device: str = "cpu", count: int | None = None, seed: int = 0
) -> Timed:
    """Time the steps in turns, so that whatever else the machine does hits all ways alike."""
    spent = dict.fromkeys(WAYS, 0.0)
    with threads(count):
        made = {name: ready(make, device, seed) for name, make in WAYS.items()}
        warm_up = {name: 1e3 * timed(one, WARM_UP, device) for name, one in made.items()}
        for turn in range(TURNS):
            part = steps * (turn + 1) // TURNS - steps * turn // TURNS
            for name, optimizer in made.items():
                spent[name] += timed(optimizer, part, device)
        used = torch.get_num_threads()
    found = {name: 1e3 * value for name, value in spent.items()}
    return Timed(found, warm_up, steps, device, used)


def ready(
    make: Callable[[Any], torch.optim.Optimizer], device: str, seed: int
) -> torch.optim.Optimizer:
    """An optimizer of the MNIST network after one backward pass."""
    rng.seed_all(seed)
    model = nets.LABML.make().to(device)
    x, y = torch.rand(64, *nets.LABML.shape), torch.randint(10, (64,))
    F.cross_entropy(model(x.to(device)), y.to(device)).backward()
    return make(model.parameters())


def timed(optimizer: torch.optim.Optimizer, steps: int, device: str) -> float:
    """The seconds of so many steps."""
    wait(device)
    begin = time.perf_counter()
    for _ in range(steps):
        optimizer.step()
    wait(device)
    return time.perf_counter() - begin


def wait(device: str) -> None:
    """Until a GPU is done with what it was given."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize()


def table(timed: Timed) -> Table:
    """The ways, each beside what was printed for it."""
    title = f"{WARM_UP} warm-up and {timed.steps:,} steps on labml.ai's network"
    return Table(HEADER, rows(timed), title)


def rows(timed: Timed) -> Sequence[Sequence[str]]:
    """The rows of the table."""
    base, found = timed.milliseconds["torch.optim.Adam"], list[list[str]]()
    for way, ms in timed.milliseconds.items():
        first, then = (f"{value:.0f}" for value in PRINTED_MS[way]) if way in PRINTED_MS else "--"
        printed = f"{PRINTED:.2f}" if way == "ours" else "-"
        warm = f"{timed.warm_up[way]:.0f}"
        found.append([way, warm, first, f"{ms:.0f}", then, f"{ms / base:.2f}", printed])
    return found
