"""fastai's optimizers with bad input, odd parameters and changes in the middle of training."""

from functools import partial

import numpy as np
import pytest
import torch
from small_params import RATE, close, numbers, one
from torch import nn

from steppers.styles import fastai
from steppers.styles.fastai import (
    Lookahead,
    Optimizer,
    OptimWrapper,
    StatefulOptimizer,
    average_grad,
    draft,
    l2_reg,
    sgd_step,
)

FACTORIES = ("SGD", "RMSProp", "Adam", "RAdam", "QHAdam", "Larc", "Lamb", "ranger")

# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize(
    ("value", "kind", "says"),
    [
        (None, TypeError, "lr must be a number, got None"),
        (True, TypeError, "lr must be a number, got True"),
        ("fast", TypeError, "lr must be a number, got 'fast'"),
        (1j, TypeError, "lr must be a number, got 1j"),
        ({"a": 1}, TypeError, "lr must be a number, got {'a': 1}"),
        (-0.1, ValueError, "lr must be >= 0, got -0.1"),
        (float("nan"), ValueError, "lr must be >= 0, got nan"),
        (np.float32(-1), ValueError, "lr must be >= 0"),
        (torch.tensor(-1.0), ValueError, "lr must be >= 0"),
        ([0.1, 0.2], ValueError, "lr: got 2 values for 1 group"),
        (slice(-1.0, 1.0), ValueError, "must have the same sign"),
        (slice(None), ValueError, "wants slice"),
    ],
)
def test_a_rate_that_is_none_is_an_error_when_made_and_when_set(name, value, kind, says):
    make = getattr(fastai, name)
    with pytest.raises(kind, match=says):
        make([one(1)], lr=value)
    optimizer = make([one(1)], lr=RATE)
    with pytest.raises(kind, match=says):
        optimizer.set_hyper("lr", value)
    assert optimizer.hypers[0]["lr"] == RATE


@pytest.mark.parametrize("name", FACTORIES)
def test_every_factory_takes_what_the_optimizer_takes(name):
    make = getattr(fastai, name)
    with pytest.raises(TypeError, match="no hyper-parameter 'mon'; did you mean 'mom'"):
        make([one(1)], lr=RATE, mon=0.9)
    optimizer = make([one(1)], lr=-RATE, mon=0.9, strict=False, keep_grads=False)
    assert (optimizer.hypers[0]["lr"], optimizer.hypers[0]["mon"]) == (-RATE, 0.9)
    assert (optimizer.strict, optimizer.keep_grads) == (False, False)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda p: fastai.QHAdam(p, lr=RATE, nu_2=1.5), r"nu_2 must be in \[0, 1\], got 1.5"),
        (lambda p: fastai.RAdam(p, lr=RATE, beta=-1.0), "beta must be >= 0, got -1.0"),
        (lambda p: fastai.RAdam(p, lr=RATE, beta=float("nan")), "beta must be >= 0, got nan"),
        (lambda p: fastai.Larc(p, lr=RATE, trust_coeff=0.0), "trust_coeff must be > 0, got 0.0"),
        (lambda p: fastai.Adam(p, lr=RATE, eps=-1e-8), "eps must be >= 0, got -1e-08"),
        (lambda p: fastai.Lamb(p, lr=RATE, sqr_mom=1.5), r"sqr_mom must be in \[0, 1\), got 1.5"),
    ],
)
def test_other_values_out_of_range_are_errors_too(make, says):
    with pytest.raises(ValueError, match=says):
        make([one(1)])


@pytest.mark.parametrize("options", [{"k": 0}, {"k": "6"}, {"k": 2.5}, {"k": float("nan")}])
def test_lookahead_meets_after_whole_steps(options):
    with pytest.raises(ValueError, match="Lookahead: k must be a whole number from 1 on, got"):
        Lookahead(fastai.SGD([one(1)], lr=RATE), **options)


@pytest.mark.parametrize("alpha", [-0.1, 1.5, None, "a", float("nan")])
def test_lookahead_goes_some_of_the_way(alpha):
    with pytest.raises(ValueError, match=r"Lookahead: alpha must be a number in \[0, 1\], got"):
        Lookahead(fastai.SGD([one(1)], lr=RATE), alpha=alpha)


def test_a_gradient_is_left_changed_by_a_factory_that_is_told_to():
    p = one(1, 0.1)
    fastai.SGD([p], lr=RATE, wd=0.1, decouple_wd=False, keep_grads=False).step()
    assert p.grad.item() == pytest.approx(0.2)


