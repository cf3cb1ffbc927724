"""Reddi, Kale & Kumar's counter-example: one steep slope in 101, on which Adam goes wrong.

arXiv:1904.09237, section 3 and figure 1: f_t(x) = 1010 x in every 101st step and -10 x in the
others, x kept in [-1, 1]. Over 101 steps that is 10 x, so -1 is best. Adam forgets the steep step
before the next one comes and is driven to +1; AMSGrad divides by the largest second moment so far.
"""

from __future__ import annotations

import math
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....ops import clamp
from ....optimizer import Optimizer
from ....rules import adam, average_grad, average_square, descend, largest_square

NAME = "amsgrad-counterexample"
STEPS = 200_000  # labml.ai took 10,000,000
POINTS = 2_000  # of a path, at least, that reports keep
HYPERS: Mapping[str, Any] = dict(lr=1e-2, betas=(0.9, 0.99), eps=1e-16)
BEST, CYCLE = -1.0, 101
STEEP, FLAT = 1010.0, -10.0


def project(p: Any) -> dict[str, Any]:
    """Keep p in [-1, 1]."""
    return dict(p=clamp(p, -1.0, 1.0))


ADAM = (average_grad, average_square, adam, descend, project)
AMSGRAD = (average_grad, average_square, largest_square, adam, descend, project)
CHAINS: Mapping[str, Sequence[Any]] = {"Adam": ADAM, "AMSGrad": AMSGRAD}


def slope(t: int) -> float:
    """The gradient of f_t, t from 1."""
    return STEEP if t % CYCLE == 1 else FLAT


def play(
    steps: int,
    chains: Mapping[str, Sequence[Any]] = CHAINS,
    *,
    rates: Mapping[str, float] | None = None,
    told: Callable[[int], object] | None = None,
    **more: Any,
) -> tuple[dict[str, array[float]], Optimizer]:
    """The x at which each chain stood before each step, all of them in one optimizer.

    `rates` has the rates of chains that have another than the rest, and `more` hypers in place of
    `HYPERS`; `told` is called after each step with its number, from 1. The paths are of 4 bytes a
    step.
    """
    points = {name: torch.nn.Parameter(torch.zeros(())) for name in chains}
    hypers = {**HYPERS, **more}
    groups = [
        {"params": [p], "chain": name, "lr": (rates or {}).get(name, hypers["lr"])}
        for name, p in points.items()
    ]
    optimizer = Optimizer(groups, chains=chains, **hypers)
    slopes = {value: torch.tensor(value) for value in (STEEP, FLAT)}
    paths = {name: array("f") for name in chains}
    for t in range(1, steps + 1):
        for name, p in points.items():
            paths[name].append(p.item())
            p.grad = slopes[slope(t)]
        optimizer.step()
        if told is not None:
            told(t)
    return paths, optimizer


def average_regret(path: array[float]) -> Tensor:
    """After each step: how much was lost against x = -1, over the number of steps; in float64."""
    lost = torch.frombuffer(path, dtype=torch.float32).double() - BEST
    steep = slice(0, None, CYCLE)  # where `slope` is STEEP
    lost[steep] *= STEEP / FLAT
    return lost.mul_(FLAT).cumsum(0).div_(torch.arange(1, len(path) + 1))


@dataclass(frozen=True)
class Played:
    """How the game went: each chain's path, and what it took."""

    steps: int
    paths: Mapping[str, array[float]]
    engine: str
    seconds: float

    @property
    def holds(self) -> bool:
        """Whether Adam ended on the worst side and AMSGrad on the best, as the paper shows.

        Judged by the mean over the last cycle, within which x swings.
        """
        means = [self.mean(name) for name in ("Adam", "AMSGrad")]
        return means[0] > 0.9 and means[1] < -0.9

    def mean(self, name: str) -> float:
        """Where a chain was on average in the last cycle."""
        last = self.paths[name][-CYCLE:]
        return math.fsum(last) / len(last)

    def thinned(self) -> tuple[int, dict[str, list[float]]]:
        """Each path at the begin of a cycle, of every so many where they are long; and the step."""
        every = CYCLE * max(1, self.steps // CYCLE // POINTS)
        return every, {name: path[::every].tolist() for name, path in self.paths.items()}

    @property
    def failed(self) -> bool:
        """Whether as many steps as are enough ended another way."""
        return self.steps >= STEPS and not self.holds

    def rows(self) -> list[list[str]]:
        """The ends, for a table."""
        return [
            [name, f"{self.mean(name):+.4f}", f"{average_regret(path)[-1].item():.4f}"]
            for name, path in self.paths.items()
        ]

    def sentence(self) -> str:
        """How it ended, against the paper."""
        adam, amsgrad = (f"{self.mean(name):+.2f}" for name in ("Adam", "AMSGrad"))
        if self.holds:
            end = "as in the paper"
        else:
            end = "not as in the paper" if self.failed else f"which wants {STEPS:,} steps"
        steps = "1 step" if self.steps == 1 else f"{self.steps:,} steps"
        return (
            f"counter-example: after {steps} Adam is at {adam} and AMSGrad at "
            f"{amsgrad}, {end} (-1 is best); {self.seconds:.0f} s, engine {self.engine}"
        )

    def as_dict(self) -> dict[str, Any]:
        """The figures, for JSON."""
        ends = {
            name: {
                "x": path[-1],
                "mean_of_last_cycle": self.mean(name),
                "average_regret": average_regret(path)[-1].item(),
            }
            for name, path in self.paths.items()
        }
        return {
            "experiment": NAME,
            "steps": self.steps,
            "ends": ends,
            "as_the_paper": self.holds,
            "engine": self.engine,
            "seconds": self.seconds,
        }


def run(steps: int = STEPS, told: Callable[[int], object] | None = None) -> Played:
    """Play the game with Adam and AMSGrad."""
    begin = time.perf_counter()
    paths, optimizer = play(steps, told=told)
    return Played(steps, paths, str(optimizer.engine), time.perf_counter() - begin)
