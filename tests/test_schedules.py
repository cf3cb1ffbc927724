"""Schedules as functions of the position: values from papers, fastai's own tests and torch."""

import copy
import itertools
import math
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler

from steppers import schedules
from steppers.schedules import annealer, combine, combined_cos, cos, exp, lin, no, poly

QUARTERS = (0, 0.25, 0.5, 0.75, 1)


@annealer
def square(start, end, pos):
    return start + (end - start) * pos * pos


def cube(start, end, pos):
    return start + (end - start) * pos**3


cubic = annealer(cube)  # the name `cube` stays the function


# fmt: off
ANNEALERS = [  # the values that fastai's tests state, to 5 decimals
    (lin(0, 2),     (0, 0.5, 1, 1.5, 2)),
    (cos(0, 2),     (0, 0.29289, 1, 1.70711, 2)),
    (exp(1, 2),     (1, 1.18921, 1.41421, 1.68179, 2)),
    (poly(0, 2, 2), (0, 0.125, 0.5, 1.125, 2)),
    (no(0, 2),      (0, 0, 0, 0, 0)),
    (square(0, 2),  (0, 0.125, 0.5, 1.125, 2)),
    (exp(-4, -1),   (-4, -2.82843, -2, -1.41421, -1)),
]
SHAPES = [
    schedules.one_cycle(0.1), schedules.one_cycle_momentum(), schedules.flat_cos(0.1),
    schedules.sgdr(0.1, 3), schedules.warmup_cosine(0.1, warmup=0.1, floor=0.1),
    schedules.warmup_stable_decay(0.1, warmup=0.1, decay=0.2, shape=partial(poly, power=0.5)),
    schedules.inverse_sqrt(0.1, warmup=0.1), schedules.noam(512, 40, 200),
    schedules.polynomial(0.1, 0.01, 2, warmup=0.1), square(0, 1), cubic(0, 1),
    schedules.one_cycle([0.1, 0.2]), combine([0.5, 0.5], [lin([0, 1], [1, 2]), no(3)]),
    *(schedule for schedule, _ in ANNEALERS),
]
# fmt: on


@pytest.mark.parametrize(("schedule", "expected"), ANNEALERS, ids=lambda x: repr(x)[:20])
def test_annealers(schedule, expected):
    assert [schedule(pos) for pos in QUARTERS] == pytest.approx(expected, abs=5e-6)


def test_phases_have_the_values_that_fastai_states():
    phases = combine([0.3, 0.2, 0.5], [lin(0, 1), no(1), cos(1, 0)])
    values = [phases(pos) for pos in (0, 0.15, 0.3, 0.4, 0.5, 0.7, 1)]
    assert values == pytest.approx([0, 0.5, 1, 1, 1, 0.65451, 0], abs=5e-6)


def test_two_cosines_have_the_values_that_fastai_states():
    positions, expected = (0, 0.1, 0.25, 0.5, 1), (0.5, 0.67275, 1, 0.75, 0)
    two = combined_cos(0.25, 0.5, 1, 0)
    assert [two(pos) for pos in positions] == pytest.approx(expected, abs=5e-6)
    rows = combined_cos(0.25, [0.25, 0.5], [0.5, 1.0], [0.0, 0.0])
    for pos, value in zip(positions, expected, strict=True):
        assert rows(pos) == pytest.approx([value / 2, value], abs=5e-6)


@pytest.mark.parametrize("row", [[1, 2], (1.0, 2.0), torch.tensor([1.0, 2.0]), np.array([1, 2])])
def test_a_row_of_any_kind_gives_floats(row):
    found = lin(row, 3)(0.5)
    assert found == [2.0, 2.5] and {type(v) for v in found} == {float}


def test_numbers_of_any_kind_give_a_float():
    for value in (1, np.float32(1), torch.tensor(1.0)):
        assert type(lin(value, 2)(0.0)) is float


