"""The schedules people use, as functions of the position in a run.

Each takes numbers, or rows with one number for each group, and gives a function that can be
pickled. Parts of the run are fractions: a warmup of 500 steps is `warmup=500 / total_steps`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from .annealers import Anneal, cos, lin, made, no
from .phases import Combined, combine, combined_cos
from .values import Plain, Schedule, Value, fraction, number, plain, positive, scaled, whole
from .values import written as call

Labelled = TypeVar("Labelled", Anneal, Combined)


def named(schedule: Labelled, label: str) -> Labelled:
    """The schedule, shown as the call that made it."""
    return replace(schedule, label=label)


def one_cycle(
    peak: Value, *, div: float = 25.0, div_final: float = 1e5, pct_start: float = 0.25
) -> Combined:
    """One cycle: a cosine from peak / div up to peak, then one down to peak / div_final.

    These are fastai's shape and defaults (Smith & Topin 2017, arXiv:1708.07120). torch's OneCycleLR
    starts at max_lr / 25 too, ends at max_lr / 25 / 1e4, and has pct_start 0.3.
    """
    me = "one_cycle"
    high = plain(me, "peak", peak)
    first = scaled(high, 1 / positive(me, "div", div))
    last = scaled(high, 1 / positive(me, "div_final", div_final))
    shape = combined_cos(fraction(me, "pct_start", pct_start), first, high, last)
    return named(shape, call(me, high, div=div, div_final=div_final, pct_start=pct_start))


def one_cycle_momentum(
    high: Value = 0.95, low: Value = 0.85, end: Value | None = None, *, pct_start: float = 0.25
) -> Combined:
    """The momentum beside `one_cycle`: high to low while the rate rises, then back up to end.

    `end` is `high` where it is not given. It drives `momentum`, or `beta1` of Adam.
    """
    me = "one_cycle_momentum"
    ends = [plain(me, "high", high), plain(me, "low", low)]
    ends.append(ends[0] if end is None else plain(me, "end", end))
    shape = combined_cos(fraction(me, "pct_start", pct_start), *ends)
    return named(shape, call(me, *ends, pct_start=pct_start))


def flat_cos(value: Value, *, div_final: float = 1e5, pct_start: float = 0.75) -> Combined:
    """Flat for the share `pct_start` of the run, then a cosine down to value / div_final."""
    me = "flat_cos"
    flat, share = plain(me, "value", value), fraction(me, "pct_start", pct_start)
    last = scaled(flat, 1 / positive(me, "div_final", div_final))
    shape = combine([share, 1 - share], [no(flat), cos(flat, last)])
    return named(shape, call(me, flat, div_final=div_final, pct_start=pct_start))


def sgdr(peak: Value, n_cycles: int, cycle_mult: float = 2.0, *, floor: float = 0.0) -> Combined:
    """Warm restarts: n cosines from peak to floor * peak, each cycle_mult times as long.

    (Loshchilov & Hutter 2016, arXiv:1608.03983.) `sgdr_epochs` says how many epochs make cycles
    of whole epochs. A restart belongs to the new cycle.
    """
    me = "sgdr"
    high, lengths = plain(me, "peak", peak), _lengths(me, n_cycles, cycle_mult)
    down = cos(high, scaled(high, fraction(me, "floor", floor)))
    total = math.fsum(lengths)
    shape = combine([length / total for length in lengths], [down] * n_cycles)
    return named(shape, call(me, high, n_cycles, cycle_mult, floor=floor))


def sgdr_epochs(n_cycles: int, cycle_len: float = 1, cycle_mult: float = 2.0) -> float:
    """How many epochs `sgdr` takes whose first cycle takes cycle_len of them; an int if it is one.

    >>> sgdr_epochs(3), sgdr_epochs(3, 2, 1), sgdr_epochs(2, 1, 1.5)
    (7, 6, 2.5)
    """
    first = positive("sgdr_epochs", "cycle_len", cycle_len)
    total = first * math.fsum(_lengths("sgdr_epochs", n_cycles, cycle_mult))
    return int(total) if total == int(total) else total


def _lengths(owner: str, n_cycles: int, cycle_mult: float) -> list[float]:
    """How long each cycle is, in units of the first."""
    n, mult = whole(owner, "n_cycles", n_cycles, 1), positive(owner, "cycle_mult", cycle_mult)
    try:
        return [mult**i for i in range(n)]
    except OverflowError:
        raise ValueError(
            f"{owner}: {n} cycles, each {mult:g} times as long, are too long"
        ) from None


def warmup_cosine(
    peak: Value, *, warmup: float, floor: float = 0.0, start: float = 0.0
) -> Combined:
    """A line from start * peak up to peak, then a cosine down to floor * peak, where it stays.

    `warmup` is a share of the run in [0, 1]: 500 steps are 500 / total_steps. `start` and `floor`
    are shares of the peak. With start 0 the first step of all has a rate of 0.
    """
    me = "warmup_cosine"
    high, share = plain(me, "peak", peak), fraction(me, "warmup", warmup)
    down = cos(high, scaled(high, fraction(me, "floor", floor)))
    shape = combine([share, 1 - share], [_warm(me, high, start), down])
    return named(shape, call(me, high, warmup=share, floor=floor, start=start))


def warmup_stable_decay(
    peak: Value,
    *,
    warmup: float,
    decay: float,
    floor: float = 0.0,
    shape: Callable[[Value, Value], Schedule] = lin,
    start: float = 0.0,
) -> Combined:
    """A line from start * peak up to peak, flat, then `shape` from peak down to floor * peak.

    `warmup` and `decay` are shares of the run that sum to 1 at most; 500 steps are
    500 / total_steps. `shape` makes a schedule from start and end: lin, cos, exp (floor above 0),
    or `partial(poly, power=0.5)` for one minus a square root (Hägele et al. 2024,
    arXiv:2405.18392).
    """
    me = "warmup_stable_decay"
    high, low = plain(me, "peak", peak), fraction(me, "floor", floor)
    rise, fall = fraction(me, "warmup", warmup), fraction(me, "decay", decay)
    if rise + fall > 1 + 1e-9:
        raise ValueError(f"{me}: warmup + decay must be at most 1, got {warmup} + {decay}")
    if not callable(shape):
        raise TypeError(
            f"{me}: shape makes a schedule from start and end, as lin does; got {shape!r}"
        )
    flat = max(1 - rise - fall, 0.0)
    parts = [_warm(me, high, start), no(high), shape(high, scaled(high, low))]
    label = call(me, high, warmup=rise, decay=fall, floor=low, shape=Name(shape), start=start)
    return named(combine([rise, flat, fall], parts), label)


class Name(str):
    """The name of a function, shown without quotes and without its address."""

    def __new__(cls, function: object) -> Name:
        inner = function.func if isinstance(function, partial) else function
        return super().__new__(cls, getattr(inner, "__name__", type(inner).__name__))

    def __repr__(self) -> str:
        return str(self)


def inverse_sqrt(peak: Value, *, warmup: float, start: float = 0.0) -> Combined:
    """A line from start * peak up to peak, then peak * sqrt(warmup / position).

    `warmup` is a share of the run above 0, 500 steps are 500 / total_steps: the peak and how fast
    it decays both come from it.
    """
    me = "inverse_sqrt"
    share = fraction(me, "warmup", positive(me, "warmup", warmup))
    high = plain(me, "peak", peak)
    decay = Anneal(_inverse_sqrt, high, scaled(high, math.sqrt(share)), (share,), me)
    shape = combine([share, 1 - share], [_warm(me, high, start), decay])
    return named(shape, call(me, high, warmup=share, start=start))


def _inverse_sqrt(start: float, _end: float, pos: float, warmup: float) -> float:
    return start * math.sqrt(warmup / (warmup + pos * (1 - warmup)))


def noam(d_model: int, warmup_steps: float, total_steps: int, factor: Value = 1.0) -> Anneal:
    """The Transformer's rate, factor * d_model**-0.5 * min(t**-0.5, t * warmup_steps**-1.5).

    (Vaswani et al. 2017, arXiv:1706.03762, section 5.3.) t is the optimizer's step from 1: position
    k / total_steps has t = k + 1. With warmup_steps 0 it decays from the first step on.
    """
    me = "noam"
    width, total = whole(me, "d_model", d_model, 1), whole(me, "total_steps", total_steps, 1)
    warm = number(me, "warmup_steps", warmup_steps)
    if warm < 0:
        raise ValueError(f"{me}: warmup_steps must be >= 0, got {warmup_steps!r}")
    scale = plain(me, "factor", factor)
    label = call(me, width, warm, total, scale)
    return Anneal(_noam, scale, scale, (float(width), warm, float(total)), label)


def _noam(factor: float, _end: float, pos: float, width: float, warm: float, total: float) -> float:
    t = pos * total + 1
    rise = t * warm**-1.5 if warm else math.inf
    return factor * width**-0.5 * min(t**-0.5, rise)


def polynomial(
    start: Value, end: Value = 0.0, power: float = 1.0, *, warmup: float = 0.0
) -> Combined:
    """A line from 0 up to start, then end + (start - end) * (1 - position)**power.

    `warmup` is a share of the run in [0, 1], 500 steps are 500 / total_steps. Its decay is that of
    torch's PolynomialLR; `poly` takes the power of the position instead.
    """
    me = "polynomial"
    share, exponent = fraction(me, "warmup", warmup), positive(me, "power", power)
    high, low = plain(me, "start", start), plain(me, "end", end)
    decay = made(_remaining, me, high, low, exponent)
    shape = combine([share, 1 - share], [_warm(me, high, 0.0), decay])
    return named(shape, call(me, high, low, exponent, warmup=share))


def _remaining(start: float, end: float, pos: float, power: float) -> float:
    return end + (start - end) * (1 - pos) ** power


def _warm(owner: str, peak: Plain, start: object) -> Anneal:
    return lin(scaled(peak, fraction(owner, "start", start)), peak)
