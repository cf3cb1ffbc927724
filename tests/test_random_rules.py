"""Random chains of words give in every engine what NumPy gives."""

import engine_names
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from random_rules import chains, numpy_step, rules
from trials import draw, gradients, numpy

from steppers import Optimizer, ops
from steppers.engines import foreach

SHAPES = ((), (3,), (2, 3), (1, 2), (2, 2, 2))
MATRICES = ((2, 3), (3, 2), (2, 3), (2, 2, 2))
SOME = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # a failure is not made smaller, which would take minutes
    suppress_health_check=list(HealthCheck),
)
ENGINES = pytest.mark.parametrize("engine", ["loop", "foreach", "fused"])
# Some twenty float64 operations on numbers near 1, through a few steps and steep functions
RELATIVE, ABSOLUTE = 1e-10, 1e-12
LR, A = 0.1, 0.7


def build(made, engine, shapes, dtype):
    params = [torch.nn.Parameter(torch.tensor(x, dtype=dtype)) for x in draw(shapes, seed=3)]
    return params, Optimizer(params, steps=rules(made), engine=engine, lr=LR, a=A, d=1.0)


def feed(params, step):
    for p, g in zip(params, gradients([tuple(p.shape) for p in params], step), strict=True):
        p.grad = torch.from_numpy(g).to(p.dtype)


def assert_near(actual, expected):
    np.testing.assert_allclose(numpy(actual), expected, rtol=RELATIVE, atol=ABSOLUTE)


def check(made, engine, shapes):
    params, optimizer = build(made, engine, shapes, torch.float64)
    start = [numpy(p) for p in params]
    state = dict(p=start, m=[0 * x for x in start], s=start, d=1.0)
    for t in (1, 2, 3):
        feed(params, t)
        state = numpy_step(made, state, [numpy(p.grad) for p in params], t, LR, A)
        optimizer.step()
    for i, p in enumerate(params):
        assert_near(p, state["p"][i])
        assert_near(optimizer.state[p]["m"], state["m"][i])
    assert_near(optimizer.param_groups[0]["d"], state["d"])


@ENGINES
@SOME
@given(made=chains())
def test_a_random_chain_equals_numpy(made, engine):
    check(made, engine, SHAPES)


@ENGINES
@SOME
@given(made=chains(matrices=True))
def test_a_random_chain_on_matrices_equals_numpy(made, engine):
    check(made, engine, MATRICES)


@SOME
@given(made=chains())
def test_blocks_of_a_random_chain_join_up(made):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(foreach.BLOCK, "cpu", 4)
        check(made, "foreach", [(7,), (2, 3), (), (9,), (1,), (3, 5)])


def total_over_time(p, g, *, t, lr, d=1.0):
    size = ops.total(ops.square(g) / t)
    return dict(p=p - lr * d * g, d=0.5 * d + size)


def test_a_kept_scalar_may_be_a_total_of_what_depends_on_t():
    params = [torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2)]
    optimizer = Optimizer(params, steps=[total_over_time], lr=0.1)
    for p in params:
        p.grad = torch.full_like(p, 2.0)
    optimizer.step()
    assert float(optimizer.param_groups[0]["d"]) == 0.5 + 4 * 2.0**2


def chosen_number(p, g, *, t, lr):
    x = ops.where(t > 1, g, 2.0)
    y = ops.where(x <= 1, p, 0.5)
    return dict(p=p - lr * (y + g))


@ENGINES
def test_a_number_that_the_host_chooses_flows_on_as_a_tensor(engine):
    p = torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = Optimizer([p], steps=[chosen_number], engine=engine, lr=1.0)
    p.grad = torch.tensor([1.0, -1.0, 3.0], dtype=torch.float64)
    optimizer.step()
    assert p.tolist() == [-1.5, 0.5, -3.5]  # x is 2, so y is 0.5
    optimizer.step()
    assert p.tolist() == [-1.0, 1.0, -7.0]  # x is g, so y is p, p and 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@SOME
@given(made=chains(matrices=True))
def test_engines_agree_on_a_random_chain(made, dtype):
    sides = [build(made, engine, MATRICES, dtype) for engine in engine_names.ENGINES]
    for params, optimizer in sides:
        for step in (1, 2):
            feed(params, step)
            optimizer.step()
    room = 4 * torch.finfo(dtype).eps  # sums in another order, then roundings at two stores
    nears = ({}, dict(rtol=room, atol=room))[: len(sides) - 1]
    for other, near in zip(sides[1:], nears, strict=True):
        for p, q in zip(sides[0][0], other[0], strict=True):
            torch.testing.assert_close(p, q, **near)
