"""fastai's ready-made optimizers step as the originals' own tests and the formulas say."""

import math

import pytest
import torch
from small_params import RATE, close, four, numbers, one, vector

from steppers.styles import fastai
from steppers.styles.fastai import (
    Optimizer,
    average_sqr_grad,
    l2_reg,
    larc_layer_lr,
    momentum_step,
    rms_prop_step,
    sgd_step,
    weight_decay,
)


def test_sgd_takes_two_steps():
    params = four()
    optimizer = fastai.SGD(params, lr=RATE)
    optimizer.step()
    assert numbers(params) == close(*(0.99 * i for i in range(4)))
    optimizer.step()
    assert numbers(params) == close(*(0.98 * i for i in range(4)))


def test_decay_comes_before_the_step():
    params = four()
    Optimizer(params, [weight_decay, sgd_step], lr=RATE, wd=0.1).step()
    assert numbers(params) == close(*(0.98 * i for i in range(4)))


def test_parameters_without_a_gradient_stay():
    params = four()
    params[-1].grad = None
    fastai.SGD(params, lr=RATE).step()
    assert numbers(params) == close(0, 0.99, 1.98, 3)


def test_groups_have_their_own_rates():
    params = four()
    fastai.SGD([params[:2], params[2:]], lr=[0.01, 0.1]).step()
    assert numbers(params) == close(0, 0.999, 1.98, 2.97)


def test_zero_grad_zeroes_in_place_unless_told_otherwise():
    params = four()
    grads = [p.grad for p in params]
    optimizer = fastai.SGD(params, lr=RATE)
    optimizer.zero_grad()
    assert all(p.grad is g and g.item() == 0 for p, g in zip(params, grads, strict=True))
    optimizer.zero_grad(set_to_none=True)
    assert all(p.grad is None for p in params)


def test_what_a_callback_returns_is_seen_by_the_next_in_the_same_step():
    seen = []

    def count(p, count=0, **kwargs):
        return {"count": count + 1}

    def look(p, count, **kwargs):
        seen.append(count)
        return "ignored"

    optimizer = Optimizer([one(1, 1)], [count, look])
    optimizer.step()
    optimizer.step()
    assert seen == [1, 2]


def test_a_hyper_wins_over_state_of_its_name():
    seen = []

    def stepper(p, mom, **kwargs):
        seen.append(mom)
        return {"mom": 5}

    optimizer = Optimizer([one(1, 1)], stepper, mom=0.9)
    optimizer.step()
    optimizer.step()
    assert seen == [0.9, 0.9]


def test_momentum_takes_two_steps():
    params = four()
    optimizer = fastai.SGD(params, lr=RATE, mom=0.9)
    optimizer.step()
    optimizer.step()
    assert numbers(params) == close(*(i * 0.971 for i in range(4)))
    averages = [optimizer.state[p]["grad_avg"].item() for p in params]
    assert averages == close(*(0.19 * i for i in range(4)))


def test_momentum_with_decoupled_and_with_coupled_decay():
    params = four()
    fastai.SGD(params, lr=RATE, mom=0.9, wd=0.1).step()
    assert numbers(params) == close(*(0.98 * i for i in range(4)))
    fastai.SGD(params, lr=RATE, mom=0.9, wd=0.1, decouple_wd=False).step()
    assert numbers(params) == close(*(0.9602 * i for i in range(4)))


def test_momentum_decided_at_construction_is_not_added_later():
    params = four()
    optimizer = fastai.SGD(params, lr=RATE)
    optimizer.set_hyper("mom", 0.9)
    optimizer.step()
    assert all("grad_avg" not in optimizer.state[p] for p in params)


def test_decay_decided_later_has_effect():
    params = four()
    optimizer = fastai.SGD(params, lr=RATE)
    optimizer.set_hyper("wd", 0.1)
    optimizer.step()
    assert numbers(params) == close(*(0.98 * i for i in range(4)))


def test_coupled_decay_leaves_gradients_as_they_were_unless_asked():
    params = four()
    optimizer = fastai.SGD(params, lr=RATE, wd=0.1, decouple_wd=False)
    grads = [p.grad for p in params]
    optimizer.step()
    optimizer.step()
    expected = 1 - 0.1 * 0.2
    expected -= 0.1 * (0.1 + 0.1 * expected)
    assert numbers(params) == close(*(expected * i for i in range(4)))
    assert all(p.grad is g for p, g in zip(params, grads, strict=True))
    assert numbers(grads) == close(0, 0.1, 0.2, 0.3)
    params = four()
    Optimizer(params, [l2_reg, sgd_step], keep_grads=False, lr=RATE, wd=0.1).step()
    assert numbers(p.grad for p in params) == close(0, 0.2, 0.4, 0.6)


