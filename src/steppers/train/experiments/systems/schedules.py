"""The schedules of the originals' runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

from .... import schedules
from ...callbacks.schedule import BatchSched, EpochSched, ParamScheduler
from .experiment import Schedule, Span


def two_cosines(share: float, start: float, high: float, end: float) -> Schedule:
    """A cosine from start to high over a share of the run, then one to end, whatever lr says."""
    shape = schedules.combined_cos(share, start, high, end)
    words = f"cosines {start:g} → {high:g} → {end:g} ({share:.0%} up)"
    return Schedule(words, partial(of_position, {"lr": shape}))


def of_position(shapes: dict[str, Any], _lr: float, _span: Span) -> Sequence[Any]:
    """Functions of the position that take no peak."""
    return [ParamScheduler(shapes)]


def then(first: float, epochs: int, second: float, more: int) -> Schedule:
    """One rate for some epochs, another for some more."""
    total = epochs + more
    shape = schedules.combine(
        [epochs / total, more / total], [schedules.no(first), schedules.no(second)]
    )
    words = f"{first:g} for {epochs} epochs, {second:g} for {more}"
    return Schedule(words, partial(of_position, {"lr": shape}))


def cycle(
    pct_start: float,
    div: float,
    div_final: float,
    moms: tuple[float, float, float] | None,
    hyper: str,
) -> Schedule:
    """One cycle of the rate, and of momentum under the name that the optimizer has for it."""
    made = partial(cycled, pct_start, div, div_final, moms, hyper)
    beside = f", {hyper} {moms[0]:g} → {moms[1]:g} → {moms[2]:g}" if moms else ""
    return Schedule(f"one cycle from lr/{div:g} ({pct_start:.0%} up){beside}", made)


def cycled(
    pct_start: float,
    div: float,
    div_final: float,
    moms: tuple[float, float, float] | None,
    hyper: str,
    lr: float,
    _span: Span,
) -> Sequence[Any]:
    """The callback of `cycle`, once the peak is known."""
    shapes: dict[str, Any] = {
        "lr": schedules.one_cycle(lr, pct_start=pct_start, div=div, div_final=div_final)
    }
    if moms is not None:
        shapes[hyper] = schedules.one_cycle_momentum(*moms, pct_start=pct_start)
    return [ParamScheduler(shapes)]


def cosine_batches(_lr: float, span: Span) -> Sequence[Any]:
    """torch's cosine, a step a batch."""
    return [BatchSched(partial(CosineAnnealingLR, T_max=span.epochs * span.steps))]


def cosine_epochs(_lr: float, span: Span) -> Sequence[Any]:
    """torch's cosine, a step an epoch."""
    return [EpochSched(partial(CosineAnnealingLR, T_max=span.epochs))]


def torch_cycle(lr: float, span: Span) -> Sequence[Any]:
    """torch's one cycle, which moves betas[0] too."""
    return [BatchSched(partial(OneCycleLR, max_lr=lr, total_steps=span.epochs * span.steps))]


COSINE_BATCHES = Schedule("torch's cosine to 0, by batch", cosine_batches)
COSINE_EPOCHS = Schedule("torch's cosine to 0, by epoch", cosine_epochs)
TORCH_CYCLE = Schedule("torch's OneCycleLR", torch_cycle)
