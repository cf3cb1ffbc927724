"""What is run: a task with its options, and an optimizer with its hypers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

import torch

from ..data.dataset import Data
from ..tasks import TASKS, Task, find_task
from .optimizers import Found, find, label_of, read_spec, with_hyper
from .plans import SCHEDULES

Precision = Literal["bf16", "fp16"]
PRECISIONS = {"bf16": "bfloat16", "fp16": "float16"}
TASK = "digits"


@dataclass(frozen=True)
class Setup:
    """How a task is trained, whatever the optimizer. What is None is the task's own.

    Args:
        task: one of the names in `TASKS`.
        data: the folder where the data is, for the tasks that read files.
        epochs, batch_size: numbers from 1 on.
        schedule: of the learning rate; None: what suits the optimizer.
        clip: the global norm to which gradients are clipped.
        accumulate: batches whose gradients make one step.
        precision: "bf16" or "fp16" for mixed precision.
        ema: the decay of an average of the weights, which is then what is judged.
        label_smoothing: the share of the target that goes to the other classes, in training.
        mixup: alpha of mixup (Zhang et al. 2017, arXiv:1710.09412); 0: none.
        workers: processes that load data.
        threads: of torch, while it runs; None: the task's own, or as many as torch has.
        device: where the network is trained, like "cpu" or "cuda".

    Raises:
        ValueError: a name that there is not, with the nearest, or a number out of its range.
        RuntimeError: a device that is not there.
    """

    task: str = TASK
    data: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    schedule: str | None = None
    clip: float | None = None
    accumulate: int = 1
    precision: Precision | None = None
    ema: float | None = None
    label_smoothing: float = 0.0
    mixup: float = 0.0
    workers: int = 0
    threads: int | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        find_task(self.task)
        _check_choice("schedule", self.schedule, SCHEDULES)
        _check_choice("precision", self.precision, PRECISIONS)
        for name in ("epochs", "batch_size", "accumulate", "threads"):
            _check_whole(name, getattr(self, name), 1)
        _check_whole("workers", self.workers, 0)
        _check_number("clip", self.clip, "above 0", lambda v: v > 0)
        _check_number("ema", self.ema, "within 0 and 1", lambda v: 0 < v < 1)
        _check_number("label_smoothing", self.label_smoothing, "in [0, 1)", lambda v: 0 <= v < 1)
        _check_number("mixup", self.mixup, "0 or more", lambda v: v >= 0)
        _check_device(self.device)


def _check_device(name: str) -> None:
    try:
        kind = torch.device(name).type
    except RuntimeError:
        raise ValueError(f"device {name!r} is not known to torch; take cpu or cuda") from None
    if kind == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"device {name}: this torch sees no CUDA device; leave it out")


def _check_choice(name: str, value: str | None, known: Mapping[str, object]) -> None:
    if value is not None and value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")


def _check_whole(name: str, value: Any, least: int) -> None:
    wrong = not isinstance(value, int) or isinstance(value, bool) or value < least
    if value is not None and wrong:
        raise ValueError(f"{name} must be a whole number from {least} on, got {value!r}")


def _check_number(name: str, value: Any, wanted: str, good: Any) -> None:
    wrong = isinstance(value, bool) or not isinstance(value, int | float)
    if value is not None and (wrong or not math.isfinite(value) or not good(value)):
        raise ValueError(f"{name} must be a number {wanted}, got {value!r}")


@dataclass(frozen=True)
class Settings:
    """All that decides one run's numbers; a checkpoint keeps it.

    `setup` has its task's own values in place of None, and `hypers` what was given and what suits.
    """

    optimizer: str
    hypers: Mapping[str, Any]
    seed: int
    setup: Setup

    @property
    def task(self) -> Task:
        """The task by its name."""
        return TASKS[self.setup.task]

    @property
    def found(self) -> Found:
        """The optimizer's class."""
        return find(self.optimizer)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, in one level."""
        hypers = dict(self.hypers)
        named = {"optimizer": self.optimizer, "hypers": hypers, "seed": self.seed}
        return {**asdict(self.setup), **named}


def from_dict(plain: Mapping[str, Any]) -> Settings:
    """The settings that `as_dict` gave.

    Raises:
        ValueError: a key is missing, there is one too many, or a value is of another kind.
    """
    wanted = {"optimizer": str, "hypers": dict, "seed": int}
    known = {*wanted, *(one.name for one in fields(Setup))}
    if odd := sorted(known ^ {*plain}):
        raise ValueError(f"its settings are of another version: {odd[0]!r} is missing or new")
    for key, kind in wanted.items():
        if not isinstance(plain[key], kind):
            raise ValueError(f"its settings are damaged: {key} is {plain[key]!r}")
    setup = Setup(**{key: value for key, value in plain.items() if key not in wanted})
    find(plain["optimizer"])
    return Settings(plain["optimizer"], plain["hypers"], plain["seed"], setup)


@dataclass(frozen=True)
class Contender:
    """An optimizer as it enters an experiment: its label, its class, its hypers, its setup."""

    label: str
    found: Found
    hypers: Mapping[str, Any]
    setup: Setup
    shown: Mapping[str, Any] = field(default_factory=dict[str, Any])  # hypers given by name

    def with_seed(self, seed: int) -> Settings:
        """One run of it."""
        return Settings(self.found.name, self.hypers, seed, self.setup)

    def with_hyper(self, name: str, value: object) -> Contender:
        """The same with one more hyper, its own label kept.

        Raises ValueError, with the nearest name, for a hyper that the class does not have.
        """
        return replace(self, hypers=with_hyper(self.found, self.hypers, name, value))

    @property
    def task(self) -> Task:
        """The task by its name."""
        return TASKS[self.setup.task]

    @property
    def threads(self) -> int | None:
        """The threads that runs have; None: as many as torch has."""
        return self.setup.threads or self.task.threads

    def data(self, seed: int) -> Data:
        """The data, as a seed splits it."""
        return self.task.data(seed, self.setup.data)

    @property
    def spec(self) -> str:
        """The text that `enter` reads as this, what suits the task included."""
        return label_of(self.found.name, self.hypers)


def enter(spec: str, setup: Setup, hypers: Mapping[str, Any] | None = None) -> Contender:
    """A contender from a spec like `lion(lr=1e-3)`, with what suits the task in open hypers.

    Hypers in the spec go before those in `hypers`, and these before the task's.

    Raises:
        ValueError: an unknown optimizer or hyper, with the nearest.
    """
    found, own = read_spec(spec)
    task = find_task(setup.task)
    tuned = task.suits(found.name)
    suited = {key: value for key, value in tuned.hypers.items() if key in found.defaults}
    complete = replace(
        setup,
        epochs=setup.epochs or task.epochs,
        batch_size=setup.batch_size or task.batch_size,
        schedule=setup.schedule or tuned.schedule,
    )
    together = {**suited, **(hypers or {}), **own}
    return Contender(label_of(found.name, own), found, together, complete, own)


def seeds_from(seed: int, count: int) -> tuple[int, ...]:
    """So many seeds, one after the other; ValueError for a number out of range."""
    _check_whole("seeds", count, 1)
    _check_whole("seed", seed, 0)
    if seed + count > 2**32:
        raise ValueError(f"seeds must be below 2^32, got {seed} to {seed + count - 1}")
    return tuple(range(seed, seed + count))


def flags(setup: Setup, leave_out: Sequence[str] = ()) -> list[str]:
    """The command line's words for a setup, without what is as it is anyway."""
    plain, words = Setup(), list[str]()
    for one in fields(Setup):
        value = getattr(setup, one.name)
        given = value != getattr(plain, one.name) or one.name == "task"
        if given and one.name not in leave_out:
            words += [f"--{one.name.replace('_', '-')}", str(value)]
    return words
