"""Each of fastai's ready-made optimizers equals a chain of rules."""

from functools import partial

import pytest
import torch
from small_params import RATE

import steppers
from steppers.styles import fastai


def scaled(u, second, *, eps=1e-8):
    return dict(u=u / (steppers.ops.sqrt(second) + eps))


def rectified(exp_avg, second, *, t, beta1=0.9, beta2=0.99, eps=1e-5):
    from steppers.ops import sqrt, where

    mean, unbias, limit = exp_avg / (1 - beta1**t), 1 - beta2**t, 2 / (1 - beta2) - 1
    r = limit - 2 * t * beta2**t / unbias
    rect = sqrt((r - 4) * (r - 2) * limit / ((limit - 4) * (limit - 2) * r))
    return dict(u=where(r > 5, rect * mean / (sqrt(second / unbias) + eps), mean))


def quasi(g, exp_avg, second, *, t, beta1=0.9, beta2=0.99, nu_1=0.7, nu_2=1.0, eps=1e-8):
    mean = (1 - nu_1) * g + nu_1 * exp_avg / (1 - beta1**t)
    square = (1 - nu_2) * g * g + nu_2 * second / (1 - beta2**t)
    return dict(u=mean / (steppers.ops.sqrt(square) + eps))


def layer_rate(p, g, u, *, trust_coefficient=0.02, weight_decay=0.0, eps=1e-8):
    from steppers.ops import minimum, norm, where

    p_norm, g_norm = norm(p), norm(g)
    ratio = trust_coefficient * p_norm / (g_norm + weight_decay * p_norm + eps)
    return dict(u=u * minimum(1.0, where((p_norm > 0) & (g_norm > 0), ratio, 1.0)))


def chain(*steps, **hypers):
    return lambda params: steppers.Optimizer(params, steps=steps, **hypers)


r = steppers.rules
BETAS = dict(lr=RATE, beta1=0.9, beta2=0.99, eps=1e-5, weight_decay=0.1)
AVERAGES = (r.average_grad, r.average_square)
DECAYS = dict(lr=RATE, weight_decay=0.1)
# fmt: off
PAIRS = {
    "SGD": (partial(fastai.SGD, lr=RATE, wd=0.1), chain(r.decay, r.descend, **DECAYS)),
    "SGD, L2": (
        partial(fastai.SGD, lr=RATE, wd=0.1, mom=0.9, decouple_wd=False),
        lambda ps: steppers.SGD(ps, lr=RATE, momentum=0.9, weight_decay=0.1)),
    "momentum": (
        partial(fastai.SGD, lr=RATE, wd=0.1, mom=0.9),
        chain(r.decay, r.heavy_ball, r.descend, momentum=0.9, **DECAYS)),
    "RMSProp": (
        partial(fastai.RMSProp, lr=RATE, wd=0.1),
        chain(r.decay, r.mean_square, r.rms_scaled, r.descend, eps=1e-8, **DECAYS)),
    "RMSProp, momentum": (
        partial(fastai.RMSProp, lr=RATE, wd=0.1, mom=0.9),
        chain(r.decay, r.heavy_ball, r.mean_square, scaled, r.descend, **DECAYS)),
    "Adam": (
        partial(fastai.Adam, lr=RATE, wd=0.1),
        lambda ps: steppers.AdamW(ps, RATE, (0.9, 0.99), eps=1e-5, weight_decay=0.1)),
    "Adam, L2": (
        partial(fastai.Adam, lr=RATE, wd=0.1, decouple_wd=False),
        lambda ps: steppers.Adam(ps, RATE, (0.9, 0.99), eps=1e-5, weight_decay=0.1)),
    "RAdam": (
        partial(fastai.RAdam, lr=RATE, wd=0.1),
        chain(r.decay, *AVERAGES, rectified, r.descend, **BETAS)),
    "RAdam, eps 0": (
        partial(fastai.RAdam, lr=RATE, wd=0.1, eps=0.0),
        chain(r.decay, *AVERAGES, r.radam, r.descend, **{**BETAS, "eps": 0.0})),
    "QHAdam": (
        partial(fastai.QHAdam, lr=RATE, wd=0.1, mom=0.9, sqr_mom=0.99, nu_2=0.8, eps=1e-5),
        chain(r.decay, *AVERAGES, quasi, r.descend, nu_2=0.8, **BETAS)),
    "Larc": (
        partial(fastai.Larc, lr=RATE, wd=0.1),
        chain(r.decay, r.heavy_ball, layer_rate, r.descend, momentum=0.9, **DECAYS)),
    "Lamb": (
        partial(fastai.Lamb, lr=RATE, wd=0.1),
        chain(r.decay, *AVERAGES, r.adam, r.trust_ratio, r.descend, **BETAS)),
    "Lookahead": (
        lambda ps: fastai.Lookahead(fastai.SGD(ps, lr=RATE), k=3),
        chain(r.descend, r.lookahead, lr=RATE, k=3)),
}
# fmt: on


@pytest.mark.parametrize("name", PAIRS)
def test_a_ready_made_optimizer_equals_its_chain(name):
    theirs, chained = PAIRS[name]
    start = [torch.randn(4, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)]
    sides = [[p.clone().requires_grad_() for p in start] for _ in range(2)]
    made = [theirs(sides[0]), chained(sides[1])]
    for _ in range(9):
        grads = [torch.randn_like(p) for p in start]
        for params, optimizer in zip(sides, made, strict=True):
            for p, grad in zip(params, grads, strict=True):
                p.grad = grad.clone()
            optimizer.step()
    for a, b in zip(*sides, strict=True):
        assert torch.allclose(a, b, rtol=1e-11, atol=1e-13)
