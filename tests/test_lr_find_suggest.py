"""Suggestions of the finder: formulas in float64 NumPy, and a search through all subsequences."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from steppers.lr_find import minimum, slide, steep, valley

RATES = [10.0**k for k in range(-8, 12)]
ALL = [valley, slide, minimum, steep]


def longest_fall(losses):
    """(length, first end) of the longest strictly decreasing subsequence, trying them all."""
    for size in range(len(losses), 0, -1):
        found = [c for c in combinations(range(len(losses)), size)
                 if all(losses[a] > losses[b] for a, b in pairwise(c))]  # fmt: skip
        if found:
            return size, min(c[-1] for c in found)
    raise AssertionError


def slide_by_numpy(lrs, losses, lr_diff, thresh, adjust_value):
    slopes = np.gradient(np.array(losses))
    right, left = len(losses) - 1, len(losses) - 1 - lr_diff
    answer = lrs[left]
    while left >= 0 and np.abs(slopes[right] - slopes[left]) > thresh:
        answer = lrs[left]
        right, left = right - 1, left - 1
    return answer * adjust_value


losses = st.lists(st.integers(0, 12).map(lambda k: k / 4), min_size=1, max_size=11)
smooth_losses = st.lists(st.floats(-100, 100), min_size=3, max_size=20)


@settings(max_examples=150, deadline=None)
@given(losses)
def test_valley_is_the_middle_of_the_longest_fall(losses):
    length, end = longest_fall(losses)
    index = end - length + int(length / 3) + int(length / 3 / 2)
    expected = RATES[index] if length >= 3 else None
    assert valley(RATES[: len(losses)], losses) == expected


@pytest.mark.parametrize(
    ("losses", "index"),
    [
        ([9.0, 8, 7, 6, 5, 4, 3, 2, 1], 3),  # L 9, s -1: -1 + 3 + 1
        ([2.0, 9, 8, 7, 6, 5, 4, 3.5, 3, 10], 3),  # L 8, s 0: 0 + 2 + 1
        ([5.0, 4, 4, 4, 3, 7, 8], 2),  # L 3, s 1: 1 + 1 + 0, and equal losses do not fall
        ([5.0, 6, 4, 5, 3, 4], 2),  # 5 4 3, or 6 5 4 later: the first counts
    ],
)
def test_valley_of_curves_done_by_hand(losses, index):
    assert valley(RATES[: len(losses)], losses) == RATES[index]


@pytest.mark.parametrize("losses", [[1.0], [2.0, 1.0], [1.0, 1, 1, 1], [1.0, 2, 3, 4], [2.0, 1, 3]])
def test_no_valley_without_three_falling_losses(losses):
    assert valley(RATES[: len(losses)], losses) is None


@given(smooth_losses, st.integers(1, 6), st.sampled_from([0.0, 0.005, 1.0, 20.0]))
def test_slide_is_its_formula(losses, lr_diff, thresh):
    lrs = RATES[: len(losses)]
    actual = slide(lrs, losses, lr_diff=lr_diff, thresh=thresh, adjust_value=0.5)
    if len(losses) <= lr_diff:
        assert actual is None
    else:
        assert actual == slide_by_numpy(lrs, losses, lr_diff, thresh, 0.5)


def test_slide_defaults_to_fifteen_points_and_five_thousandths():
    losses = [2.0] * 10 + [2.0 - 0.01 * k * k for k in range(10)]
    assert slide(RATES, losses) == slide_by_numpy(RATES, losses, 15, 0.005, 1.0)
    assert slide(RATES[:15], losses[:15]) is None


@given(smooth_losses)
def test_minimum_and_steep_are_their_formulas(losses):
    lrs = np.array(RATES[: len(losses)])
    slopes = np.diff(losses) / np.diff(np.log(lrs))
    flat = min(losses) == max(losses)
    assert minimum(list(lrs), losses) == (None if flat else lrs[np.argmin(losses)] / 10)
    actual = steep(list(lrs), losses)
    if slopes.min() >= 0:
        assert actual is None
    else:  # two slopes may differ in the last bit only
        assert slopes[list(lrs).index(actual)] == pytest.approx(slopes.min(), rel=1e-12)


def test_minimum_and_steep_by_hand():
    lrs, losses = [1e-3, 1e-2, 1e-1, 1.0, 10.0], [3.0, 2.5, 1.0, 0.5, 4.0]
    assert minimum(lrs, losses) == 0.1
    assert steep(lrs, losses) == 1e-2


@pytest.mark.parametrize("suggest", ALL)
@pytest.mark.parametrize(
    ("lrs", "losses", "text"),
    [
        ([], [], "without points"),
        ([1e-2, 1e-1], [1.0], "2 rates and 1 losses"),
        ([1e-2, 1e-1], [1.0, float("nan")], "loss 1 is nan"),
        ([1e-2, 1e-1], [float("inf"), 1.0], "loss 0 is inf"),
        ([1e-1, 1e-2], [1.0, 1.0], "rise, got 0.01 at 1"),
        ([0.0, 1e-2], [1.0, 1.0], "above 0 and rise, got 0.0 at 0"),
        ([1e-2, float("inf")], [1.0, 1.0], "got inf at 1"),
        ([float("nan"), 1e-2], [1.0, 1.0], "got nan at 0"),
    ],
)
def test_what_is_no_curve_is_refused(suggest, lrs, losses, text):
    with pytest.raises(ValueError, match=text):
        suggest(lrs, losses)


def test_slide_wants_a_distance():
    with pytest.raises(ValueError, match="lr_diff is a number of points, at least 1, got 0"):
        slide([1.0, 2.0], [1.0, 2.0], lr_diff=0)
