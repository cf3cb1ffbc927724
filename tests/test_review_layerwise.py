"""What a review of the layer-wise and mixed optimizers, their rules and hooks broke."""

import copy
import math

import numpy
import pytest
import torch
from engine_names import ENGINES

import steppers
from steppers import registry, rules
from steppers.chain import make_chain
from steppers.groups import count_together
from steppers.lr_find.sweep import Sweep
from steppers.shell.stated import gates
from steppers.styles.chains import fastai

over_engines = pytest.mark.parametrize("engine", ENGINES)
DAMPENED = ["SGD", "SGDW", "LARS", "LARC", "DecoupledSGDW"]
over_dampened = pytest.mark.parametrize("name", DAMPENED)


def ones(n=1):
    return [torch.ones(2, dtype=torch.float64, requires_grad=True) for _ in range(n)]


def step(optimizer, params, grad=1.0):
    for p in params:
        p.grad = torch.full_like(p, grad)
    optimizer.step()


# --- lookahead_late ----------------------------------------------------------------------------


def late(params, k, engine="auto"):
    steps = [rules.descend, rules.lookahead_late]
    return steppers.Optimizer(params, steps=steps, lr=0.01, k=k, engine=engine)


@over_engines
def test_late_slow_weights_are_copied_at_the_first_pull_when_k_has_changed_before_it(engine):
    params = ones()
    optimizer = late(params, 6, engine)
    for t in range(1, 13):
        if t == 6:
            optimizer.set_hyper("k", 4)
        step(optimizer, params)
        if t == 8:  # the first pull: a copy, which moves nothing
            assert params[0].tolist() == pytest.approx([0.92, 0.92], rel=1e-12)
    assert params[0].tolist() == pytest.approx([0.9, 0.9], rel=1e-12)  # halfway of .92 and .88


@over_engines
def test_late_slow_weights_of_a_late_parameter_are_copied_too_where_counts_are_a_groups(engine):
    params = ones(2)
    optimizer = late(params, 6, engine)
    optimizer.register_step_pre_hook(count_together)
    for t in range(1, 19):
        step(optimizer, params[: 1 if t < 10 else 2])
        if t == 12:
            assert params[1].tolist() == pytest.approx([0.97, 0.97], rel=1e-12)
    assert params[1].tolist() == pytest.approx([0.94, 0.94], rel=1e-12)  # of .97 and .91


def test_late_slow_weights_go_on_behind_a_checkpoint():
    first, second = ones(), ones()
    optimizer, other = late(first, 3), late(second, 3)
    for _ in range(4):
        step(optimizer, first)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    with torch.no_grad():
        second[0].copy_(first[0])
    for _ in range(4):
        step(optimizer, first)
        step(other, second)
    assert torch.equal(first[0], second[0])
    # t = 3 copies .97; t = 6 is halfway of .97 and .94; then two steps
    assert first[0].tolist() == pytest.approx([0.935, 0.935], rel=1e-12)


# --- dampening ---------------------------------------------------------------------------------


@over_dampened
def test_dampening_is_live_and_makes_no_program_for_each_value(name):
    params = ones()
    optimizer = getattr(steppers, name)(params, lr=0.1, momentum=0.9)
    recipe = optimizer.recipe_of(optimizer.param_groups[0])
    for i in range(1, 31):
        optimizer.param_groups[0]["dampening"] = i / 100
        step(optimizer, params)
        if i == 2:
            made = len(recipe.memo), len(recipe._programs)
    assert (len(recipe.memo), len(recipe._programs)) == made


def test_a_schedule_of_dampening_is_followed():
    (p,) = params = ones()
    optimizer = steppers.SGDW(params, lr=0.1, momentum=0.5, weight_decay=0.0)
    buffer, expected = 0.0, 1.0
    for i in range(4):
        optimizer.param_groups[0]["dampening"] = 0.2 * i
        step(optimizer, params, i + 1.0)
        buffer = i + 1.0 if i == 0 else 0.5 * buffer + (1 - 0.2 * i) * (i + 1)
        expected -= 0.1 * buffer
    assert p[0].item() == pytest.approx(expected, rel=1e-12)


@over_dampened
def test_a_checkpoint_brings_its_dampening_as_torchs_does(name):
    make = getattr(steppers, name)
    saved = make(ones(), lr=0.1, momentum=0.9, dampening=0.5).state_dict()
    optimizer = make(ones(), lr=0.1, momentum=0.9)
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["dampening"] == 0.5


@over_dampened
def test_dampening_is_checked_with_momentum_and_without(name):
    make = getattr(steppers, name)
    for momentum in (0.0, 0.9):
        with pytest.raises(ValueError, match=f"{name}: dampening must be a number other than NaN"):
            make(ones(), lr=0.1, momentum=momentum, dampening=math.nan)
        with pytest.raises(TypeError, match=f"{name}: dampening must be a number, got 'x'"):
            make(ones(), lr=0.1, momentum=momentum, dampening="x")


