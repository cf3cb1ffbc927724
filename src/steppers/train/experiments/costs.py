"""What an optimizer costs: the time of its step, the bytes of its state, its engine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..learner import Learner

STEPS = 40


@dataclass(frozen=True)
class Cost:
    """The cost of one optimizer on one network."""

    step_ms: float  # the median time of optimizer.step()
    state_bytes: int
    parameters: int
    engine: str

    @property
    def state_bytes_per_parameter(self) -> float:
        """The bytes of state for each number in the network."""
        return self.state_bytes / self.parameters


def measure(learners: Sequence[Learner]) -> list[Cost]:
    """The costs of trained learners' optimizers; their networks are no good afterwards.

    They take turns step by step, and who begins changes with every step, so that whatever else
    the machine does hits all of them alike.
    """
    for learn in learners:
        backward(learn)
    times: list[list[float]] = [[] for _ in learners]
    for turn in range(STEPS):
        for place in range(len(learners)):
            number = (turn + place) % len(learners)
            times[number].append(timed_step(learners[number].opt))
    return [
        Cost(1000 * statistics.median(t), state_bytes(learn.opt), size(learn), engine(learn.opt))
        for t, learn in zip(times, learners, strict=True)
    ]


def backward(learn: Learner) -> None:
    """Gradients of one batch, which all timed steps use."""
    learn.set_modes(True)
    batch = next(iter(learn.dls.train))
    device = next(learn.model.parameters()).device
    *inputs, target = (part.to(device) for part in batch)
    learn.opt.zero_grad()
    learn.loss_func(learn.model(*inputs), target).backward()


def timed_step(optimizer: torch.optim.Optimizer) -> float:
    """The seconds of one step."""
    synchronize(optimizer)
    begin = time.perf_counter()
    optimizer.step()
    synchronize(optimizer)
    return time.perf_counter() - begin


def synchronize(optimizer: torch.optim.Optimizer) -> None:
    """Wait until a GPU has done what was asked of it."""
    if optimizer.param_groups[0]["params"][0].is_cuda:
        torch.cuda.synchronize()


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """The bytes of all tensors in an optimizer's state, step counts included."""
    return sum(
        value.numel() * value.element_size()
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, Tensor)
    )


def size(learn: Learner) -> int:
    """The numbers in a learner's network."""
    return sum(p.numel() for p in learn.model.parameters())


def engine(optimizer: torch.optim.Optimizer) -> str:
    """The engine that takes our optimizers' steps; "torch" for torch's own."""
    found = getattr(optimizer, "engine", "torch")
    return getattr(found, "name", found)
