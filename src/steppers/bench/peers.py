"""Other libraries that have an optimizer of ours: rows of data, used where they are installed.

A row is for one job as `bench` shows it ("SGD(momentum=0.9)"). Its keywords set what the library's
own defaults have otherwise than ours where it changes the work of a step: decay, factoring,
clipping, sums with compensation. Rates and betas change none.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any, cast

from .ways import Params, Stepper, Way


@dataclass(frozen=True)
class Library:
    """A library: where its optimizers are, the name it is installed by, what all of them take."""

    package: str
    module: str
    distribution: str
    options: dict[str, Any]
    compiles: bool = False  # in its first step, for minutes where there are many tensors


@dataclass(frozen=True)
class Peer:
    """One optimizer of a library, with what it takes beside the library's options."""

    job: str
    library: Library
    name: str
    options: dict[str, Any]
    group: dict[str, Any]

    def label(self) -> str:
        """What the table calls it."""
        return self.library.package + (" foreach" if self.options.get("foreach") else "")


def peer(
    job: str,
    library: Library,
    name: str,
    options: dict[str, Any] | None = None,
    group: dict[str, Any] | None = None,
) -> Peer:
    """One row."""
    return Peer(job, library, name, options or {}, group or {})


# optimi and fastai have no default rate; optimi compensates sums in low precision unless told.
OPTIMI = Library("optimi", "optimi", "torch-optimi", {"lr": 1e-3, "kahan_sum": False})
KOZISTR = Library("pytorch_optimizer", "pytorch_optimizer", "pytorch_optimizer", {})
TIMM = Library("timm", "timm.optim", "timm", {})
FASTAI = Library("fastai", "fastai.optimizer", "fastai", {"lr": 1e-3})
# HeavyBall takes the gradients away after a step unless told.
HEAVYBALL = Library("heavyball", "heavyball", "heavyball", {"consume_grad": False}, True)

LISTS = {"foreach": True}
SPEED = "SGD(momentum=0.9)"
PEERS = (
    peer("AdamW", OPTIMI, "AdamW"),
    peer("AdamW", OPTIMI, "AdamW", LISTS),
    peer("AdamW", KOZISTR, "AdamW", {"weight_decay": 1e-2}),
    peer("AdamW", KOZISTR, "AdamW", {"weight_decay": 1e-2, **LISTS}),
    peer("AdamW", TIMM, "AdamWLegacy", {"weight_decay": 1e-2}),
    peer("AdamW", FASTAI, "Adam", {"wd": 1e-2}),
    peer("AdamW", HEAVYBALL, "AdamW", {"weight_decay": 1e-2}),
    peer("Adam", OPTIMI, "Adam"),
    peer("Adam", OPTIMI, "Adam", LISTS),
    peer("Adam", KOZISTR, "Adam"),
    peer("Adam", KOZISTR, "Adam", LISTS),
    peer("Adam", FASTAI, "Adam", {"wd": 0.0, "decouple_wd": False}),
    peer("SGD", OPTIMI, "SGD"),
    peer("SGD", OPTIMI, "SGD", LISTS),
    peer("SGD", FASTAI, "SGD"),
    peer(SPEED, OPTIMI, "SGD", {"momentum": 0.9}),
    peer(SPEED, OPTIMI, "SGD", {"momentum": 0.9, **LISTS}),
    peer(SPEED, KOZISTR, "SGD", {"momentum": 0.9}),
    peer(SPEED, KOZISTR, "SGD", {"momentum": 0.9, **LISTS}),
    peer(SPEED, FASTAI, "SGD", {"mom": 0.9}),
    peer("Lion", OPTIMI, "Lion"),
    peer("Lion", OPTIMI, "Lion", LISTS),
    peer("Lion", KOZISTR, "Lion"),
    peer("Lion", KOZISTR, "Lion", LISTS),
    peer("Lion", TIMM, "Lion"),
    peer("LAMB", KOZISTR, "Lamb"),
    peer("LAMB", KOZISTR, "Lamb", LISTS),
    peer("LAMB", TIMM, "Lamb", {"weight_decay": 0.0, "max_grad_norm": None}),
    peer("LAMB", FASTAI, "Lamb"),
    peer("RAdam", OPTIMI, "RAdam"),
    peer("RAdam", OPTIMI, "RAdam", LISTS),
    peer("RAdam", KOZISTR, "RAdam"),
    peer("RAdam", KOZISTR, "RAdam", LISTS),
    peer("RAdam", FASTAI, "RAdam", {"wd": 0.0, "decouple_wd": False}),
    peer("NAdam", KOZISTR, "NAdam"),
    peer("NAdam", KOZISTR, "NAdam", LISTS),
    peer("NAdam", HEAVYBALL, "NAdam"),
    peer("Adafactor", KOZISTR, "AdaFactor", {"betas": (None, 0.999)}),
    peer("Adafactor", KOZISTR, "AdaFactor", {"betas": (None, 0.999), **LISTS}),
    peer("Adafactor", TIMM, "Adafactor"),
    peer("ScheduleFreeAdamW", KOZISTR, "ScheduleFreeAdamW"),
    peer("ScheduleFreeAdamW", KOZISTR, "ScheduleFreeAdamW", LISTS),
    peer("ScheduleFreeAdamW", HEAVYBALL, "SFAdamW"),
    peer("Prodigy", KOZISTR, "Prodigy"),
    peer("Prodigy", KOZISTR, "Prodigy", LISTS),
    peer("Muon", KOZISTR, "Muon", {"weight_decay": 0.1}, {"use_muon": True}),
    peer("Muon", KOZISTR, "Muon", {"weight_decay": 0.1, **LISTS}, {"use_muon": True}),
)
LIBRARIES = tuple(dict.fromkeys(row.library.package for row in PEERS))
UNASKED = tuple(dict.fromkeys(r.library.package for r in PEERS if not r.library.compiles))


def peer_ways(
    job: str, packages: Sequence[str], rows: Sequence[Peer] = PEERS
) -> tuple[list[Way], list[str]]:
    """The ways that these libraries have for a job, and a line for each that is not installed."""
    ways: list[Way] = []
    absent: dict[str, str] = {}
    for row in rows:
        package = row.library.package
        if row.job != job or package not in packages:
            continue
        if importlib.util.find_spec(package) is None:
            absent[package] = f"{package}: not installed"
        else:
            ways.append(Way(row.label(), "peer", maker(row), version(row.library)))
    return ways, list(absent.values())


def version(library: Library) -> str:
    """The version that is installed, or nothing where it does not say."""
    try:
        return metadata.version(library.distribution)
    except metadata.PackageNotFoundError:
        return ""


def maker(row: Peer) -> Callable[[Params], Stepper]:
    """A function that imports the library and makes the optimizer."""

    def make(params: Params) -> Stepper:
        with quiet():
            cls = getattr(importlib.import_module(row.library.module), row.name)
            given: Any = [{"params": params, **row.group}] if row.group else params
            optimizer = cls(given, **row.library.options, **row.options)
            if callable(getattr(optimizer, "train", None)):  # schedule-free ones start with it
                optimizer.train()
        return cast(Stepper, optimizer)

    return make


@contextlib.contextmanager
def quiet() -> Generator[None, None, None]:
    """Others' warnings are not ours to show, and what they print does not go to stdout."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
        warnings.simplefilter("ignore")
        yield
