"""The first drafts' form, as people wrote it, deprecated spellings included."""

import pytest
import torch

from steppers.styles.fastai import Optimizer as Final
from steppers.styles.fastai import StatefulOptimizer, draft, l2_reg, momentum_step, weight_decay
from steppers.styles.fastai import sgd_step as ours

OLD = "ignore:This overload of add:UserWarning"


def one(value, grad=None):
    p = torch.tensor([float(value)], dtype=torch.float64, requires_grad=True)
    if grad is not None:
        p.grad = torch.tensor([float(grad)], dtype=torch.float64)
    return p


def four():
    return [one(i, i / 10) for i in range(4)]


def numbers(params):
    return [p.item() for p in params]


def close(*expected):
    return pytest.approx(list(expected), abs=1e-5)


# --- what a user of the drafts wrote ------------------------------------------------------------


def sgd_step(p, lr, **kwargs):
    p.data.add_(-lr, p.grad.data)
    return p


def shrink(p, lr, wd, **kwargs):
    p.data.mul_(1 - lr * wd)
    return p


shrink.defaults = dict(wd=0.0)


def to_gradient(p, lr, wd, **kwargs):
    p.grad.data.add_(wd, p.data)
    return p


to_gradient.defaults = dict(wd=0.0)


def running_sum(state, p, mom, **kwargs):
    if "sum" not in state:
        state["sum"] = torch.zeros_like(p)
    state["sum"].add_(p.data)
    return state


running_sum.defaults = dict(mom=0.9)


def keep(p, **kwargs):
    return p


@pytest.mark.filterwarnings(OLD)
def test_steppers_by_position_run_as_they_were_written():
    params = four()
    optimizer = draft.Optimizer(params, [shrink, sgd_step], lr=0.1, wd=0.1)
    optimizer.step()
    assert numbers(params) == close(*(0.98 * i for i in range(4)))
    assert optimizer.hypers == [dict(wd=0.1, lr=0.1)]


@pytest.mark.filterwarnings(OLD)
def test_the_same_steppers_run_by_name_in_the_final_optimizer():
    params = four()
    Final(params, steppers=[shrink, sgd_step], lr=0.1, wd=0.1).step()
    assert numbers(params) == close(*(0.98 * i for i in range(4)))


@pytest.mark.filterwarnings(OLD)
def test_one_function_stands_for_a_list():
    params = four()
    optimizer = draft.Optimizer(params, sgd_step, lr=0.1)
    optimizer.step()
    optimizer.step()
    assert numbers(params) == close(*(0.98 * i for i in range(4)))
    state = StatefulOptimizer([one(2, 1)], keep, running_sum)
    state.step()


@pytest.mark.filterwarnings(OLD)
def test_a_users_coupled_decay_changes_gradients_in_place_as_it_says():
    p = one(1, 0.1)
    draft.Optimizer([p], [to_gradient], lr=1.0, wd=0.1).step()
    assert (p.item(), p.grad.item()) == (1.0, pytest.approx(0.2))


@pytest.mark.filterwarnings("ignore:This overload of addc:UserWarning")
@pytest.mark.filterwarnings(OLD)
def test_the_other_deprecated_spellings_run():
    def adam(p, lr, grad_avg=None, sqr_avg=None, **kwargs):
        average, square = torch.zeros_like(p), torch.zeros_like(p)
        average.mul_(0.9).add_(0.1, p.grad.data)
        square.mul_(0.99).addcmul_(0.01, p.grad.data, p.grad.data)
        p.data.addcdiv_(-lr, average / 0.1, (square / 0.01).sqrt() + 1e-8)
        return p

    p = one(1, 0.5)
    draft.Optimizer([p], adam, lr=0.1).step()
    assert p.item() == pytest.approx(0.9, abs=1e-6)


def test_a_running_sum_is_a_stat_with_a_default():
    p = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
    p.grad = torch.zeros(3)
    optimizer = StatefulOptimizer([p], [keep], stats=[running_sum])
    assert optimizer.hypers == [{"mom": 0.9}]
    assert optimizer.state == {}
    optimizer.step()
    assert optimizer.state[p]["sum"].tolist() == [1, 2, 3]
    optimizer.step()
    assert optimizer.state[p]["sum"].tolist() == [2, 4, 6]
    assert StatefulOptimizer([p], keep, running_sum, mom=0.99).hypers == [{"mom": 0.99}]


def test_a_stat_may_return_a_new_state():
    def count(state, p, **kwargs):
        return {"count": state.get("count", 0) + 1}

    p = one(1, 0.1)
    optimizer = StatefulOptimizer([p], keep, count)
    optimizer.step()
    optimizer.step()
    assert optimizer.state[p] == {"count": 2}


# --- defaults, groups, gradients ----------------------------------------------------------------


def with_default(rate):
    def function(p, lr=0, **kwargs):
        return p

    function.defaults = dict(lr=rate)
    return function


def test_the_first_stepper_wins_and_stats_come_before_steppers():
    assert draft.Optimizer(four(), [with_default(1), with_default(2)]).hypers == [{"lr": 1}]
    assert draft.Optimizer(four(), [with_default(1)], lr=3).hypers == [{"lr": 3}]

    def stat(state, p, lr, **kwargs):
        return state

    stat.defaults = dict(lr=5)
    assert StatefulOptimizer(four(), with_default(1), stat).hypers == [{"lr": 5}]


