"""The tasks that can be trained: data, a network, how it is judged, and what suits each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from . import byte_text, metrics, nets, tuned
from .data.dataset import Data
from .data.registry import load_data
from .spec import nearest
from .text_net import TextNet
from .tuned import Tuned


@dataclass(frozen=True)
class Score:
    """What a network is judged by on the held-out part, and how its value is written."""

    name: str  # its key in every report
    metric: Callable[..., Any]  # of (preds, target), averaged; or a class with reset, update, …
    unit: str  # "%" for shares
    digits: int

    def make(self) -> dict[str, Any]:
        """The metric by its name, as the Metrics callback takes it."""
        return {self.name: self.metric() if isinstance(self.metric, type) else self.metric}

    def show(self, value: float | None) -> str:
        """A value for a table; a dash where there is none.

        >>> Score("accuracy", metrics.accuracy, "%", 2).show(0.98611)
        '98.61%'
        """
        if value is None:
            return "-"
        return f"{value:.{self.digits}%}" if self.unit == "%" else f"{value:.{self.digits}f}"


@dataclass(frozen=True)
class Other:
    """Another held-out part of the same data, on which a further training is judged."""

    name: str
    load: Callable[[], Data]


@dataclass(frozen=True)
class Task:
    """One data set with the network that is trained on it."""

    name: str
    load: Callable[..., Data]  # of the seed and of the folder where the data is, or None
    model: Callable[[], nn.Module]
    score: Score
    tuned: Mapping[str, Tuned]  # by the optimizer's name in lower case
    epochs: int
    batch_size: int
    loss: Callable[..., Tensor] = F.cross_entropy
    threads: int | None = None  # None: as many as torch has
    other: Other | None = None
    # From the data's folder to what the score is held against.
    baselines: Callable[[str | None], list[tuple[str, float]]] | None = None

    def suits(self, optimizer: str) -> Tuned:
        """What suits an optimizer, torch's own included; nothing where nobody has tried."""
        return self.tuned.get(optimizer.lower().removeprefix("torch."), Tuned())

    def data(self, seed: int = 0, path: str | None = None) -> Data:
        """The data, split by the seed where its split is random."""
        return self.load(seed, path)


ACCURACY = Score("accuracy", metrics.accuracy, "%", 2)
BITS = Score("bits_per_byte", byte_text.BitsPerByte, "bits", 3)


def _digits(seed: int, path: str | None) -> Data:
    if path is not None:
        raise ValueError(f"digits come with scikit-learn and take no folder, got {path!r}")
    return load_data("digits", seed=seed)


def _split_as_it_comes(name: str, seed: int, path: str | None) -> Data:
    return load_data(name, path)


DIGITS = Task(
    name="digits",
    load=_digits,
    model=nets.small_conv_net,
    score=ACCURACY,
    tuned=tuned.DIGITS,
    epochs=20,
    batch_size=64,
    # The network is small. On 2 cores with other work a comparison took 14 s of processor time with
    # one thread and 135 s with two, which wait for each other.
    threads=1,
    other=Other("writers not seen in training", partial(load_data, "digits", by_writer=True)),
)
MNIST = Task(
    name="mnist",
    load=partial(_split_as_it_comes, "mnist"),
    model=nets.mnist_net,
    score=ACCURACY,
    tuned=tuned.MNIST,
    epochs=10,
    batch_size=64,
)
FASHION_MNIST = Task(
    name="fashion-mnist",
    load=partial(_split_as_it_comes, "fashion-mnist"),
    model=nets.miniai_net,
    score=ACCURACY,
    tuned=tuned.FASHION_MNIST,
    epochs=3,
    batch_size=1024,
)
IMAGENETTE = Task(
    name="imagenette",
    load=partial(_split_as_it_comes, "imagenette"),
    model=nets.course_net,
    score=ACCURACY,
    tuned=tuned.IMAGENETTE,
    epochs=3,
    batch_size=128,
)
TEXT = Task(
    name="text",
    load=byte_text.load,
    model=TextNet,
    score=BITS,
    tuned=tuned.TEXT,
    epochs=byte_text.PARTS,  # one reading of the text
    batch_size=2,
    loss=byte_text.loss,
    baselines=byte_text.zlib_baselines,
)
TASKS = {task.name: task for task in (DIGITS, MNIST, FASHION_MNIST, IMAGENETTE, TEXT)}


def find_task(name: str) -> Task:
    """A task by name; ValueError with the nearest for an unknown one."""
    if name not in TASKS:
        hint = nearest(name, TASKS) or f"; there is {', '.join(TASKS)}"
        raise ValueError(f"no task {name!r}{hint}")
    return TASKS[name]
