"""A chain is traced when it is built, and never again: rules are called by nothing else."""

from functools import partial

import pytest
import torch

from steppers import Optimizer, by_shape
from steppers.ops import clamp, lerp, orthogonalise, total, where, zeros

ENGINES = ["loop", "foreach", "fused"]


class Counted:
    """A chain whose rules count their calls: Lion with a clip and a choice by shape and by t."""

    def __init__(self):
        self.calls = 0

        def clip(g, *, bound, max_norm=1.0):
            self.calls += 1
            return dict(g=clamp(g, -bound, bound) * max_norm / total(g * g))

        def average(g, exp_avg=zeros, *, t, beta1=0.9):
            self.calls += 1
            return dict(exp_avg=where(t % 3 == 0, g, lerp(exp_avg, g, 1 - beta1)))

        def of_matrix(exp_avg, *, ns_steps):
            self.calls += 1
            return dict(u=orthogonalise(exp_avg, ns_steps))

        def of_other(exp_avg):
            self.calls += 1
            return dict(u=exp_avg)

        def move(p, u, *, lr, weight_decay=0.0):
            self.calls += 1
            return dict(p=where(lr > 0.05, p - lr * (u + weight_decay * p), p - lr * u))

        self.rules = clip, average, of_matrix, of_other, move

    def steps(self):
        """A fresh list with fresh partials, as a program that makes many optimizers has."""
        clip, average, of_matrix, of_other, move = self.rules
        direction = by_shape(matrices=[partial(of_matrix, ns_steps=3)], others=[of_other])
        return [partial(clip, bound=10.0), average, direction, move]


def parameters(n=4):
    ws = [torch.ones(shape, requires_grad=True) for shape in [(2, 3), (3,), (), (2, 2, 2)][:n]]
    for w in ws:
        w.grad = torch.full_like(w, 0.5)
    return ws


@pytest.fixture
def counted():
    return Counted()


@pytest.fixture(params=ENGINES)
def optimizer(request, counted):
    """One that has taken its first step."""
    made = Optimizer(parameters(), steps=counted.steps(), lr=0.1, engine=request.param)
    made.step()
    return made


def test_rules_are_called_when_the_chain_is_built(counted):
    Optimizer(parameters(), steps=counted.steps(), lr=0.1)
    assert counted.calls > 0


def test_a_first_step_calls_no_rule(counted):
    made = Optimizer(parameters(), steps=counted.steps(), lr=0.1)
    calls = counted.calls
    made.step()
    assert counted.calls == calls


def take_steps(optimizer):
    for _ in range(7):  # t % 3 flips a condition on the way
        optimizer.step()


def change_hypers(optimizer):
    for name, value in dict(lr=0.01, weight_decay=0.5, beta1=0.5, max_norm=2.0).items():
        optimizer.param_groups[0][name] = value
        optimizer.step()


def flip_a_condition(optimizer):
    for lr in (0.01, 0.1, 0.01):  # on either side of 0.05
        optimizer.set_hyper("lr", lr)
        optimizer.step()


def schedule(optimizer):
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    for _ in range(4):
        optimizer.step()
        scheduler.step()


def drop_and_add_gradients(optimizer):
    first, *others = optimizer.param_groups[0]["params"]
    first.grad = None
    optimizer.step()
    for w in others:
        w.grad = None
    optimizer.step()
    first.grad = torch.ones_like(first)
    optimizer.step()


def add_a_group(optimizer):
    optimizer.add_param_group({"params": parameters(2), "lr": 0.3})
    optimizer.step()


def reload(optimizer):
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step()


def look(optimizer):
    str(optimizer.explain())
    repr(optimizer)
    optimizer.init_state()
    optimizer.eval()
    optimizer.train()


# fmt: off
EVENTS = [take_steps, change_hypers, flip_a_condition, schedule, drop_and_add_gradients,
          add_a_group, reload, look]
# fmt: on


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.__name__)
def test_traces_nothing(event, optimizer, counted):
    calls = counted.calls
    event(optimizer)
    assert counted.calls == calls


def test_a_thousand_optimizers_of_one_parameter_trace_once(counted):
    Optimizer(parameters(1), steps=counted.steps(), lr=0.1)
    calls = counted.calls
    made = [Optimizer(parameters(1), steps=counted.steps(), lr=0.1) for _ in range(1000)]
    made[-1].step()
    assert counted.calls == calls


