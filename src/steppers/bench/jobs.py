"""What is benchmarked: an optimizer with its hypers, or a composed job, by the name people type."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from .. import registry
from ..optimizer import Optimizer
from ..train.spec import check_hypers, nearest, parse_spec
from .composed import CLIP_ADAMW_EMA, TORCH_WAYS, clip_adamw_ema
from .peers import peer_ways
from .ways import Params, Stepper, Way, torch_ways

DEFAULT = ("AdamW", "SGD(momentum=0.9)", "Lion", "LAMB", "Adafactor", CLIP_ADAMW_EMA)


@dataclass(frozen=True)
class Job:
    """One update, ours for an engine and torch's ways; other libraries' are found by its label."""

    label: str
    ours: Callable[[Params, str], Optimizer]
    torchs: tuple[Way, ...]
    matrices: bool = False  # whether it takes two-dimensional parameters alone


def read_job(text: str) -> Job:
    """A job from `NAME`, `NAME(hyper=value)` or the name of a composed one.

    Raises:
        ValueError: an unknown name or hyper, or a form that cannot be read.
    """
    if text.lower() == CLIP_ADAMW_EMA:
        return Job(CLIP_ADAMW_EMA, clip_adamw_ema, TORCH_WAYS)
    names = [*registry.list_optimizers(), CLIP_ADAMW_EMA]
    if "+" in text:  # composed jobs have it, and parse_spec would only say how to write hypers
        raise ValueError(f"no optimizer {text!r}{nearest(text, names)}")
    name, hypers = parse_spec(text)
    try:
        cls = registry.get_class(name)
    except ValueError:
        hint = nearest(name, names) or f"; there are {', '.join(names)}"
        raise ValueError(f"no optimizer {name!r}{hint}") from None
    check_hypers(cls.__name__, hypers, cls.fields())
    hypers = {**registry.preset(name), **hypers}
    shown = ", ".join(f"{key}={value!r}" for key, value in hypers.items())
    label = f"{cls.__name__}({shown})" if shown else cls.__name__
    make = partial(of_class, cls, hypers)
    return Job(label, make, torch_ways(cls.__name__, hypers), not cls.takes_vectors())


def of_class(
    cls: type[Optimizer], hypers: dict[str, Any], params: Params, engine: str
) -> Optimizer:
    """Our optimizer of a class, on an engine."""
    return cls(params, engine=engine, **hypers)


def all_ways(
    job: Job, engines: Sequence[str], against: Sequence[str]
) -> tuple[list[Way], list[str]]:
    """Every way to run a job, ours first, and a line for each library that is not there."""
    ways = [our_way(job, engine) for engine in engines]
    if "torch" in against:
        ways += job.torchs
    peers, absent = peer_ways(job.label, against)
    return [*ways, *peers], absent


def our_way(job: Job, engine: str) -> Way:
    """Ours, with the engine in its name where one is asked for."""

    def make(params: Params) -> Stepper:
        return job.ours(params, engine)

    return Way("steppers" if engine == "auto" else f"steppers {engine}", "steppers", make)
