"""fastai's optimizers: what the originals' own tests check, in float64 and by hand."""

from functools import partial

import numpy as np
import pytest
import torch
from small_params import close, four, numbers, one, vector

from steppers.styles import fastai
from steppers.styles.fastai import (
    Optimizer,
    adam_step,
    average_grad,
    average_sqr_grad,
    debias,
    l2_reg,
    sgd_step,
    step_stat,
    weight_decay,
)

# --- construction -------------------------------------------------------------------------------


def first(p, lr=0, **kwargs):
    return p


def second(p, lr=0, **kwargs):
    return p


def third(p, mom=0, **kwargs):
    return p


def fourth(p, sqr_mom=0, **kwargs):
    return p


first.defaults = dict(lr=1e-2)
second.defaults = dict(lr=1e-1)
third.defaults = dict(mom=0.9)
fourth.defaults = dict(sqr_mom=0.99)


def test_groups_come_from_tensors_and_from_lists_tuples_and_generators_of_them():
    a, b, c = four()[:3]
    forms = [[a, b, c], iter([a, b, c]), [[a, b], [c]], ((p for p in g) for g in ([a, b], [c]))]
    found = [[len(ps) for ps in Optimizer(form, first).param_lists] for form in forms]
    assert found == [[3], [3], [2, 1], [2, 1]]
    assert [len(ps) for ps in Optimizer([(a, b), (c,)], first).param_lists] == [2, 1]
    assert Optimizer(a, first).param_lists[0][0] is a


def test_defaults_are_gathered_and_given_ones_win():
    assert Optimizer(four(), first).hypers == [{"lr": 1e-2}]
    assert Optimizer(four(), first, lr=0.1).hypers == [{"lr": 0.1}]
    assert Optimizer([four()[:2], four()[2:]], first).hypers == [{"lr": 1e-2}] * 2
    merged = Optimizer(four(), [first, third, fourth]).hypers
    assert merged == [{"lr": 1e-2, "mom": 0.9, "sqr_mom": 0.99}]


def test_the_last_callback_wins_and_of_steppers_the_first():
    assert Optimizer(four(), [first, second]).hypers == [{"lr": 0.1}]
    assert Optimizer(four(), steppers=[first, second]).hypers == [{"lr": 0.01}]


def test_defaults_of_partials_count_and_what_they_bind_is_the_default():
    cbs = [partial(average_grad, dampening=True), partial(adam_step, eps=1e-3)]
    assert Optimizer(four(), cbs).hypers == [{"mom": 0.9, "eps": 1e-3}]


def test_defaults_under_the_unread_attribute_count():
    def stepper(p, eps, **kwargs):
        return p

    stepper._defaults = dict(eps=0.5)
    assert Optimizer(four(), stepper).hypers == [{"eps": 0.5}]


def test_one_dict_of_hypers_a_group_is_independent():
    optimizer = Optimizer([four()[:2], four()[2:]], sgd_step, lr=0.1)
    optimizer.hypers[0]["lr"] = 0.01
    assert optimizer.hypers == [{"lr": 0.01}, {"lr": 0.1}]


@pytest.mark.parametrize(
    ("groups", "lr", "expected"),
    [
        (2, [0.1, 0.2], [0.1, 0.2]),
        (2, (0.1, 0.2), [0.1, 0.2]),
        (3, slice(1e-2), [1e-3, 1e-3, 1e-2]),
        (3, slice(1e-4, 1e-2), [1e-4, 1e-3, 1e-2]),
        (3, slice(None, 1e-2), [1e-3, 1e-3, 1e-2]),
        (1, slice(1e-4, 1e-2), [1e-2]),
        (2, [0.5], [0.5, 0.5]),
        (2, np.array([0.1, 0.2]), [0.1, 0.2]),
    ],
)
def test_values_are_shared_out_when_made_and_when_set(groups, lr, expected):
    lists = [[one(i)] for i in range(groups)]
    made = Optimizer(lists, sgd_step, lr=lr)
    assert [h["lr"] for h in made.hypers] == pytest.approx(expected)
    made = Optimizer(lists, sgd_step, lr=0.0)
    made.set_hyper("lr", lr)
    assert [h["lr"] for h in made.hypers] == pytest.approx(expected)


def test_two_values_for_three_groups_are_an_error():
    lists = [[one(i)] for i in range(3)]
    with pytest.raises(ValueError, match="Optimizer: lr: got 2 values for 3 groups"):
        Optimizer(lists, sgd_step, lr=np.array([0.1, 0.2]))
    optimizer = Optimizer(lists, sgd_step, lr=0.1)
    with pytest.raises(ValueError, match="lr: got 2 values for 3 groups"):
        optimizer.set_hyper("lr", np.array([0.1, 0.2]))


def test_hypers_may_be_texts():
    def stepper(p, mode="a", **kwargs):
        return p

    optimizer = Optimizer([[one(1)], [one(2)]], stepper, mode="fast")
    optimizer.set_hyper("mode", "slow")
    assert optimizer.hypers == [{"mode": "slow"}] * 2


def test_a_parameter_has_hypers_of_its_own_as_a_group_of_its_own():
    params = four()
    optimizer = Optimizer([[p] for p in params], sgd_step, lr=[0.0, 0.1, 0.2, 0.3])
    optimizer.step()
    assert numbers(params) == close(0, 1 - 0.01, 2 - 0.04, 3 - 0.09)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: Optimizer(p, [sgd_step], lr=0.1, mim=0.9), "no hyper-parameter 'mim'; did you"),
        (lambda p: Optimizer(p, [sgd_step], lr=0.1, quux=1), "it has lr, mom, wd"),
        (lambda p: Optimizer(p), "give callbacks, or steppers=, and not both"),
        (lambda p: Optimizer(p, sgd_step, steppers=sgd_step), "and not both"),
        (lambda p: Optimizer(p, [sgd_step, 3]), r"wants functions, got 3 \(int\)"),
        (lambda p: Optimizer(p, 3), "wants a function or a list of functions, got 3"),
        (lambda p: fastai.SGD(p, lr=0.1, mon=0.9), "mon"),
        (lambda p: fastai.SGD(p, lr="fast"), "lr must be a number, got 'fast'"),
    ],
)
def test_what_is_wrong_is_said_when_it_is_made(make, says):
    with pytest.raises(TypeError, match=says):
        make(four())


