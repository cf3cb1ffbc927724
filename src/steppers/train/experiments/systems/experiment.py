"""One run of an original as data: what was trained, how, and what its page printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ....optimizer import Optimizer
from ...data.transforms import Transform


@dataclass(frozen=True)
class Printed:
    """What an original printed after an epoch; None where it did not."""

    accuracy: float | None = None  # held out
    loss: float | None = None  # held out
    train_accuracy: float | None = None
    train_loss: float | None = None


@dataclass(frozen=True)
class Net:
    """A network, the shape (channels, height, width) that it was fed, and its number of weights."""

    words: str
    make: Callable[[], nn.Module]
    shape: tuple[int, int, int]
    weights: int
    small: int  # the side, in pixels, of the images that stand in for the original's


@dataclass(frozen=True)
class Recipe:
    """An optimizer: ours as a chain of rules, or the class of torch.optim that the original used.

    `decays_all` says that norms and biases decay like the rest.
    """

    words: str
    steps: tuple[Any, ...] = ()
    hypers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    torch_class: type[torch.optim.Optimizer] | None = None
    decays_all: bool = True

    def make(self, params: Any, lr: float) -> torch.optim.Optimizer:
        """The optimizer of some parameters or groups, at a rate."""
        if self.torch_class is not None:
            cls: Any = self.torch_class  # the base class takes other arguments than its subclasses
            return cls(params, lr=lr, **self.hypers)
        return Optimizer(params, steps=self.steps, lr=lr, **self.hypers)


@dataclass(frozen=True)
class Span:
    """How long a fit is, which schedules need to know."""

    epochs: int
    steps: int  # an epoch


@dataclass(frozen=True)
class Schedule:
    """A schedule of the rate, and what else it moves, as callbacks of the Learner."""

    words: str
    callbacks: Callable[[float, Span], Sequence[Any]]


def constant(_lr: float, _span: Span) -> Sequence[Any]:
    """No callback: the rate stays as the optimizer has it."""
    return ()


CONSTANT = Schedule("constant", constant)


@dataclass(frozen=True)
class Experiment:
    """A training run of an original.

    `normalise` has the mean and the deviation a channel, or None where the original fed inputs in
    [0, 1]. `held_out` is the share of the training images, the last ones, that is held out in place
    of the test part; `judges` is how many images the original held out. `transforms` are of the
    training images alone, `valid_transforms` of those held out. `family` groups the runs whose
    optimizers can be compared: same data, network and epochs.
    """

    name: str
    system: str
    page: str
    family: str
    data: str
    net: Net
    optimizer: Recipe
    lr: float
    batch_size: int
    epochs: int
    printed: Sequence[Printed]
    judges: int
    schedule: Schedule = CONSTANT
    normalise: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    held_out: float | None = None
    smoothing: float = 0.0
    transforms: tuple[Transform, ...] = ()
    valid_transforms: tuple[Transform, ...] = ()
    note: str = ""

    @property
    def end(self) -> Printed:
        """What the original printed last."""
        return self.printed[-1] if self.printed else Printed()


def accuracies(*values: float) -> list[Printed]:
    """What pages printed that show one accuracy an epoch."""
    return [Printed(value) for value in values]
