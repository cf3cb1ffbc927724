"""labml.ai's speed test: one backward pass, then many steps of each Adam on the MNIST network."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

from .... import rng
from ..runs import threads
from . import nets, optimizers

NAME = "mnist-adam-speed"
WARM_UP, STEPS, TURNS = 100, 1000, 10
PRINTED = 1192.89 / 1356.01  # labml.ai's Adam over torch's of its time, on a GPU


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
        for optimizer in made.values():
            timed(optimizer, WARM_UP, device)
        for turn in range(TURNS):
            part = steps * (turn + 1) // TURNS - steps * turn // TURNS
            for name, optimizer in made.items():
                spent[name] += timed(optimizer, part, device)
        used = torch.get_num_threads()
    return Timed({name: 1e3 * value for name, value in spent.items()}, steps, device, used)


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


def rows(timed: Timed) -> Sequence[Sequence[str]]:
    """The ways for a table, each beside torch's."""
    base = timed.milliseconds["torch.optim.Adam"]
    return [
        [way, f"{ms:.0f}", f"{ms / base:.2f}", f"{PRINTED:.2f}" if way == "ours" else "-"]
        for way, ms in timed.milliseconds.items()
    ]