def test_instances_of_a_class_trace_nothing(counted):
    mine = type("Mine", (Optimizer,), dict(steps=counted.steps(), defaults=dict(lr=0.1)))
    calls = counted.calls
    for lr in (0.1, 0.2, 0.3):
        mine(parameters(), lr=lr).step()
    assert counted.calls == calls


def test_an_option_is_traced_once_for_each_value():
    calls = []

    def plain(p, g, *, lr):
        calls.append("plain")
        return dict(p=p - lr * g)

    def scaled(p, g, *, scale, lr):
        calls.append(scale)
        return dict(p=p - scale * lr * g)

    def steps(scale=0):
        return (partial(scaled, scale=scale),) if scale else (plain,)

    mine = type("Mine", (Optimizer,), dict(steps=steps, defaults=dict(lr=0.1, scale=0)))
    first = [mine(parameters(1), scale=scale) for scale in (0, 2, 3)]
    traced = list(calls)
    second = [mine(parameters(1), scale=scale) for scale in (0, 2, 3)]
    for optimizer in (*first, *second):
        optimizer.step()
    assert set(traced) == {"plain", 2, 3}
    assert calls == traced


def test_a_bound_constant_is_told_apart_from_another():
    def scaled(p, g, *, scale):
        return dict(p=p - scale * g)

    ws = [parameters(1)[0] for _ in range(2)]
    for w, scale in zip(ws, (1.0, 2.0), strict=True):
        Optimizer([w], steps=[partial(scaled, scale=scale)]).step()
    assert [w[0, 0].item() for w in ws] == [0.5, 0.0]


def test_a_bound_zero_keeps_its_sign():
    """0.0 == -0.0, so a cache keyed by equality alone would hand out the other one's program."""

    def below(p, g, *, zero):
        return dict(p=1 / (0 * p + zero))

    ws = [parameters(1)[0] for _ in range(2)]
    for w, zero in zip(ws, (0.0, -0.0), strict=True):
        w.data.mul_(-1)  # so that 0 * p is -0.0
        Optimizer([w], steps=[partial(below, zero=zero)]).step()
    assert [w[0, 0].item() for w in ws] == [float("inf"), float("-inf")]


def test_equal_code_in_two_functions_is_two_rules():
    def make(power):
        def rule(p, g):
            return dict(p=p - g**power)

        return rule

    ws = [parameters(1)[0] for _ in range(2)]
    for w, power in zip(ws, (1, 2), strict=True):
        Optimizer([w], steps=[make(power)]).step()
    assert [w[0, 0].item() for w in ws] == [0.5, 0.75]


# --- what the fused engine builds --------------------------------------------------------------


@pytest.fixture
def built(monkeypatch):
    """The texts that are rendered and compiled from here on."""
    from steppers.engines.fused import cpu

    texts = []
    build, render = cpu.build, cpu.render
    monkeypatch.setattr(cpu, "build", lambda text: texts.append(text) or build(text))
    monkeypatch.setattr(
        cpu, "render", lambda *args: texts.append(args) or render(*args), raising=True
    )
    return texts


def with_other_gradients(optimizer):
    for w in optimizer.param_groups[0]["params"]:
        w.grad = torch.zeros_like(w)  # another address
        optimizer.step()


@pytest.mark.needs("llvmlite")
@pytest.mark.parametrize("event", [*EVENTS, with_other_gradients], ids=lambda event: event.__name__)
def test_builds_no_kernel(event, counted, built):
    made = Optimizer(parameters(), steps=counted.steps(), lr=0.1, engine="fused")
    made.step()
    assert built  # the first step does
    built.clear()
    event(made)
    assert built == []


@pytest.mark.needs("llvmlite")
def test_other_shapes_and_layouts_build_no_kernel(counted, built):
    made = Optimizer(parameters(), steps=counted.steps(), lr=0.1, engine="fused")
    made.step()
    built.clear()
    others = [torch.ones(shape, requires_grad=True) for shape in [(5, 9), (40_000,), (), (3, 2, 4)]]
    for w in others:
        w.grad = torch.ones_like(w)
    others[0].grad = torch.ones(9, 5).t()
    Optimizer(others, steps=counted.steps(), lr=0.2, engine="fused").step()
    assert built == []


@pytest.mark.needs("llvmlite")
def test_two_thousand_optimizers_of_one_parameter_compile_once(counted, built):
    for _ in range(2000):
        Optimizer(parameters(1), steps=counted.steps(), lr=0.1, engine="fused").step()
    assert len([each for each in built if isinstance(each, str)]) == 1