def test_grad_params_pairs_each_parameter_with_its_groups_own_hypers():
    params = four()
    optimizer = draft.Optimizer([params[:2], params[2:]], ours, lr=0.1)
    optimizer.hypers[0]["lr"] = 0.01
    pairs = optimizer.grad_params()
    assert [p for p, _ in pairs] == params
    assert numbers(p for p, _ in pairs) == [0, 1, 2, 3]
    assert [hyper["lr"] for _, hyper in pairs] == [0.01, 0.01, 0.1, 0.1]
    params[1].grad = None
    assert [p for p, _ in optimizer.grad_params()] == [params[0], params[2], params[3]]
    optimizer.step()
    assert numbers(params) == close(0, 1, 1.98, 2.97)


def test_zero_grad_zeroes_in_place():
    params = four()
    grads = [p.grad for p in params]
    draft.Optimizer(params, ours, lr=0.1).zero_grad()
    assert all(p.grad is g and not g.any() for p, g in zip(params, grads, strict=True))


# --- where the drafts are mended, and the option that gives their own ---------------------------


@pytest.mark.parametrize(("stats_first", "expected"), [(False, 0.9602), (True, 0.97)])
def test_coupled_decay_reaches_momentum_unless_stats_come_first(stats_first, expected):
    params = four()
    decoupled = [weight_decay, momentum_step]
    hypers = dict(lr=0.1, mom=0.9, wd=0.1)
    StatefulOptimizer(params, decoupled, draft.average_grad, **hypers).step()
    assert numbers(params) == close(*(0.98 * i for i in range(4)))
    coupled = [l2_reg, momentum_step]
    StatefulOptimizer(params, coupled, draft.average_grad, stats_first=stats_first, **hypers).step()
    assert numbers(params) == close(*(expected * i for i in range(4)))


def test_gradients_are_put_back_after_coupled_decay():
    p = one(1, 0.1)
    optimizer = draft.Optimizer([p], [l2_reg, ours], lr=0.1, wd=0.1)
    optimizer.step()
    assert (p.item(), p.grad.item()) == (pytest.approx(0.98), 0.1)


def test_one_name_in_state_and_hypers_is_an_error_unless_the_hyper_wins():
    def stat(state, p, **kwargs):
        return {"mom": 5}

    seen = []

    def look(p, mom, **kwargs):
        seen.append(mom)
        return p

    with pytest.raises(TypeError, match="'mom' is in the state and a hyper-parameter; rename one"):
        StatefulOptimizer([one(1, 1)], look, stat, mom=0.9).step()
    StatefulOptimizer([one(1, 1)], look, stat, mom=0.9, clash="hyper").step()
    assert seen == [0.9]


def test_momentum_of_the_draft_is_finished():
    params = four()
    optimizer = StatefulOptimizer(params, momentum_step, draft.average_grad, lr=0.1)
    optimizer.step()
    optimizer.step()
    assert numbers(params) == close(*(i * 0.971 for i in range(4)))


@pytest.mark.parametrize("name", ["SGD", "RMSProp", "Adam", "Larc", "Lamb"])
def test_the_drafts_factories_take_true_wd(name):
    sides = [one(1, 0.1), one(1, 0.1), one(1, 0.1)]
    made = getattr(draft, name)
    for side, option in zip(sides, ({"true_wd": True}, {"true_wd": False}, {}), strict=True):
        optimizer = made([side], lr=0.1, mom=0.9, wd=0.1, **option)
        optimizer.step()
        optimizer.step()  # a first step of plain momentum is the same
    assert sides[0].item() == sides[2].item() != sides[1].item()


# --- errors -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: draft.Optimizer([one(1)], ours, lr=1, mim=1), "no hyper-parameter 'mim'"),
        (lambda: draft.Optimizer([one(1)], [3], lr=1), "wants functions, got 3"),
        (lambda: draft.Optimizer([one(1, 1)], lambda p, **k: None).step(), "returned None; a ste"),
        (
            lambda: StatefulOptimizer([one(1, 1)], keep, lambda state, p, **k: None).step(),
            "a stat must return the state, a dict, got None",
        ),
    ],
)
def test_what_is_wrong_is_said(make, says):
    with pytest.raises(TypeError, match=says):
        make()


def test_a_clash_is_one_of_two_things():
    with pytest.raises(ValueError, match="clash must be 'error' or 'hyper', got 'state'"):
        StatefulOptimizer([one(1)], keep, clash="state")


def test_a_state_of_the_draft_is_saved_and_loaded():
    p, q = one(1, 0.1), one(1, 0.1)
    optimizer = StatefulOptimizer([p], momentum_step, draft.average_grad, lr=0.1)
    other = StatefulOptimizer([q], momentum_step, draft.average_grad, lr=0.5)
    optimizer.step()
    with torch.no_grad():
        q.copy_(p)
    other.load_state_dict(optimizer.state_dict())
    optimizer.step()
    other.step()
    assert torch.equal(p, q)
