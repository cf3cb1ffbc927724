"""Learning rates read off a sweep's curve: valley, slide, minimum, steep.

Each takes the rates, rising and above 0, and the (smoothed) loss at each, and gives a rate, or None
where the curve has no such point. They raise ValueError for what is no curve: no points, not as
many rates as losses, a loss that is not finite, rates that do not rise.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

SHORTEST = 3  # losses that a valley needs: it is divided into three parts


def valley(lrs: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate in the middle of the second third of the longest valley.

    The valley is the longest strictly decreasing subsequence of the losses (the first to reach its
    length): of L losses, ending at index e, it counts as beginning at s = e - L, and the rate is
    the one at s + int(L / 3) + int(L / 6). None for fewer than 3 falling losses.

    >>> valley([1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0], [9.0, 8.0, 7.0, 5.0, 4.0, 2.0, 3.0])
    0.01
    """
    check_curve(lrs, losses)
    length, end = _longest_fall(losses)
    if length < SHORTEST:
        return None
    third = length / 3
    return lrs[end - length + int(third) + int(third / 2)]


def _longest_fall(losses: Sequence[float]) -> tuple[int, int]:
    """The length of the longest strictly decreasing subsequence, and the index where it ends."""
    lowest: list[float] = []  # [k]: minus the highest loss that ends a fall of k + 1
    length, end = 0, 0
    for i, loss in enumerate(losses):
        reached = bisect_left(lowest, -loss)
        lowest[reached : reached + 1] = [-loss]
        if reached + 1 > length:
            length, end = reached + 1, i
    return length, end


def slide(
    lrs: Sequence[float],
    losses: Sequence[float],
    *,
    lr_diff: int = 15,
    thresh: float = 0.005,
    adjust_value: float = 1.0,
) -> float | None:
    """The left of two pointers that slide down from the end while the slopes there differ.

    The pointers stay `lr_diff` points apart; they move one point to the left while the gradients of
    the loss by the point (central differences) at both differ by more than `thresh`. The rate is
    the one at the last left pointer where they did, or at the first one, times `adjust_value`. None
    for a curve of at most `lr_diff` points.

    >>> slide([1e-3, 1e-2, 1e-1, 1.0], [3.0, 2.0, 1.0, 1.5], lr_diff=1)
    0.01
    """
    check_curve(lrs, losses)
    if lr_diff < 1:
        raise ValueError(f"slide: lr_diff is a number of points, at least 1, got {lr_diff}")
    if len(losses) <= lr_diff:
        return None
    slopes = _gradient(losses)
    found = left = len(losses) - 1 - lr_diff
    while left >= 0 and abs(slopes[left + lr_diff] - slopes[left]) > thresh:
        found, left = left, left - 1
    return lrs[found] * adjust_value


def _gradient(values: Sequence[float]) -> list[float]:
    """Central differences, one-sided ones at the ends."""
    inner = [(values[i + 1] - values[i - 1]) / 2 for i in range(1, len(values) - 1)]
    return [values[1] - values[0], *inner, values[-1] - values[-2]]


def minimum(lrs: Sequence[float], losses: Sequence[float]) -> float | None:
    """A tenth of the rate at the (first) lowest loss. None for a flat curve.

    >>> minimum([1e-2, 1e-1, 1.0], [2.0, 1.0, 3.0])
    0.01
    """
    check_curve(lrs, losses)
    lowest = min(losses)
    return None if lowest == max(losses) else lrs[list(losses).index(lowest)] / 10


def steep(lrs: Sequence[float], losses: Sequence[float]) -> float | None:
    """The rate from which the loss falls fastest by the logarithm of the rate.

    None for a curve that never falls.

    >>> steep([1e-3, 1e-2, 1e-1, 1.0], [3.0, 2.9, 1.0, 2.0])
    0.01
    """
    check_curve(lrs, losses)
    points = zip(pairwise(lrs), pairwise(losses), strict=True)
    slopes = [(c - b) / (math.log(y) - math.log(x)) for (x, y), (b, c) in points]
    steepest = min(slopes, default=0.0)
    return lrs[slopes.index(steepest)] if steepest < 0 else None


def check_curve(lrs: Sequence[float], losses: Sequence[float]) -> None:
    """Raise ValueError unless these are rising rates and as many finite losses."""
    if len(lrs) != len(losses):
        raise ValueError(f"got {len(lrs)} rates and {len(losses)} losses; each rate has one loss")
    if not lrs:
        raise ValueError("a curve without points suggests nothing")
    for i, (lr, loss) in enumerate(zip(lrs, losses, strict=True)):
        if not math.isfinite(loss):
            raise ValueError(f"loss {i} is {loss}; cut the curve off before it")
        if not (0 < lr < math.inf) or (i and lr <= lrs[i - 1]):
            raise ValueError(f"rates must be above 0 and rise, got {lr!r} at {i}")