@over_dampened
def test_nesterov_refuses_dampening_also_where_it_comes_later(name):
    params = ones()
    optimizer = getattr(steppers, name)(params, lr=0.1, momentum=0.9, nesterov=True)
    step(optimizer, params)
    before = params[0].detach().clone()
    wanted = f"{name}: nesterov=True needs momentum > 0 and dampening = 0"
    optimizer.param_groups[0]["dampening"] = 0.5
    with pytest.raises(ValueError, match=wanted):
        step(optimizer, params)
    assert torch.equal(params[0], before)
    optimizer.param_groups[0]["dampening"] = 0.0
    step(optimizer, params)
    assert not torch.equal(params[0], before)


@over_dampened
def test_the_functional_form_takes_dampening_at_each_update(name):
    params = ones()
    hypers = dict(lr=0.1, momentum=0.9)
    optimizer = getattr(steppers, name)(params, **hypers)
    functional = steppers.Functional(getattr(steppers, name), **hypers)
    free = [torch.ones(2, dtype=torch.float64)]
    state = functional.init(free)
    for dampening in (0.0, 0.5, 0.25):
        optimizer.param_groups[0]["dampening"] = dampening
        step(optimizer, params)
        grads = [torch.ones_like(free[0])]
        free, state = functional.update(free, grads, state, dict(dampening=dampening))
    assert torch.allclose(free[0], params[0], rtol=1e-12, atol=0)


def test_a_gate_behind_a_gate_is_one_and_options_that_exclude_each_other_stay_apart():
    def steps(momentum=0.0, dampening=0.0, rounds=0):
        if momentum and rounds:
            raise ValueError("momentum has no rounds")
        return (rules.heavy_ball, rules.descend) if momentum else (rules.descend,)

    def make(options):
        return make_chain("mine", steps(**options))

    assert gates(dict(momentum=0.0, dampening=0.0), make) == ("momentum", "dampening")
    assert gates(dict(momentum=0.0, rounds=0), make) == ("momentum",)
    assert gates(dict(dampening=0.0), make) == ()


# --- numbers that make NaN ---------------------------------------------------------------------


def test_an_endless_softplus_beta_is_refused_as_it_would_make_nan():
    wanted = r"SAdam: softplus_beta must be in \(0, inf\), got inf"
    with pytest.raises(ValueError, match=wanted):
        steppers.SAdam(ones(), softplus_beta=math.inf)
    with pytest.raises(ValueError, match=r"RAdam: softplus_beta must be in \[0, inf\), got inf"):
        fastai.RAdam(ones(), softplus_beta=math.inf)
    fastai.RAdam(ones(), softplus_beta=0.0)


def test_a_negative_max_lr_is_refused():
    steps = [rules.decay_corrected, rules.descend]
    with pytest.raises(ValueError, match=r"max_lr must be >= 0, got -1\.0"):
        steppers.Optimizer(ones(), steps=steps, lr=0.1, max_lr=-1.0)


@over_engines
def test_a_rate_of_zero_moves_no_tensor_of_larc_however_small_its_ratio_is(engine):
    p = torch.ones(2, requires_grad=True)
    optimizer = steppers.LARC([p], lr=0.0, engine=engine)
    before = p.detach().clone()
    step(optimizer, [p], 1e25)  # its norm is infinite in float32, so the ratio is 0
    assert torch.equal(p, before)
    assert optimizer.state[p]["momentum_buffer"].isfinite().all()


def test_presets_of_what_is_no_name_are_refused():
    with pytest.raises(TypeError, match="an optimizer's name is a string like 'AdamW', got 5"):
        registry.preset(5)


# --- the finder and schedules ------------------------------------------------------------------


@pytest.mark.parametrize("times", [2, 2.0, numpy.float32(2.0), numpy.int64(2), numpy.float64(2.0)])
def test_a_sweep_ends_at_a_multiple_of_any_kind_of_number(times):
    optimizer = torch.optim.SGD(ones(), lr=0.1)
    sweep = Sweep(optimizer, num_it=20, stop_div=times, watch="raw")
    for loss, over in ((1.0, False), (0.5, False), (1.0, False), (1.01, True)):
        sweep.set_lr()
        assert sweep.record(loss) is over


@pytest.mark.parametrize("times", [numpy.float32("nan"), numpy.int64(1), numpy.float32("inf")])
def test_a_multiple_that_ends_nothing_is_refused_whatever_kind_of_number_it_is(times):
    with pytest.raises(ValueError, match="stop_div must be above 1, as a number of times"):
        Sweep(torch.optim.SGD(ones(), lr=0.1), stop_div=times)
