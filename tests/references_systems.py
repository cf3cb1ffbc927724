"""Float64 NumPy references, as in `references`, of optimizers that the five systems brought."""

import numpy as np
from references import debiased, ema, moments, per_parameter, radam, sgd, slot, waited

radam_of_one = radam.__wrapped__
sgd_of_one = sgd.__wrapped__


@per_parameter
def sgdw(p, g, s, t, *, lr, weight_decay=0.0, **hypers):
    """SGD of arXiv:1711.05101 with decay by lr * weight_decay, ahead of the step."""
    return sgd_of_one(p * (1 - lr * weight_decay), g, s, t, lr=lr, **hypers)


def size(x):
    return np.sqrt(np.sum(x * x))


def lars_ratio(p, g, weight_decay, trust_coefficient, eps):
    """Equation 6 of arXiv:1708.03888; 1 where a norm is 0."""
    if size(p) == 0 or size(g) == 0:
        return 1.0
    return trust_coefficient * size(p) / (size(g) + weight_decay * size(p) + eps)


@per_parameter
def lars(
    p, g, s, t, *, lr, momentum=0.9, dampening=0.0, weight_decay=0.0, trust_coefficient=1e-3,
    eps=1e-8, nesterov=False,
):  # fmt: skip
    """Algorithm 1 of arXiv:1708.03888, with lr outside the momentum."""
    ratio = lars_ratio(p, g, weight_decay, trust_coefficient, eps)
    g = ratio * (g + weight_decay * p)
    return sgd_of_one(p, g, s, t, lr=lr, momentum=momentum, dampening=dampening, nesterov=nesterov)


@per_parameter
def larc(
    p, g, s, t, *, lr, momentum=0.9, dampening=0.0, weight_decay=0.0, trust_coefficient=0.02,
    eps=1e-8, nesterov=False,
):  # fmt: skip
    """As apex clips it: the tensor's own rate is in place of lr where it is the lesser."""
    own = lars_ratio(p, g, weight_decay, trust_coefficient, eps)
    g = min(own, lr) / lr * (g + weight_decay * p) if lr > 0 else g
    return sgd_of_one(p, g, s, t, lr=lr, momentum=momentum, dampening=dampening, nesterov=nesterov)


@per_parameter
def larc_behind(p, g, s, t, *, lr, momentum=0.9, trust_coefficient=0.02, eps=1e-8):
    """fastai's: the ratio of the present gradient, at most 1, on the momentum's step."""
    ratio = min(lars_ratio(p, g, 0.0, trust_coefficient, eps), 1.0)
    b = s["momentum_buffer"] = g if t == 1 else momentum * s["momentum_buffer"] + g
    return p - lr * ratio * b


@per_parameter
def qhadam(
    p, g, s, t, *, lr, betas=(0.995, 0.999), nus=(0.7, 1.0), eps=1e-8, weight_decay=0.0,
    decoupled_weight_decay=False,
):  # fmt: skip
    """Equation 14 of arXiv:1810.06801."""
    if decoupled_weight_decay:
        p = p * (1 - lr * weight_decay)
    else:
        g = g + weight_decay * p
    m, v = moments(g, s, *betas)
    m, v = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    top = (1 - nus[0]) * g + nus[0] * m
    return p - lr * top / (np.sqrt((1 - nus[1]) * g * g + nus[1] * v) + eps)


@per_parameter
def sadam(
    p, g, s, t, *, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, softplus_beta=50.0,
    rectify=False,
):  # fmt: skip
    """Algorithm 1 of arXiv:1908.00700 on debiased moments; numpy's logaddexp is the softplus."""
    p = p * (1 - lr * weight_decay)
    m, v = moments(g, s, *betas)
    root = np.sqrt(v / (1 - betas[1] ** t)) + eps
    soft = np.logaddexp(0, softplus_beta * root) / softplus_beta
    u = m / (1 - betas[0] ** t) / soft
    return p - lr * (waited(u, m, t, betas) if rectify else u)


@per_parameter
def ranger(
    p, g, s, t, *, lr, betas=(0.95, 0.999), eps=1e-5, weight_decay=0.0, k=6, alpha=0.5
):  # fmt: skip
    """RAdam, and every k steps the slow weights of arXiv:1907.08610."""
    slow = s.setdefault("slow", p)
    p = radam_of_one(
        p, g, s, t, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay,
        decoupled_weight_decay=True,
    )  # fmt: skip
    if t % k == 0:
        p = s["slow"] = slow + alpha * (p - slow)
    return p


@per_parameter
def sgd_lookahead_late(p, g, s, t, *, lr, k=6, alpha=0.5):
    """timm's: the slow weights are first copied at the first synchronisation."""
    p = p - lr * g
    slow, copied = slot(s, "slow", p), s.setdefault("copied", 0.0)
    if t % k == 0:
        slow = slow if copied else p
        p = s["slow"] = slow + alpha * (p - slow)
        s["copied"] = 1.0
    return p


@per_parameter
def rms_of_momentum(p, g, s, t, *, lr, momentum=0.9, alpha=0.99, eps=1e-8):
    """fastai's RMSProp: momentum of the gradient over the root of the mean square."""
    b = s["momentum_buffer"] = g if t == 1 else momentum * s["momentum_buffer"] + g
    v = s["square_avg"] = ema(slot(s, "square_avg", g), g * g, alpha)
    return p - lr * b / (np.sqrt(v) + eps)


@per_parameter
def radam_late_eps(p, g, s, t, *, lr, betas=(0.9, 0.999), eps=1e-8):
    """RAdam with eps behind the debias, as fastai has it."""
    m, v = moments(g, s, *betas)
    return p - lr * waited(debiased(m, v, t, betas, eps, early=False), m, t, betas)
