"""Fits with a schedule: one cycle, flat then cosine, warm restarts, fine-tuning."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .. import hypers, schedules
from . import loaders
from .callbacks.schedule import ParamScheduler
from .events import listed

if TYPE_CHECKING:
    from .learner import Learner


def one_cycle(
    learn: Learner,
    n_epochs: int,
    lr_max: Any = None,
    *,
    div: float = 25.0,
    div_final: float = 1e5,
    pct_start: float = 0.25,
    moms: tuple[float, float, float] | None = None,
    cbs: Any = (),
    **fit: Any,
) -> None:
    """The body of `Learner.fit_one_cycle`."""
    _check_divisors("fit_one_cycle", div=div, div_final=div_final)
    if moms is not None and len(moms) != 3:
        raise ValueError(
            f"fit_one_cycle: moms must be momentum before, at and after the peak, got {moms}"
        )
    peak = _rates(learn, lr_max)
    low, last = [lr / div for lr in peak], [lr / div_final for lr in peak]
    plan: dict[str, Any] = {"lr": schedules.combined_cos(pct_start, low, peak, last)}
    if moms is not None or _has_momentum(learn):
        plan["mom"] = schedules.combined_cos(pct_start, *(moms or learn.moms))
    learn.fit(n_epochs, lr=lr_max, cbs=[*listed(cbs), ParamScheduler(plan)], **fit)


def flat_cos(
    learn: Learner,
    n_epochs: int,
    lr: Any = None,
    *,
    div_final: float = 1e5,
    pct_start: float = 0.75,
    cbs: Any = (),
    **fit: Any,
) -> None:
    """The body of `Learner.fit_flat_cos`."""
    _check_divisors("fit_flat_cos", div_final=div_final)
    plan = {"lr": schedules.flat_cos(_rates(learn, lr), div_final=div_final, pct_start=pct_start)}
    learn.fit(n_epochs, lr=lr, cbs=[*listed(cbs), ParamScheduler(plan)], **fit)


def sgdr(
    learn: Learner,
    n_cycles: int,
    cycle_len: int,
    lr_max: Any = None,
    *,
    cycle_mult: int = 2,
    cbs: Any = (),
    **fit: Any,
) -> None:
    """The body of `Learner.fit_sgdr`."""
    _check_whole(n_cycles=n_cycles, cycle_len=cycle_len, cycle_mult=cycle_mult)
    epochs = sum(cycle_len * cycle_mult**i for i in range(n_cycles))
    plan = {"lr": schedules.sgdr(_rates(learn, lr_max), n_cycles, cycle_mult)}
    learn.fit(epochs, lr=lr_max, cbs=[*listed(cbs), ParamScheduler(plan)], **fit)


def fine_tune(
    learn: Learner,
    epochs: int,
    base_lr: float = 2e-3,
    *,
    freeze_epochs: int = 1,
    lr_mult: float = 100.0,
    pct_start: float = 0.3,
    div: float = 5.0,
    **cycle: Any,
) -> None:
    """The body of `Learner.fine_tune`."""
    learn.freeze()
    learn.fit_one_cycle(freeze_epochs, slice(base_lr), pct_start=0.99, **cycle)
    learn.unfreeze()
    rates = slice(base_lr / 2 / lr_mult, base_lr / 2)
    learn.fit_one_cycle(epochs, rates, pct_start=pct_start, div=div, **cycle)


def check(learn: Learner, n_epochs: object, start_epoch: object, train: bool) -> None:
    """Raise TypeError for what is no whole number, ValueError for epochs or batches not there."""
    for name, value in (("n_epochs", n_epochs), ("start_epoch", start_epoch)):
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"fit: {name} must be a whole number, got {value!r}")
        if value < 0:
            raise ValueError(f"fit: {name} must be 0 or more, got {value}")
    if cast("int", start_epoch) > cast("int", n_epochs):
        raise ValueError(f"fit: start_epoch is {start_epoch}, but there are {n_epochs} epochs")
    if train:
        loaders.check_any(learn.dls)


def _check_divisors(who: str, **divisors: float) -> None:
    for name, value in divisors.items():
        if not value > 0:
            raise ValueError(f"{who}: {name} must be > 0, got {value}")


def _check_whole(**counts: object) -> None:
    for name, value in counts.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"fit_sgdr: {name} must be a whole number from 1 on, got {value!r}")


def _rates(learn: Learner, lr: Any) -> list[float]:
    """The rate of each parameter group."""
    layers = learn.with_opt()
    rates = layers.by_group(learn.lr if lr is None else lr, "lr")
    return [float(rate) for rate in rates]


def _has_momentum(learn: Learner) -> bool:
    try:
        return any(value != 0 for value in hypers.get(learn.opt, "mom"))
    except KeyError:
        return False