def test_without_strictness_and_for_callbacks_that_read_anything_names_are_free():
    assert Optimizer(four(), sgd_step, strict=False, lr=0.1, mim=1).hypers[0]["mim"] == 1
    reads = Optimizer(four(), lambda p, **kwargs: p, anything=3)
    reads.set_hyper("more", 4)
    assert reads.hypers == [{"anything": 3, "more": 4}]
    with pytest.raises(ValueError, match="lr must be >= 0, got -1"):
        reads.set_hyper("lr", -1)


def test_setting_an_unknown_hyper_is_an_error():
    with pytest.raises(TypeError, match="Optimizer has no hyper-parameter 'mim'; did you mean"):
        fastai.SGD(four(), lr=0.1).set_hyper("mim", 0.9)


def test_a_value_out_of_range_is_an_error_under_its_own_name():
    with pytest.raises(ValueError, match=r"Optimizer: sqr_mom must be in \[0, 1\), got 1.0"):
        fastai.Adam(four(), lr=0.1, sqr_mom=1.0)
    with pytest.raises(ValueError, match="lr must be >= 0, got nan"):
        fastai.Adam(four(), lr=float("nan"))
    assert fastai.Optimizer(four(), sgd_step, lr=-0.1, strict=False).hypers == [{"lr": -0.1}]


def test_train_bn_warns_and_changes_nothing():
    with pytest.warns(UserWarning, match="train_bn has no effect here"):
        optimizer = Optimizer(four(), sgd_step, train_bn=False, lr=0.1)
    assert optimizer.hypers == [{"lr": 0.1}]


# --- callbacks one by one -----------------------------------------------------------------------


def test_sgd_step_moves_the_parameter_alone():
    p = one(1, 0.1)
    sgd_step(p, 1.0)
    assert (p.item(), p.grad.item()) == (pytest.approx(0.9), pytest.approx(0.1))


def test_weight_decay_moves_the_parameter_and_l2_reg_the_gradient():
    p = one(1, 0.1)
    weight_decay(p, 1.0, 0.1)
    assert (p.item(), p.grad.item()) == (pytest.approx(0.9), pytest.approx(0.1))
    p = one(1, 0.1)
    l2_reg(p, 1.0, 0.1)
    assert (p.item(), p.grad.item()) == (pytest.approx(1.0), pytest.approx(0.2))


@pytest.mark.parametrize("decay", [weight_decay, l2_reg])
def test_decay_leaves_flagged_parameters_alone(decay):
    p = one(1, 0.1)
    decay(p, 1.0, 0.1, do_wd=False)
    assert (p.item(), p.grad.item()) == (1.0, 0.1)


def test_average_grad_is_undampened_unless_asked():
    p = vector()
    state = average_grad(p, mom=0.9)
    assert torch.allclose(state["grad_avg"], p.grad)
    state = average_grad(p, mom=0.9, **state)
    assert torch.allclose(state["grad_avg"], p.grad * 1.9)
    state = average_grad(p, mom=0.9, dampening=True)
    assert torch.allclose(state["grad_avg"], 0.1 * p.grad)
    state = average_grad(p, mom=0.9, dampening=True, **state)
    assert torch.allclose(state["grad_avg"], (0.1 * 0.9 + 0.1) * p.grad)


def test_average_sqr_grad_is_dampened_unless_asked():
    p = vector()
    state = average_sqr_grad(p, sqr_mom=0.99, dampening=False)
    assert torch.allclose(state["sqr_avg"], p.grad**2)
    state = average_sqr_grad(p, sqr_mom=0.99, dampening=False, **state)
    assert torch.allclose(state["sqr_avg"], p.grad**2 * 1.99)
    state = average_sqr_grad(p, sqr_mom=0.99)
    assert torch.allclose(state["sqr_avg"], 0.01 * p.grad**2)
    state = average_sqr_grad(p, sqr_mom=0.99, **state)
    assert torch.allclose(state["sqr_avg"], (0.01 * 0.99 + 0.01) * p.grad**2)


def test_averages_are_updated_in_place():
    p = vector()
    held = average_grad(p, mom=0.9)["grad_avg"]
    assert average_grad(p, mom=0.9, grad_avg=held)["grad_avg"] is held


def test_step_stat_counts_from_one():
    p, state = one(1, 0.1), {}
    state = step_stat(p, **state)
    assert state == {"step": 1}
    for _ in range(5):
        state = step_stat(p, **state)
    assert state == {"step": 6}


def test_debias_is_the_sum_of_the_weights():
    assert debias(0.9, 0.1, 3) == pytest.approx(1 - 0.9**3)
    assert debias(0.9, 1.0, 3) == pytest.approx(1 + 0.9 + 0.81)
    assert debias(1.0, 1.0, 3) == 3


def test_callbacks_called_outside_a_step_let_autograd_see_the_change():
    p = one(2, 0.5)
    loss = (p * p).sum()
    sgd_step(p, 1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_callback_without_a_gradient_says_so():
    with pytest.raises(RuntimeError, match="a parameter without a gradient"):
        sgd_step(one(1), 0.1)