def test_gradients_are_put_back_when_a_callback_fails():
    def fails(p, **kwargs):
        raise KeyboardInterrupt

    p = one(1, 0.1)
    with pytest.raises(KeyboardInterrupt):
        Optimizer([p], [l2_reg, fails], wd=0.1, lr=0.1).step()
    assert p.grad.item() == 0.1


@pytest.mark.parametrize(("mom", "numerator"), [(0.0, 0.1), (0.9, 0.19)])
def test_rmsprop_takes_two_steps(mom, numerator):
    p = vector((1, 2, 3), (0.1, 0.2, 0.3))
    optimizer = fastai.RMSProp([p], lr=RATE, mom=mom)
    optimizer.step()
    assert p.tolist() == close(0, 1, 2, tol=1e-5)
    optimizer.step()
    moved = -0.1 * numerator / (math.sqrt((0.01 * 0.99 + 0.01) * 0.1**2) + 1e-8)
    assert p.tolist() == close(moved, 1 + moved, 2 + moved)
    assert mom or moved == pytest.approx(-0.70888, abs=1e-4)


def test_the_eps_of_rmsprop_is_honoured():
    p = one(1, 0.1)
    fastai.RMSProp([p], lr=RATE, eps=0.01).step()
    assert p.item() == pytest.approx(1 - 0.1 * 0.1 / (0.01 + 0.01))


def test_adam_takes_two_steps():
    p = vector()
    optimizer = fastai.Adam([p], lr=RATE, wd=0.0)
    optimizer.step()
    assert p.tolist() == close(0.9, 1.9, 2.9, tol=1e-3)
    optimizer.step()
    assert p.tolist() == close(0.8, 1.8, 2.8, tol=1e-3)


def test_radam_is_momentum_for_five_steps_and_then_rectified():
    p = vector()
    optimizer = fastai.RAdam([p], lr=RATE)
    for _ in range(5):
        optimizer.step()
    assert p.tolist() == close(0.95, 1.9, 2.85)
    optimizer.step()
    r_inf = 2 / (1 - 0.99) - 1
    r = r_inf - 2 * 6 * 0.99**6 / (1 - 0.99**6)
    v = math.sqrt(((r - 4) * (r - 2) * r_inf) / ((r_inf - 4) * (r_inf - 2) * r))
    assert v == pytest.approx(0.0816792, abs=1e-6)
    assert p.tolist() == close(0.95 - 0.1 * v, 1.9 - 0.1 * v, 2.85 - 0.1 * v)


def test_sadam_puts_a_softplus_over_the_denominator():
    p = one(1, 0.5)
    optimizer = fastai.RAdam([p], lr=RATE, beta=10.0)
    for _ in range(6):
        optimizer.step()
    root = math.log(1 + math.exp(10 * (0.5 + 1e-5))) / 10
    assert p.item() == pytest.approx(1 - 5 * 0.05 - 0.1 * 0.0816792 * 0.5 / root, abs=1e-6)


def test_qhadam_takes_two_steps():
    p = vector()
    optimizer = fastai.QHAdam([p], lr=RATE)
    optimizer.step()
    assert p.tolist() == close(0.9, 1.9, 2.9, tol=1e-3)
    optimizer.step()
    assert p.tolist() == close(0.8, 1.8, 2.8, tol=1e-3)