@pytest.mark.parametrize("make", [fastai.SGD, partial(OptimWrapper, opt=torch.optim.SGD)])
@pytest.mark.parametrize("wrong", [{"mim": 1}, {"wd": -1.0}, {"mom": [0.1] * 3}, {"wd": None}])
def test_of_several_hypers_none_is_set_if_one_is_wrong(make, wrong):
    optimizer = make([[one(1)], [one(2)]], lr=RATE)
    before = [dict(h) for h in optimizer.hypers]
    with pytest.raises((TypeError, ValueError, KeyError)):
        optimizer.set_hypers(lr=0.5, **wrong)
    assert optimizer.hypers == before


def test_a_wrapped_hyper_is_checked_by_what_it_is_in_torch():
    wrapped = OptimWrapper([one(1)], torch.optim.Adam, lr=RATE)
    with pytest.raises(ValueError, match=r"OptimWrapper: mom must be in \[0, 1\), got 1.0"):
        wrapped.set_hyper("mom", 1.0)
    with pytest.raises(ValueError, match="lr must be >= 0, got -1"):
        wrapped.hypers[0]["lr"] = -1
    named = OptimWrapper([one(1)], torch.optim.SGD, {"lr": "rate"}, lr=RATE)
    with pytest.raises(ValueError, match="rate must be >= 0, got -1"):
        named.set_hyper("rate", -1)
    assert wrapped.opt.param_groups[0]["betas"] == (0.9, 0.999)


@pytest.mark.parametrize("mom", [[0.9, 0.0], (0.0, 0.9), slice(0.5, 0.9), slice(0.9)])
@pytest.mark.parametrize("name", ["SGD", "RMSProp", "Larc"])
def test_momentum_of_any_group_adds_the_average(name, mom):
    make = getattr(fastai, name)
    for given in (mom, np.array([0.9, 0.8]), torch.tensor([0.0, 0.9])):
        optimizer = make([[one(1)], [one(2)]], lr=RATE, mom=given)
        assert average_grad in optimizer.cbs
    for given in (0.0, [0.0, 0.0], np.zeros(2), torch.zeros(2), 0):
        assert average_grad not in make([[one(1)], [one(2)]], lr=RATE, mom=given).cbs


def test_momentum_of_a_groups_own_adds_the_average():
    a, b = one(1, 0.1), one(1, 0.1)
    optimizer = fastai.SGD([{"params": [a], "mom": 0.9}, {"params": b}], lr=RATE)
    optimizer.step()
    optimizer.step()
    assert numbers([a, b]) == close(1 - 0.1 * 0.29, 0.98)


# --- callbacks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cbs", [{sgd_step}, {"a": sgd_step}, "sgd", 3, [None], [sgd_step, "x"]])
def test_what_is_no_ordered_list_of_functions_is_an_error(cbs):
    with pytest.raises(TypeError, match=r"Optimizer: wants (a function or a list of )?functions"):
        Optimizer([one(1)], cbs, lr=RATE)
    with pytest.raises(TypeError, match="wants"):
        StatefulOptimizer([one(1)], cbs, lr=RATE)


def test_defaults_that_are_no_dict_are_an_error():
    def stepper(p, lr, **kwargs):
        return p

    stepper.defaults = ["lr"]
    with pytest.raises(TypeError, match=r"the defaults of stepper must be a dict, got \['lr'\]"):
        Optimizer([one(1)], stepper)


def test_a_hyper_with_a_name_of_torchs_is_refused_when_made():
    with pytest.raises(TypeError, match="torch keeps notes in a group under 'min_lr'; rename it"):
        Optimizer([one(1)], lambda p, lr, min_lr, **_: None, lr=RATE, min_lr=0.0)


@pytest.mark.parametrize("found", [None, 3, "text", [1], (1, 2), torch.ones(1)])
def test_what_is_no_dict_leaves_the_state_alone(found):
    p = one(1, 0.1)
    optimizer = Optimizer([p], [lambda p, **_: {"kept": 1}, lambda p, **_: found])
    optimizer.step()
    assert optimizer.state[p] == {"kept": 1}


def test_a_stat_that_forgets_the_state_is_named_before_any_stepper_runs():
    p = one(1, 0.1)
    optimizer = StatefulOptimizer([p], sgd_step, lambda state, p, **_: None, lr=RATE)
    with pytest.raises(TypeError, match="a stat must return the state, a dict, got None"):
        optimizer.step()
    assert p.item() == 1.0


def test_a_stat_that_expects_state_it_did_not_make_fails_as_in_the_draft():
    def average(state, p, mom, **kwargs):
        state["avg"].mul_(mom)
        return state

    with pytest.raises(KeyError, match="avg"):
        StatefulOptimizer([one(1, 0.1)], sgd_step, average, lr=RATE, mom=0.9).step()


