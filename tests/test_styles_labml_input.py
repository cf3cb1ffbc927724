"""What labml.ai's form refuses and how it says so; `strict=False` takes it in silence."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from steppers.styles import labml
from steppers.styles.labml import AdamFP16, GenericAdaptiveOptimizer, GradScalerFP16, WeightDecay

EVERY = [labml.Adam, labml.AMSGrad, labml.RAdam, labml.AdaBelief, labml.Noam, labml.AdamWarmup,
         labml.AdamWarmupCosineDecay, AdamFP16, labml.Sophia]  # fmt: skip


def weight(value=1.0, grad=1.0, dtype=torch.float32):
    p = nn.Parameter(torch.full((2,), value, dtype=dtype))
    p.grad = torch.full((2,), grad, dtype=dtype)
    return p


# --- values out of range -----------------------------------------------------------------------

FURTHER = (
    (labml.Noam, dict(warmup=-3), ValueError, "Noam: warmup must be >= 0, got -3"),
    (labml.Noam, dict(warmup="10"), TypeError, "Noam: warmup must be a number, got '10'"),
    (labml.AdamWarmup, dict(warmup=math.nan), ValueError, "warmup must be >= 0, got nan"),
    (labml.AdamWarmupCosineDecay, dict(warmup=-1), ValueError, "warmup must be >= 0, got -1"),
    (labml.AdamWarmupCosineDecay, dict(total_steps=-1), ValueError, "total_steps must be >= 0"),
    (labml.Sophia, dict(rho=0.0), ValueError, "Sophia: rho must be > 0, got 0.0"),
    (labml.Sophia, dict(rho=None), TypeError, "Sophia: rho must be a number, got None"),
    (labml.Adam, dict(eps=None), TypeError, "Adam: eps must be a number, got None"),
    (labml.Adam, dict(lr="0.1"), TypeError, "Adam: lr must be a number, got '0.1'"),
    (labml.Adam, dict(betas=0.9), ValueError, "betas must be 2 numbers .* got 0.9"),
    (labml.Adam, dict(betas=(0.9, math.nan)), ValueError, r"betas\[1\] \(beta2\) must be in"),
)


@pytest.mark.parametrize(("cls", "hypers", "error", "text"), FURTHER)
@pytest.mark.parametrize("place", ["constructor", "group", "late"])
def test_a_value_out_of_range_is_refused_wherever_it_comes_in(cls, hypers, error, text, place):
    optimizer = cls([weight()])
    with pytest.raises(error, match=text):
        if place == "constructor":
            cls([weight()], **hypers)
        elif place == "group":
            cls([{"params": [weight()], **hypers}])
        else:
            optimizer.add_param_group({"params": [weight()], **hypers})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("d_model", [0, -512, math.nan])
def test_noam_needs_a_width_above_0(d_model):
    with pytest.raises(ValueError, match=f"Noam: d_model must be > 0, got {d_model}"):
        labml.Noam([weight()], d_model=d_model)


def test_a_subclass_states_the_ranges_of_its_own_hypers():
    class Powered(labml.Adam):
        ranges = dict(power="in (0, 1]")

        def __init__(self, params, power):
            super().__init__(params, defaults=dict(power=power))

    assert Powered([weight()], 1).param_groups[0]["power"] == 1
    with pytest.raises(ValueError, match=r"Powered: power must be in \(0, 1\], got 0"):
        Powered([weight()], 0)


def test_numbers_of_numpy_and_lists_for_the_groups_are_taken():
    groups = [[weight()], [weight()]]
    optimizer = labml.Adam(groups, lr=np.float32(0.5), betas=[(0.8, 0.9), (0.7, 0.95)])
    assert [g["betas"] for g in optimizer.param_groups] == [(0.8, 0.9), (0.7, 0.95)]
    assert [g["lr"] for g in labml.Adam(groups, lr=[0.1, 0.2]).param_groups] == [0.1, 0.2]
    rates = [g["lr"] for g in labml.Adam(groups, lr=slice(1e-4, 1e-2)).param_groups]
    assert rates == [1e-4, 1e-2] and optimizer.param_groups[1]["lr"] == 0.5
    with pytest.raises(ValueError, match=r"lr must be >= 0, got -0.2"):
        labml.Adam(groups, lr=[0.1, -0.2])
    with pytest.raises(ValueError, match=r"betas\[0\] \(beta1\) must be in"):
        labml.Adam(groups, betas=[(0.8, 0.9), (1.0, 0.95)])


# --- names -------------------------------------------------------------------------------------


def test_an_unknown_hyper_of_the_constructor_is_an_error():
    with pytest.raises(TypeError, match="foo"):
        labml.Adam([weight()], foo=1)


def test_a_groups_misspelt_hyper_is_an_error_and_a_note_of_ones_own_is_not():
    with pytest.raises(TypeError, match="Noam: a group has 'warm_up'; did you mean 'warmup'"):
        labml.Noam([{"params": [weight()], "warm_up": 10}])
    group = labml.Noam([{"params": [weight()], "layer": 3}]).param_groups[0]
    assert group["layer"] == 3


@pytest.mark.parametrize("name", ["lrr", "warmup"])
def test_setting_a_hyper_that_there_is_not_is_an_error(name):
    optimizer = labml.Adam([weight()])
    with pytest.raises(TypeError, match=f"Adam has no hyper-parameter '{name}'"):
        optimizer.set_hyper(name, 0.1)
    assert name not in optimizer.param_groups[0]


# --- strict=False ------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", EVERY)
def test_strict_false_takes_any_value_and_name_in_silence(cls):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        group = {"params": [weight()], "weigth_decay": 0.1, "lr": -0.5}
        optimizer = cls([group, {"params": [weight()]}], lr=-0.1, eps=-1e-3, strict=False)
        optimizer.add_param_group({"params": [weight()], "betas": (1.5, -0.5), "lrr": 1.0})
        optimizer.set_hyper("lr", -0.25)
        optimizer.set_hyper("whatever", "x")
    found = [(g["lr"], g["eps"], g["whatever"]) for g in optimizer.param_groups]
    assert found == [(-0.25, -1e-3, "x")] * 3
    assert optimizer.param_groups[0]["weigth_decay"] == 0.1
    assert optimizer.param_groups[2]["betas"] == (1.5, -0.5)


def test_strict_false_lets_a_rate_below_0_climb():
    p = weight()
    labml.Adam([p], lr=-0.1, strict=False).step()
    torch.testing.assert_close(p.detach(), torch.full((2,), 1.1))


def test_strict_false_leaves_the_range_of_further_hypers_alone():
    assert labml.Noam([weight()], warmup=-1, d_model=-1, strict=False).d_model == -1
    assert labml.Sophia([weight()], rho=-1.0, strict=False).param_groups[0]["rho"] == -1.0


# --- decays ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", EVERY)
@pytest.mark.parametrize("decay", [0.01, None, WeightDecay])
def test_decay_must_be_an_object(cls, decay):
    with pytest.raises(TypeError, match=f"{cls.__name__}: weight_decay must be an object with def"):
        cls([weight()], weight_decay=decay)


class Silent(WeightDecay):
    def __call__(self, param, grad, group):
        super().__call__(param, grad, group)  # and no return


class Bare(WeightDecay):
    def defaults(self):
        pass


@pytest.mark.parametrize("cls", EVERY)
def test_a_decay_that_returns_no_gradient_is_an_error_before_the_moments_move(cls):
    p = weight()
    optimizer = cls([p], weight_decay=Silent())
    with pytest.raises(TypeError, match="Silent must return the gradient to use, got None"):
        optimizer.step()
    assert p.tolist() == [1.0, 1.0] and not optimizer.state[p]["exp_avg"].any()


def test_a_decay_whose_defaults_are_no_dict_is_an_error():
    with pytest.raises(TypeError, match=r"Adam: Bare.defaults\(\) must return a dict, got None"):
        labml.Adam([weight()], weight_decay=Bare())


@pytest.mark.parametrize("cls", [WeightDecay, labml.L1Decay])
@pytest.mark.parametrize("value", ["0.1", None])
def test_the_decay_must_be_a_number(cls, value):
    with pytest.raises(TypeError, match=f"{cls.__name__}: weight_decay must be a number"):
        cls(value)


def test_the_defaults_must_be_a_dict():
    with pytest.raises(TypeError, match=r"Noam: defaults must be a dict .* got \[1\]"):
        labml.Noam([weight()], defaults=[1])


def test_a_template_may_have_no_defaults():
    class Descent(GenericAdaptiveOptimizer):
        def step_param(self, state, group, grad, param):
            param.sub_(group["lr"] * grad)

    p = weight()
    Descent([p], None, 0.5, (0.9, 0.99), 0.0).step()
    assert p.tolist() == [0.5, 0.5]


# --- Sophia's curvature ------------------------------------------------------------------------


@pytest.mark.parametrize("number", [-1, math.nan])
def test_the_number_of_labels_must_not_be_below_0(number):
    p = weight()
    optimizer = labml.Sophia([p])
    with pytest.raises(ValueError, match=f"n_tokens_training_batch must be >= 0, got {number}"):
        optimizer.update_hessian(number)
    assert p not in optimizer.state


def test_curvature_of_sparse_gradients_is_refused_before_anything_changes():
    p, q = weight(), nn.Parameter(torch.ones(3, 2))
    q.grad = torch.eye(3)[:, :2].to_sparse()
    optimizer = labml.Sophia([p, q])
    with pytest.raises(RuntimeError, match=r"Sophia does not support sparse .*SparseAdam"):
        optimizer.update_hessian(2)
    assert not optimizer.state


def test_curvature_of_parameters_without_gradient_stays():
    p, q = weight(grad=2.0), nn.Parameter(torch.ones(2))
    optimizer = labml.Sophia([p, q], betas=(0.9, 0.5))
    optimizer.update_hessian(3)
    assert optimizer.state[p]["hessian"].tolist() == [6.0, 6.0] and q not in optimizer.state


# --- 16 bits -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64])
def test_a_float32_copy_of_wider_parameters_is_refused(dtype):
    with pytest.raises(TypeError, match=f"AdamFP16: a float32 copy cannot hold {dtype}; use Adam"):
        AdamFP16([weight(dtype=dtype)])
    optimizer = AdamFP16([weight(dtype=torch.float16)])
    with pytest.raises(TypeError, match="cannot hold"):
        optimizer.add_param_group({"params": [weight(dtype=dtype)]})
    assert len(optimizer.param_groups) == 1


def scaled_step(p, optimizer, scaler, slope):
    optimizer.zero_grad()
    scaler.scale((p.float() * slope).sum()).backward()
    scaler.step(optimizer)
    scaler.update()


def test_gradients_of_a_skipped_step_do_not_come_into_a_later_one():
    p = nn.Parameter(torch.ones(2, dtype=torch.float16))
    optimizer, scaler = AdamFP16([p], lr=0.1), GradScalerFP16("cpu", init_scale=2.0**16)
    scaled_step(p, optimizer, scaler, 1e6)  # overflows
    assert optimizer.grad_fp32 and p.tolist() == [1.0, 1.0]
    optimizer.zero_grad()
    p.grad = torch.ones_like(p)  # from here on without a scaler
    optimizer.step()
    assert p.tolist() == pytest.approx([0.9, 0.9], abs=1e-3)


def test_unscaled_gradients_are_clipped_as_torch_clips():
    values = ([3.0, -4.0], [12.0, 0.0])
    params = [nn.Parameter(torch.ones(2, dtype=torch.float16)) for _ in values]
    optimizer, scaler = AdamFP16(params), GradScalerFP16("cpu", init_scale=64.0)
    loss = sum((p.float() * torch.tensor(v)).sum() for p, v in zip(params, values, strict=True))
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    full = [nn.Parameter(torch.ones(2)) for _ in values]
    for p, v in zip(full, values, strict=True):
        p.grad = torch.tensor(v)
    assert optimizer.clip_grad_norm_(1.0) == nn.utils.clip_grad_norm_(full, 1.0) == 13.0
    for p, q in zip(params, full, strict=True):
        torch.testing.assert_close(optimizer.grad_fp32[p], q.grad)
    assert optimizer.clip_grad_norm_(2.0) == pytest.approx(1.0)  # and is no more than it was
    assert optimizer.grad_fp32[params[1]][0].item() == pytest.approx(12 / 13)


def test_clipping_before_the_scaler_has_unscaled_is_an_error():
    with pytest.raises(RuntimeError, match=r"AdamFP16: call scaler.unscale_\(optimizer\) first"):
        AdamFP16([weight(dtype=torch.float16)]).clip_grad_norm_(1.0)


def test_the_scaler_refuses_sparse_gradients_and_keeps_none():
    p, q = weight(dtype=torch.float16), nn.Parameter(torch.ones(3, 2, dtype=torch.float16))
    q.grad = torch.eye(3, dtype=torch.float16)[:, :2].to_sparse()
    optimizer, scaler = AdamFP16([p, q]), GradScalerFP16("cpu")
    scaler.scale(torch.ones(()))
    with pytest.raises(RuntimeError, match="AdamFP16 does not support sparse gradients"):
        scaler.unscale_(optimizer)
    assert optimizer.grad_fp32 == {}


@pytest.mark.parametrize(
    ("name", "value", "error", "text"),
    [
        ("betas", (0.9, 2.0), ValueError, r"betas\[1\] \(beta2\) must be in \[0, 1\), got 2.0"),
        ("betas", 0.9, ValueError, r"betas must be 2 numbers \(beta1, beta2\), got 0.9"),
        ("warmup", -1, ValueError, "warmup must be >= 0, got -1"),
    ],
)
def test_a_hyper_that_is_set_later_is_checked_as_when_made(name, value, error, text):
    p = torch.nn.Parameter(torch.ones(2))
    optimizer = labml.AdamWarmup([p], lr=0.1, warmup=5)
    before = dict(optimizer.param_groups[0])
    with pytest.raises(error, match=text):
        optimizer.set_hyper(name, value)
    with pytest.raises(error, match=text):
        optimizer.hypers[0][name] = value
    assert dict(optimizer.param_groups[0]) == before


def test_sophias_rho_has_a_range_of_its_own():
    optimizer = labml.Sophia([torch.nn.Parameter(torch.ones(2))], rho=2.0)  # Adadelta's is [0, 1]
    assert optimizer.param_groups[0]["rho"] == 2.0