@pytest.mark.parametrize(
    ("nus", "like"),
    [
        ((1.0, 1.0), dict(mom=0.9, sqr_mom=0.99, eps=1e-8, wd=0.0)),
        ((0.0, 1.0), dict(mom=0.0, sqr_mom=0.99, eps=1e-8, wd=0.0)),
    ],
)
def test_qhadam_is_adam_and_debiased_rmsprop_at_the_ends(nus, like):
    p, q = vector(), vector()
    ours = fastai.QHAdam([p], lr=RATE, mom=0.9, sqr_mom=0.99, nu_1=nus[0], nu_2=nus[1])
    adam = fastai.Adam([q], lr=RATE, **like)
    for grads in torch.randn(6, 3, dtype=torch.float64):
        p.grad, q.grad = grads.clone(), grads.clone()
        ours.step()
        adam.step()
    assert torch.allclose(p, q, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("clip", "local", "expected"),
    [(True, 0.1, [0.999, 1.998, 2.997]), (False, 0.2, [0.998, 1.996, 2.994])],
)
def test_larc_has_rates_of_its_own_at_most_lr_if_clipped(clip, local, expected):
    a, b = vector(), vector(grads=(0.01, 0.02, 0.03))
    optimizer = fastai.Larc([a, b], lr=RATE, clip=clip)
    optimizer.step()
    assert optimizer.state[a]["local_lr"].item() == pytest.approx(0.02, abs=1e-5)
    assert optimizer.state[b]["local_lr"].item() == pytest.approx(local, abs=1e-5)
    assert a.tolist() == close(0.998, 1.996, 2.994)
    assert b.tolist() == close(*expected)


def test_larcs_local_rate_sees_the_decayed_parameter_and_momentum_the_raw_gradient():
    p = vector((2.0,), (1.0,))
    optimizer = fastai.Larc([p], lr=RATE, mom=0.9, wd=0.5, eps=0.0)
    optimizer.step()
    decayed = 2 * (1 - RATE * 0.5)
    expected = decayed - RATE * 0.02 * decayed / (1 + 0.5 * decayed)
    assert p.item() == pytest.approx(expected, rel=1e-12)


def test_larc_moves_a_tensor_of_zeros_unless_unguarded():
    p, q = vector((0.0,), (1.0,)), vector((0.0,), (1.0,))
    fastai.Larc([p], lr=RATE).step()
    fastai.Larc([q], lr=RATE, guard=False).step()
    assert (p.item(), q.item()) == (-0.1, 0.0)
    assert larc_layer_lr(q, 0.1, 0.02, 0.0, 0.0, guard=False)["local_lr"].item() == 0


def test_lamb_takes_a_step():
    p = vector()
    fastai.Lamb([p], lr=RATE).step()
    assert p.tolist() == close(0.7840, 1.7840, 2.7840, tol=1e-3)


@pytest.mark.parametrize(("value", "grad"), [(0.0, 1.0), (1.0, 0.0)])
def test_lambs_ratio_is_one_where_a_norm_is_zero(value, grad):
    p = vector((value,), (grad,))
    fastai.Lamb([p], lr=RATE, eps=0.5).step()
    assert p.item() == pytest.approx(value - 0.1 * grad / (abs(grad) + 0.5), abs=1e-12)


def test_lambs_ratio_is_at_most_ten():
    p = vector((1000.0,), (1.0,))
    fastai.Lamb([p], lr=RATE, eps=0.0).step()
    assert p.item() == pytest.approx(1000 - 0.1 * 10, abs=1e-9)


def test_the_factories_have_the_originals_defaults():
    p = one(1)
    found = {
        name: {k: v for k, v in getattr(fastai, name)([p], lr=1.0).hypers[0].items() if k != "lr"}
        for name in ("SGD", "RMSProp", "Adam", "RAdam", "QHAdam", "Larc", "Lamb")
    }
    averages = dict(mom=0.9, sqr_mom=0.99, eps=1e-5)
    assert found == {
        "SGD": dict(mom=0.0, wd=0.0),
        "RMSProp": dict(mom=0.0, sqr_mom=0.99, eps=1e-8, wd=0.0),
        "Adam": dict(averages, wd=0.01),
        "RAdam": dict(averages, wd=0.0, beta=0.0),
        "QHAdam": dict(mom=0.999, sqr_mom=0.999, nu_1=0.7, nu_2=1.0, eps=1e-8, wd=0.0),
        "Larc": dict(mom=0.9, trust_coeff=0.02, eps=1e-8, wd=0.0),
        "Lamb": dict(averages, wd=0.0),
    }


def test_a_momentum_step_needs_an_average():
    with pytest.raises(TypeError, match="grad_avg"):
        Optimizer([one(1, 1)], momentum_step, lr=RATE).step()


def test_a_hand_built_list_has_its_eps():
    p = one(1, 0.1)
    Optimizer([p], [average_sqr_grad, rms_prop_step], lr=RATE).step()
    assert p.item() == pytest.approx(0.0, abs=1e-5)
