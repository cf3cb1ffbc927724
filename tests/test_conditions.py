"""Conditions: of a host scalar's two sides only the one taken is computed, read and written."""

import math
from itertools import pairwise

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from steppers import Optimizer
from steppers.ops import cos, exp, global_norm, lerp, norm, sqrt, tanh, where, zero, zeros
from steppers.rules import lookahead

ENGINES = ["loop", "foreach", "fused"]


class Calls(TorchDispatchMode):
    """Records which torch ops run: exp and _foreach_exp_ are both "exp"."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        self.names.append(name.removeprefix("_foreach_").removesuffix("_"))
        return func(*args, **(kwargs or {}))


def parameter(value=1.0, n=3):
    w = torch.full((n,), value, requires_grad=True)
    w.grad = torch.full((n,), 0.5)
    return w


def called(optimizer, *names):
    """How often each of these ops runs in a step."""
    with Calls() as calls:
        optimizer.step()
    return [calls.names.count(name) for name in names]


@pytest.fixture(params=ENGINES)
def engine(request):
    return request.param


@pytest.fixture(params=["loop", "foreach"])
def calling(request):
    """An engine whose work is calls of torch, which can be counted; see test_fused_conditions."""
    return request.param


def test_only_the_side_taken_is_computed(calling):
    def rule(p, g, *, t):
        return dict(p=where(t % 2 == 0, exp(g), cos(g)))

    optimizer = Optimizer([parameter(), parameter()], steps=[rule], engine=calling)
    runs = [called(optimizer, "exp", "cos") for _ in range(4)]
    assert [[bool(n) for n in run] for run in runs] == [[False, True], [True, False]] * 2


def test_what_both_sides_need_is_computed_once(calling):
    def rule(p, g, *, t):
        common = exp(g)
        return dict(p=where(t > 1, common + 1, common - 1))

    optimizer = Optimizer([parameter()], steps=[rule], engine=calling)
    assert [called(optimizer, "exp") for _ in range(2)] == [[1], [1]]


def test_a_side_within_a_side_is_decided_too(calling):
    def rule(p, g, *, t):
        inner = where(t > 2, exp(g), cos(g))
        return dict(p=where(t > 1, inner, tanh(g)))

    optimizer = Optimizer([parameter()], steps=[rule], engine=calling)
    runs = [called(optimizer, "tanh", "cos", "exp") for _ in range(3)]
    assert runs == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_a_total_of_the_other_side_is_not_summed(calling):
    def rule(p, g, *, t):
        return dict(p=where(t > 1, g / global_norm(tanh(g)), g))

    optimizer = Optimizer([parameter()], steps=[rule], engine=calling)
    assert [called(optimizer, "tanh") for _ in range(2)] == [[0], [1]]


def test_a_hyper_flips_a_condition(calling):
    def rule(p, g, *, noise=0.0):
        return dict(p=where(noise > 0, noise * exp(g), g))

    optimizer = Optimizer([parameter()], steps=[rule], engine=calling)
    before = called(optimizer, "exp")
    optimizer.param_groups[0]["noise"] = 2.0
    assert (before, called(optimizer, "exp")) == ([0], [1])


def test_a_slot_of_the_other_side_is_neither_read_nor_written(calling):
    w = parameter()
    optimizer = Optimizer([w], steps=[lookahead_after_descent, lookahead], engine=calling, k=3)
    optimizer.step()
    slow = optimizer.state[w]["slow"]
    versions = [slow._version]
    for _ in range(4):
        optimizer.step()
        versions.append(slow._version)
    written = [after > before for before, after in pairwise(versions)]
    assert written == [False, True, False, False]


def lookahead_after_descent(p, g):
    return dict(p=p - 0.25 * g)


def test_lookahead_joins_fast_and_slow_every_k_steps(engine):
    """Zhang et al. 2019, k = 3, alpha = 1/2: after 3 steps of 1/8 from 1, halfway back."""
    w = parameter()
    optimizer = Optimizer([w], steps=[lookahead_after_descent, lookahead], engine=engine, k=3)
    found = []
    for _ in range(6):
        optimizer.step()
        found.append(w[0].item())
    assert found == [0.875, 0.75, 0.8125, 0.6875, 0.5625, 0.625]


def test_a_parameter_is_left_alone_where_its_side_says_so(engine):
    def rule(p, g, *, t):
        return dict(p=where(t > 2, p - g, p))

    w = parameter()
    optimizer = Optimizer([w], steps=[rule], engine=engine)
    before = w._version
    optimizer.step()
    optimizer.step()
    assert w._version == before


def test_parameters_of_different_age_take_different_sides(engine):
    """The list is split: `late` has its first gradient when `early` takes its second step."""

    def rule(p, g, momentum=zeros, *, t):
        momentum = where(t == 1, g, 0.5 * momentum + g)
        return dict(momentum=momentum, p=p - momentum)

    early, late = parameter(), parameter()
    optimizer = Optimizer([early, late], steps=[rule], engine=engine)
    late.grad = None
    optimizer.step()
    late.grad = torch.full((3,), 0.5)
    optimizer.step()
    assert (early.tolist(), late.tolist()) == ([-0.25] * 3, [0.5] * 3)


def test_a_scalar_slot_on_the_host_decides(calling):
    def rule(p, g, seen=zero):
        return dict(seen=seen + 1, p=where(seen == 0, g, exp(g)))

    optimizer = Optimizer([parameter()], steps=[rule], engine=calling)
    assert [called(optimizer, "exp") for _ in range(2)] == [[0], [1]]


def test_a_nan_on_the_other_side_does_not_leak(engine):
    def rule(p, g, *, t):
        return dict(p=where(t > 1, sqrt(-g) / (t - 1), g))

    w = parameter()
    Optimizer([w], steps=[rule], engine=engine).step()
    assert w.tolist() == [0.5] * 3


@pytest.mark.parametrize("size", [norm, global_norm], ids=["per-tensor", "global"])
def test_a_condition_on_the_device_takes_the_right_side(size, engine):
    """Both sides are computed there: the host does not wait for the device."""

    def rule(p, g):
        return dict(p=where(size(g) > 0, g / size(g), 7.0))

    w, zero_grad = parameter(n=4), parameter(n=4)
    zero_grad.grad = torch.zeros(4)
    Optimizer([w, zero_grad], steps=[rule], engine=engine).step()
    of_zeros = {norm: 7.0, global_norm: 0.0}[size]  # the global norm is not 0
    assert (w.tolist(), zero_grad.tolist()) == ([0.5] * 4, [of_zeros] * 4)


def test_a_condition_on_elements_takes_the_right_side(engine):
    def rule(p, g):
        return dict(p=where(g > 0, lerp(p, g, 0.5), -1.0))

    w = parameter(n=3)
    w.grad = torch.tensor([1.0, -1.0, math.nan])
    Optimizer([w], steps=[rule], engine=engine).step()
    assert w.tolist() == [1.0, -1.0, -1.0]