def test_ten_times_a_tenth_is_one():
    steps = combine([0.1] * 10, [no(i) for i in range(10)])
    assert [steps(k / 10) for k in range(11)] == [*range(10), 9]
    assert [steps(k / 100) for k in range(100)] == [k // 10 for k in range(100)]


def test_the_later_schedule_applies_at_a_boundary_and_an_empty_one_never():
    assert combine([0.5, 0.5], [no(1), no(2)])(0.5) == 2
    assert combine([0, 1], [no(1), no(2)])(0) == 2
    assert combine([0.5, 0, 0.5], [no(1), no(2), no(3)])(0.5) == 3
    assert combine([1, 0], [lin(0, 1), no(7)])(1) == 1


@pytest.mark.parametrize("schedule", SHAPES, ids=lambda s: repr(s)[:30])
def test_a_schedule_stands_still_outside_the_run(schedule):
    assert schedule(-0.5) == schedule(0) and schedule(1.5) == schedule(1)
    with pytest.raises(ValueError, match="position must be a number in"):
        schedule(math.nan)


@pytest.mark.parametrize("schedule", SHAPES, ids=lambda s: repr(s)[:30])
def test_a_schedule_survives_pickle_and_copy(schedule):
    for twin in (pickle.loads(pickle.dumps(schedule)), copy.deepcopy(schedule)):
        assert twin == schedule and hash(twin) == hash(schedule) and repr(twin) == repr(schedule)
        assert [twin(k / 40) for k in range(41)] == [schedule(k / 40) for k in range(41)]


def test_a_local_annealer_works_but_cannot_be_pickled():
    @annealer
    def local(start, end, pos):
        return end

    assert local(0, 1)(0.0) == 1
    with pytest.raises((AttributeError, pickle.PicklingError), match="local"):
        pickle.dumps(local(0, 1))


def test_schedules_are_shown_as_they_are_written():
    assert repr(lin(0.1, [1, 2])) == "lin(0.1, [1, 2])"
    assert repr(combine([0.5, 0.5], [no(1), no(2)])) == "combine([0.5, 0.5], [no(1, 1), no(2, 2)])"
    assert repr(schedules.sgdr(1e-3, 3)) == "sgdr(0.001, 3, 2, floor=0)"


ERRORS = [
    (lambda: exp(0, 1), ValueError, "exp: start and end must be both above 0 or both below, got 0"),
    (lambda: exp(1, 0), ValueError, "exp: start and end must be both above 0"),
    (lambda: exp([1, 1], [1, -1]), ValueError, "got 1 and -1"),
    (lambda: lin("a", 1), TypeError, r"lin: start must be a number, got 'a' \(str\)"),
    (lambda: lin(True, 1), TypeError, r"lin: start must be a number, got True \(bool\)"),
    (lambda: lin(0, math.nan), ValueError, "lin: end must be finite, got nan"),
    (lambda: lin([], 1), ValueError, "lin: start must hold one number for each group, got none"),
    (lambda: lin(slice(1, 2), 1), TypeError, r"lin: .* got slice\(1, 2, None\); steppers.spread"),
    (lambda: lin([1, 2], [1, 2, 3]), ValueError, "lin: start has 2 values and end 3"),
    (lambda: lin(torch.ones(2, 2), 1), TypeError, r"start\[0\] must be a number"),
    (lambda: lin(0, 1)("a"), ValueError, "position must be a number in .*, got 'a'"),
    (lambda: poly(0, 1, 0), ValueError, "poly: power must be > 0, got 0"),
    (lambda: annealer(3), TypeError, "annealer: wants a function of start, end and pos, got 3"),
    (lambda: combine([0.5, 0.4], [no(1), no(2)]), ValueError, "sum to 1, got .*sum to 0.9"),
    (lambda: combine([1.5, -0.5], [no(1), no(2)]), ValueError, "at least 0"),
    (lambda: combine([1], [no(1), no(2)]), ValueError, "got 1 weights and 2 schedules"),
    (lambda: combine([], []), ValueError, "got 0 weights and 0 schedules"),
    (lambda: combine([1], [0.1]), TypeError, r"function of the position, got 0.1; no\(value\)"),
    (lambda: combine([math.nan, 1], [no(1)] * 2), ValueError, r"weights\[0\] must be finite"),
    (lambda: schedules.one_cycle(1, div=0), ValueError, "one_cycle: div must be > 0, got 0"),
    (lambda: schedules.one_cycle(1, pct_start=2), ValueError, "pct_start must be in"),
    (lambda: schedules.warmup_cosine(1, warmup=500), ValueError, "500 steps are 500 / total_steps"),
    (lambda: schedules.warmup_cosine(1, warmup=0.1, floor=-1), ValueError, "floor must be in"),
    (lambda: schedules.warmup_stable_decay(1, warmup=0.6, decay=0.6), ValueError, "at most 1"),
    (lambda: schedules.warmup_stable_decay(1, warmup=0, decay=0.1, shape="cos"), TypeError, "cos"),
    (lambda: schedules.inverse_sqrt(1, warmup=0), ValueError, "warmup must be > 0, got 0"),
    (lambda: schedules.noam(512, -1, 100), ValueError, "noam: warmup_steps must be >= 0, got -1"),
    (lambda: schedules.noam(512, 10, 0), ValueError, "noam: total_steps must be >= 1, got 0"),
    (lambda: schedules.sgdr(1, 0), ValueError, "sgdr: n_cycles must be >= 1, got 0"),
    (lambda: schedules.sgdr(1, 2.5), TypeError, "sgdr: n_cycles must be an int, got 2.5"),
    (lambda: schedules.sgdr(1, 3, -1), ValueError, "sgdr: cycle_mult must be > 0, got -1"),
    (lambda: schedules.sgdr(1, 2000), ValueError, "2000 cycles, each 2 times as long, are too"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "text"), ERRORS, ids=[row[2][:40] for row in ERRORS])
def test_errors(make, error, text):
    with pytest.raises(error, match=text):
        make()


def torchs(make, steps, momentum=False):
    """What a scheduler of torch gives from lr .1 on, before each step and after the last."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.9)
    scheduler, found = make(optimizer), []
    for k in range(steps + 1):
        found.append(optimizer.param_groups[0]["momentum" if momentum else "lr"])
        optimizer.step()
        if k < steps:
            scheduler.step()
    return found


def one_cycle_of_torch(optimizer):
    """OneCycleLR counts steps from 0 to total_steps - 1; this one's peak is at step 25 of 100."""
    return lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=101, pct_start=26 / 101)


