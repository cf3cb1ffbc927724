"""A step reads old values and writes new ones: no store is seen by another of the same step."""

import pytest
import torch

from steppers import Optimizer
from steppers.ops import copy_of_p, norm, ones, total, transpose, where, zeros, zeros_left

GRADS = (1.0, 2.0, 4.0, 8.0)


def shift(p, g, last=zeros, before=zeros):
    """The two gradients before this one."""
    return dict(p=p + before, last=g, before=last)


def shift_in_other_order(p, g, last=zeros, before=zeros):
    return dict(p=p + before, before=last, last=g)


def swap(p, other=zeros):
    return dict(p=other, other=p)


def lag(p, g, behind=zeros):
    return dict(behind=p, p=p + g + 0 * behind)


def swap_at_even_steps(p, g, other=zeros, *, t):
    even = t % 2 == 0
    return dict(p=where(even, other, p + g), other=where(even, p, other))


def rotate(p, a=zeros, b=ones):
    return dict(p=p + a, a=b, b=a)


def normed_shift(p, g, last=zeros):
    """The old value is needed after a cut."""
    return dict(p=p + last * norm(g) / norm(g), last=g)


def shift_after_total(p, g, last=zeros):
    return dict(p=p + last * total(g) / total(g), last=g)


# fmt: off
ROWS = [  # rule, and p after each step from 1, with gradients 1, 2, 4, 8
    (shift, [1, 1, 2, 4]), (shift_in_other_order, [1, 1, 2, 4]),
    (swap, [0, 1, 0, 1]), (lag, [2, 4, 8, 16]),
    (swap_at_even_steps, [2, 0, 4, 2]), (rotate, [1, 2, 2, 3]),
    (normed_shift, [1, 2, 4, 8]), (shift_after_total, [1, 2, 4, 8]),
]
# fmt: on


def opaque(rule):
    """The same rule with a call that cannot be traced: it runs in the loop engine, rule by rule."""

    def untraced(g):
        return dict(g=g.clone())

    return [untraced, rule]


def taken(steps, engine):
    """p after each step."""
    w = torch.ones(3, requires_grad=True)
    optimizer = Optimizer([w], steps=steps, engine=engine)
    found = []
    for g in GRADS:
        w.grad = torch.full((3,), g)
        optimizer.step()
        found.append(w[0].item())
    return found


@pytest.mark.parametrize("engine", ["loop", "foreach", "fused"])
@pytest.mark.parametrize(("rule", "wanted"), ROWS, ids=[row[0].__name__ for row in ROWS])
def test_a_step_reads_old_values(rule, wanted, engine):
    assert taken([rule], engine) == wanted


@pytest.mark.filterwarnings("ignore:untraced uses .clone")
@pytest.mark.parametrize(("rule", "wanted"), ROWS[:-1], ids=[row[0].__name__ for row in ROWS[:-1]])
def test_an_untraceable_step_reads_old_values(rule, wanted):
    assert taken(opaque(rule), "auto") == wanted


@pytest.mark.parametrize("engine", ["loop", "foreach", "fused"])
def test_slots_that_are_each_others_transpose_keep_apart(engine):
    def rule(p, left=zeros_left, right=zeros_left):
        return dict(p=p + left @ p, left=transpose(right) + 0, right=transpose(left))

    w = torch.eye(2, requires_grad=True)
    w.grad = torch.zeros(2, 2)
    optimizer = Optimizer([w], steps=[rule], engine=engine)
    optimizer.init_state()
    state = optimizer.state[w]
    state["left"].copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    state["right"].copy_(torch.tensor([[5.0, 6.0], [7.0, 8.0]]))
    optimizer.step()
    found = state["left"].tolist(), state["right"].tolist()
    assert found == ([[5.0, 7.0], [6.0, 8.0]], [[1.0, 3.0], [2.0, 4.0]])


@pytest.mark.parametrize("engine", ["loop", "foreach", "fused"])
def test_a_gradient_that_becomes_a_slot_is_copied(engine):
    def rule(p, g, last=zeros, start=copy_of_p):
        return dict(p=p - g + 0 * (last + start), last=g)

    w = torch.ones(3, requires_grad=True)
    w.grad = torch.ones(3)
    optimizer = Optimizer([w], steps=[rule], engine=engine)
    optimizer.step()
    w.grad.zero_()
    assert optimizer.state[w]["last"].tolist() == [1.0] * 3


@pytest.mark.parametrize("engine", ["loop", "foreach", "fused"])
def test_a_slot_that_becomes_the_parameter_is_copied(engine):
    def rule(p, g, start=copy_of_p):
        return dict(p=start, start=start - g)

    w = torch.ones(3, requires_grad=True)
    w.grad = torch.ones(3)
    optimizer = Optimizer([w], steps=[rule], engine=engine)
    optimizer.step()
    assert (w.tolist(), optimizer.state[w]["start"].tolist()) == ([1.0] * 3, [0.0] * 3)