def test_flags_reach_coupled_decay_in_the_draft():
    a, b = one(1, 0.1), one(1, 0.1)
    hypers = dict(lr=RATE, mom=0.9, wd=0.1)
    optimizer = StatefulOptimizer([a, b], [l2_reg, sgd_step], draft.average_grad, **hypers)
    optimizer.state[a]["do_wd"] = False
    optimizer.step()
    assert numbers([a, b]) == close(0.99, 0.98)


def test_without_stats_the_drafts_steppers_run_in_the_order_given():
    p = one(1, 0.1)
    draft.Optimizer([p], [sgd_step, l2_reg], lr=RATE, wd=0.1).step()
    assert p.item() == pytest.approx(0.99)


def test_the_draft_leaves_gradients_changed_if_told_to():
    p, q = one(1, 0.1), one(1, 0.1)
    draft.Optimizer([p], l2_reg, lr=1.0, wd=0.1, keep_grads=False).step()
    draft.Optimizer([q], l2_reg, lr=1.0, wd=0.1).step()
    assert (p.item(), p.grad.item(), q.grad.item()) == (1.0, pytest.approx(0.2), 0.1)


def test_a_stepper_of_the_draft_may_return_the_data():
    def change(p, wd, **kwargs):
        p.grad.data.add_(p.data, alpha=wd)
        return p.data

    change.on_gradient = True

    def look(p, **kwargs):
        return p.add_(1.0)

    p = one(1, 0.1)
    optimizer = StatefulOptimizer([p], [change, look], draft.step_stat, wd=0.1)
    optimizer.step()
    assert (p.item(), dict(optimizer.state)) == (2.0, {p: {"step": 1}})


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Adam", "RMSProp", "SGD"])
def test_a_complex_parameter_is_a_pair_of_numbers_as_in_torch(name):
    start = torch.tensor([1 + 2j, -1 - 0.5j], dtype=torch.complex128)
    p, q = (start.clone().requires_grad_() for _ in range(2))
    theirs = {
        "Adam": partial(torch.optim.Adam, lr=RATE, betas=(0.9, 0.99), eps=1e-5),
        "RMSProp": partial(torch.optim.RMSprop, lr=RATE, alpha=0.99, eps=1e-8),
        "SGD": partial(torch.optim.SGD, lr=RATE, momentum=0.9),
    }[name]([q])
    mom = {"SGD": {"mom": 0.9}}.get(name, {})
    ours = getattr(fastai, name)([p], lr=RATE, wd=0.0, **mom)
    for grad in torch.randn(5, 2, dtype=torch.complex128):
        p.grad, q.grad = grad.conj(), grad.conj().resolve_conj()
        ours.step()
        theirs.step()
    assert torch.allclose(p, q, rtol=1e-12)
    assert ours.state_dict()["state"][0].keys() <= {"grad_avg", "sqr_avg", "step"}


@pytest.mark.parametrize("name", ["RAdam", "QHAdam", "Lamb", "Larc"])
def test_a_complex_parameter_moves_as_the_same_numbers_in_a_real_one(name):
    p = torch.tensor([1 + 2j, -1 - 0.5j], dtype=torch.complex128, requires_grad=True)
    q = torch.view_as_real(p.detach()).clone().requires_grad_()
    pair = [getattr(fastai, name)([each], lr=RATE) for each in (p, q)]
    for grad in torch.randn(8, 2, dtype=torch.complex128):
        p.grad, q.grad = grad.clone(), torch.view_as_real(grad).clone()
        for optimizer in pair:
            optimizer.step()
    assert torch.allclose(torch.view_as_real(p), q, rtol=1e-12)


def test_sparse_gradients_are_refused_by_all_before_anything_moves():
    table = nn.Embedding(3, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    for name in FACTORIES:
        p = one(1, 0.1)
        with pytest.raises(RuntimeError, match="does not support sparse gradients"):
            getattr(fastai, name)([p, table.weight], lr=RATE).step()
        assert p.item() == 1.0


@pytest.mark.parametrize("name", FACTORIES)
def test_a_step_without_any_gradient_does_nothing(name):
    params = [one(1), one(2)]
    optimizer = getattr(fastai, name)(params, lr=RATE)
    optimizer.step()
    assert numbers(params) == [1.0, 2.0]
    assert not optimizer.state


def test_a_group_may_be_empty():
    a = one(1, 0.1)
    optimizer = fastai.SGD([[], [a]], lr=[0.5, 1.0])
    optimizer.freeze()
    optimizer.step()
    assert (a.item(), [len(ps) for ps in optimizer.param_lists]) == (0.9, [0, 1])


def test_a_parameter_twice_is_warned_of_as_by_torch():
    p = one(1)
    with pytest.warns(UserWarning, match="duplicate parameters"):
        fastai.SGD([p, p], lr=RATE)
    with pytest.raises(ValueError, match="more than one parameter group"):
        fastai.SGD([[p], [p]], lr=RATE)