# fmt: off
COINCIDE = [
    (one_cycle_of_torch, 100, schedules.one_cycle(0.1, div=25, div_final=25e4)),
    (lambda o: lr_scheduler.CosineAnnealingLR(o, 50, 0.01), 50, cos(0.1, 0.01)),
    (lambda o: lr_scheduler.LinearLR(o, 0.25, 1.0, 40), 40, lin(0.025, 0.1)),
    (lambda o: lr_scheduler.PolynomialLR(o, 30, 2.0), 30, schedules.polynomial(0.1, 0, 2.0)),
    (lambda o: lr_scheduler.ExponentialLR(o, 0.9), 20, exp(0.1, 0.1 * 0.9**20)),
    (lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10, 2), 69, schedules.sgdr(0.1, 3)),
    (lambda o: lr_scheduler.ConstantLR(o, 1.0), 9, no(0.1)),
]
# fmt: on


@pytest.mark.parametrize(("make", "steps", "schedule"), COINCIDE, ids=lambda x: repr(x)[:20])
def test_torch_gives_the_same(make, steps, schedule):
    total = 70 if "sgdr" in repr(schedule) else steps
    ours = [schedule(k / total) for k in range(steps + 1)]
    assert ours == pytest.approx(torchs(make, steps), rel=1e-9, abs=1e-15)


def test_torch_cycles_momentum_the_same_way():
    ours = [schedules.one_cycle_momentum()(k / 100) for k in range(101)]
    assert ours == pytest.approx(torchs(one_cycle_of_torch, 100, momentum=True), rel=1e-12)


def test_one_cycle_and_flat_cos_are_fastais():
    lr, mom = schedules.one_cycle(1e-2), schedules.one_cycle_momentum(0.95, 0.85, 0.9)
    assert [lr(0), lr(0.25), lr(1)] == pytest.approx([4e-4, 1e-2, 1e-7])
    assert lr(0.125) == pytest.approx((4e-4 + 1e-2) / 2)
    assert [mom(0), mom(0.25), mom(1)] == pytest.approx([0.95, 0.85, 0.9])
    flat = schedules.flat_cos(1e-2)
    assert [flat(0), flat(0.75), flat(0.875), flat(1)] == pytest.approx(
        [1e-2, 1e-2, (1e-2 + 1e-7) / 2, 1e-7]
    )


@pytest.mark.parametrize(("mult", "bounds"), [(2, (0, 1, 3, 7)), (1, (0, 1, 2, 3)),
                                              (1.5, (0, 1, 2.5, 4.75))])  # fmt: skip
def test_restarts_are_cosines_between_their_bounds(mult, bounds):
    total = schedules.sgdr_epochs(3, 1, mult)
    assert total == bounds[-1] and isinstance(total, int) == (mult != 1.5)
    cycle = schedules.sgdr(0.1, 3, mult)
    for start, end in itertools.pairwise(bounds):
        for local in (0, 0.25, 0.5, 0.999):
            expected = 0.05 * (1 + math.cos(math.pi * local))
            assert cycle((start + local * (end - start)) / total) == pytest.approx(expected)
    assert cycle(1) == 0


def test_epochs_of_restarts():
    assert schedules.sgdr_epochs(3, 2) == 14 and schedules.sgdr_epochs(4, 3, 1) == 12


def test_warmups_rise_in_a_line_and_decay_as_their_formulas_say():
    wc = schedules.warmup_cosine(2, warmup=0.2, floor=0.1, start=0.5)
    assert [wc(0), wc(0.1), wc(0.2), wc(0.6), wc(1), wc(7)] == pytest.approx(
        [1, 1.5, 2, 1.1, 0.2, 0.2]
    )
    wsd = schedules.warmup_stable_decay(2, warmup=0.1, decay=0.4, floor=0.5)
    assert [wsd(0.05), wsd(0.1), wsd(0.6), wsd(0.8), wsd(1)] == pytest.approx([1, 2, 2, 1.5, 1])
    root = schedules.warmup_stable_decay(2, warmup=0, decay=1, shape=partial(poly, power=0.5))
    assert root(0.25) == pytest.approx(2 * (1 - math.sqrt(0.25)))
    inverse = schedules.inverse_sqrt(2, warmup=0.04)
    assert [inverse(0.02), inverse(0.04), inverse(0.16), inverse(1)] == pytest.approx(
        [1, 2, 1, 0.4]
    )
    power = schedules.polynomial(2, 1, 3, warmup=0.5)
    assert [power(0.25), power(0.5), power(0.75), power(1)] == pytest.approx([1, 2, 1.125, 1])


def test_no_warmup_and_no_decay_are_allowed():
    assert schedules.warmup_cosine(2, warmup=0)(0) == 2
    assert schedules.warmup_cosine(2, warmup=1)(1) == 2
    assert schedules.warmup_stable_decay(2, warmup=0, decay=0)(1) == 2
    assert schedules.one_cycle(2, pct_start=0)(0) == 2


@pytest.mark.parametrize(("d_model", "warmup"), [(512, 4000), (512, 8000), (2048, 2000), (512, 0)])
def test_noam_is_the_papers_formula_with_steps_from_one(d_model, warmup):
    total = 20_000
    schedule = schedules.noam(d_model, warmup, total, factor=2)
    for k in (0, 1, 1999, 3999, 7999, 19_999):
        t = k + 1
        rise = t * warmup**-1.5 if warmup else math.inf
        assert schedule(k / total) == pytest.approx(2 * d_model**-0.5 * min(t**-0.5, rise))
    assert schedules.noam(512, 4000, total)(3999 / total) == pytest.approx(6.98771e-4, rel=1e-6)


def test_every_shape_takes_one_value_a_group():
    for make in (
        schedules.one_cycle, schedules.one_cycle_momentum, schedules.flat_cos,
        partial(schedules.sgdr, n_cycles=2), partial(schedules.warmup_cosine, warmup=0.1),
        partial(schedules.warmup_stable_decay, warmup=0.1, decay=0.1),
        partial(schedules.inverse_sqrt, warmup=0.1), schedules.polynomial,
        lambda peak: schedules.noam(64, 10, 100, peak),
    ):  # fmt: skip
        both, one = make([0.1, 0.2]), (make(0.1), make(0.2))
        for pos in (0, 0.05, 0.1, 0.4, 0.95, 1):
            found = both(pos)
            assert found == pytest.approx([schedule(pos) for schedule in one]), repr(both)


values = st.floats(-1e6, 1e6)
positions = st.floats(0, 1)
makers = st.sampled_from([lin, cos, poly, no])


@given(st.lists(st.tuples(st.floats(0.01, 1), makers, values, values), min_size=1), positions)
def test_phases_stay_between_what_their_schedules_reach(rows, pos):
    total = math.fsum(weight for weight, *_ in rows)
    phases = combine([w / total for w, *_ in rows], [f(a, b) for _, f, a, b in rows])
    ends = [v for _, _, a, b in rows for v in (a, b)]
    assert min(ends) <= phases(pos) <= max(ends)
    assert phases(1) == rows[-1][1](*rows[-1][2:])(1)
    assert pickle.loads(pickle.dumps(phases)) == phases


@given(st.floats(1e-6, 10), st.floats(0.01, 0.99), positions, positions)
def test_one_cycle_has_no_jump(peak, pct, a, b):
    schedule = schedules.one_cycle(peak, pct_start=pct)
    steepest = math.pi / 2 * peak / min(pct, 1 - pct)
    # A position within 1e-9 of a boundary belongs to the later phase.
    assert abs(schedule(a) - schedule(b)) <= steepest * (abs(a - b) * 1.0001 + 2e-9)


@given(st.floats(1e-12, 1e12), st.floats(1e-12, 1e12), positions)
def test_exp_is_geometric(start, end, pos):
    expected = math.exp((1 - pos) * math.log(start) + pos * math.log(end))
    assert exp(start, end)(pos) == pytest.approx(expected, rel=1e-9)
    assert (exp(start, end)(0), exp(start, end)(1)) == (start, end)
