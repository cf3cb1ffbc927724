"""Every optimizer of the catalogue in float64 NumPy, from the papers and torch.optim's formulas.

No line of steppers is imported here. A reference for one parameter is a function of p, g, the
parameter's state s (a dict, updated in place), its step count t from 1, and hyper-parameters under
torch's names; it returns the new p. `per_parameter` makes it a step over groups, which is the form
that the two references with sums over many parameters have from the start.
"""

from dataclasses import dataclass, field
from functools import partial, wraps

import numpy as np


@dataclass
class Group:
    """Parameters that share hyper-parameters, with their states and the group's own scalars."""

    params: list
    hypers: dict = field(default_factory=dict)
    states: list = field(default_factory=list)
    kept: dict = field(default_factory=dict)

    def __post_init__(self):
        self.states = self.states or [{} for _ in self.params]

    def having(self, grads):
        """Index, gradient, state and step count of the parameters that have a gradient."""
        for i, (g, s) in enumerate(zip(grads, self.states, strict=True)):
            if g is not None:
                s["step"] = s.get("step", 0) + 1
                yield i, g, s, s["step"]


def per_parameter(fn):
    """The step over groups of a reference for one parameter."""

    @wraps(fn)
    def step(groups, grads):
        for group, gs in zip(groups, grads, strict=True):
            for i, g, s, t in group.having(gs):
                group.params[i] = fn(group.params[i], g, s, t, **group.hypers)

    return step


def slot(s, name, like, fill=0.0):
    """The present value of a state slot, at first use filled as stated."""
    return s.setdefault(name, np.full_like(like, fill))


def ema(old, new, beta):
    return beta * old + (1 - beta) * new


# --- SGD ---------------------------------------------------------------------------------------


@per_parameter
def sgd(p, g, s, t, *, lr, momentum=0, dampening=0, weight_decay=0, nesterov=False, maximize=False):
    """torch.optim.SGD: the first buffer is the gradient, undampened."""
    g = (-g if maximize else g) + weight_decay * p
    if momentum:
        first = "momentum_buffer" not in s or t == 1
        b = g if first else momentum * s["momentum_buffer"] + (1 - dampening) * g
        s["momentum_buffer"] = b
        g = g + momentum * b if nesterov else b
    return p - lr * g


# --- Adam and its kin --------------------------------------------------------------------------


def moments(g, s, beta1, beta2):
    """Both moments of Adam (algorithm 1 of arXiv:1412.6980), not debiased."""
    s["exp_avg"] = ema(slot(s, "exp_avg", g), g, beta1)
    s["exp_avg_sq"] = ema(slot(s, "exp_avg_sq", g), g * g, beta2)
    return s["exp_avg"], s["exp_avg_sq"]


def decayed(p, g, lr, weight_decay, decoupled):
    """p and g after decay: of p itself (AdamW), or added to the gradient (L2)."""
    return (p * (1 - lr * weight_decay), g) if decoupled else (p, g + weight_decay * p)


def _adam(
    p, g, s, t, *, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False,
    decoupled_weight_decay=False, maximize=False,
):  # fmt: skip
    p, g = decayed(p, -g if maximize else g, lr, weight_decay, decoupled_weight_decay)
    m, v = moments(g, s, *betas)
    if amsgrad:
        v = s["max_exp_avg_sq"] = np.maximum(slot(s, "max_exp_avg_sq", g), v)
    m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps)


adam = per_parameter(_adam)
adamw = per_parameter(partial(_adam, decoupled_weight_decay=True))


@per_parameter
def nadam(
    p, g, s, t, *, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3,
    decoupled_weight_decay=False,
):  # fmt: skip
    """Dozat 2016, with the momentum schedule of torch's documentation."""
    p, g = decayed(p, g, lr, weight_decay, decoupled_weight_decay)
    m, v = moments(g, s, *betas)
    mu, mu_next = (betas[0] * (1 - 0.5 * 0.96 ** (k * momentum_decay)) for k in (t, t + 1))
    product = s["mu_product"] = slot(s, "mu_product", np.ones(()), 1.0) * mu
    m_hat = mu_next * m / (1 - product * mu_next) + (1 - mu) * g / (1 - product)
    return p - lr * m_hat / (np.sqrt(v / (1 - betas[1] ** t)) + eps)


@per_parameter
def radam(
    p, g, s, t, *, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, decoupled_weight_decay=False
):
    """Algorithm 2 of arXiv:1908.03265; rectified for rho > 5, eps before the debias, as torch."""
    p, g = decayed(p, g, lr, weight_decay, decoupled_weight_decay)
    m, v = moments(g, s, *betas)
    m_hat, beta2_t = m / (1 - betas[0] ** t), betas[1] ** t
    rho_inf = 2 / (1 - betas[1]) - 1
    rho = rho_inf - 2 * t * beta2_t / (1 - beta2_t)
    if rho <= 5:
        return p - lr * m_hat
    r = np.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
    return p - lr * m_hat * r * np.sqrt(1 - beta2_t) / (np.sqrt(v) + eps)


@per_parameter
def adamax(p, g, s, t, *, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    """Algorithm 2 of arXiv:1412.6980, with eps added to the gradient as torch does."""
    g = g + weight_decay * p
    s["exp_avg"] = ema(slot(s, "exp_avg", g), g, betas[0])
    s["exp_inf"] = np.maximum(betas[1] * slot(s, "exp_inf", g), np.abs(g) + eps)
    return p - lr / (1 - betas[0] ** t) * s["exp_avg"] / s["exp_inf"]


# --- labml.ai's and Composer's forms -----------------------------------------------------------


def debiased(m, v, t, betas, eps, early):
    """m over the root of v, each debiased; with `early` eps is added before the debias."""
    m_hat, root = m / (1 - betas[0] ** t), np.sqrt(1 - betas[1] ** t)
    return m_hat * root / (np.sqrt(v) + eps) if early else m_hat / (np.sqrt(v) / root + eps)


def waited(u, m, t, betas, mean_first=True):
    """Algorithm 2 of arXiv:1908.03265 from rho = 5 on: u rectified, or the debiased mean, or 0."""
    rho_inf = 2 / (1 - betas[1]) - 1
    rho = rho_inf - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
    if rho < 5:
        return m / (1 - betas[0] ** t) if mean_first else np.zeros_like(m)
    return u * np.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))


@per_parameter
def ada_belief(
    p, g, s, t, *, lr, betas=(0.9, 0.999), eps=1e-16, weight_decay=0.0, amsgrad=False,
    rectify=True, degenerated_to_sgd=True, optimized_update=True,
):  # fmt: skip
    """Algorithm 2 of arXiv:2010.07468, with eps added to the variance and not kept in it."""
    p = p * (1 - lr * weight_decay)
    m = s["exp_avg"] = ema(slot(s, "exp_avg", g), g, betas[0])
    v = s["exp_avg_var"] = ema(slot(s, "exp_avg_var", g), (g - m) ** 2, betas[1])
    if amsgrad:
        v = s["max_exp_avg_var"] = np.maximum(slot(s, "max_exp_avg_var", g), v)
    u = debiased(m, v + eps, t, betas, eps, optimized_update)
    return p - lr * (waited(u, m, t, betas, degenerated_to_sgd) if rectify else u)


@per_parameter
def adam_early_eps(p, g, s, t, *, lr, betas=(0.9, 0.999), eps=1e-8):
    """Section 2 of arXiv:1412.6980: eps-hat before the debias."""
    return p - lr * debiased(*moments(g, s, *betas), t, betas, eps, early=True)


@per_parameter
def radam_from_five(p, g, s, t, *, lr, betas=(0.9, 0.999), eps=1e-8):
    m, v = moments(g, s, *betas)
    return p - lr * waited(debiased(m, v, t, betas, eps, early=False), m, t, betas)


@per_parameter
def sophia(
    p, g, s, t, *, lr, betas=(0.9, 0.95), eps=1e-12, rho=0.03, weight_decay=0.0, batch_tokens=1.0
):
    """Algorithm 3 of arXiv:2305.14342 between its updates of the curvature."""
    p = p * (1 - lr * weight_decay)
    m = s["exp_avg"] = ema(slot(s, "exp_avg", g), g, betas[0])
    return p - lr / rho * np.clip(m / (slot(s, "hessian", g) + eps), -rho, rho)


def _warmed(p, g, s, t, *, lr, rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, **rest):
    """Adam at a rate made of lr and t; decay by lr itself."""
    p, at = p * (1 - lr * weight_decay), rate(t, lr, **rest)
    return p - at * debiased(*moments(g, s, *betas), t, betas, eps, early=False)


def noam_rate(t, lr, *, d_model=512.0, warmup_steps=0.0):
    """Section 5.3 of arXiv:1706.03762, times lr."""
    rising = t * warmup_steps**-1.5 if warmup_steps else np.inf
    return lr * d_model**-0.5 * min(t**-0.5, rising)


def warmup_rate(t, lr, *, warmup_steps=0.0):
    return (1e-8 + t * lr / warmup_steps) * (lr > 0) if t < warmup_steps else lr


def warmup_cosine_rate(t, lr, *, warmup_steps=0.0, total_steps=1e10):
    if t < warmup_steps:
        return warmup_rate(t, lr, warmup_steps=warmup_steps)
    done = min((t - warmup_steps) / (total_steps - warmup_steps), 1.0)
    return lr * max(0.1, 0.5 * (1 + np.cos(np.pi * done)))


noam = per_parameter(partial(_warmed, rate=noam_rate))
adam_warmup = per_parameter(partial(_warmed, rate=warmup_rate))
adam_warmup_cosine = per_parameter(partial(_warmed, rate=warmup_cosine_rate))


def by_schedule(fn):
    """The step over groups of a reference that decays by lr over the lr it began with."""

    def step(groups, grads):
        for group, gs in zip(groups, grads, strict=True):
            first = group.hypers.get("initial_lr", group.hypers["lr"])
            first = group.kept.setdefault("initial_lr", first)
            for i, g, s, t in group.having(gs):
                lr = group.hypers["lr"]
                reached = lr / first if first else float(lr > 0)
                group.params[i] = fn(group.params[i], g, s, t, reached, **group.hypers)

    return step


@by_schedule
def decoupled_sgdw(
    p, g, s, t, reached, *, lr, momentum=0, dampening=0, weight_decay=0, nesterov=False,
    metrics=False, initial_lr=None,
):  # fmt: skip
    old, u = p, g
    if momentum:
        b = g if t == 1 else momentum * s["momentum_buffer"] + (1 - dampening) * g
        s["momentum_buffer"], u = b, g + momentum * b if nesterov else b
    p = p * (1 - reached * weight_decay) - lr * u
    if metrics:
        measure(s, p, g, old, s.get("momentum_buffer"))
    return p


@by_schedule
def decoupled_adamw(
    p, g, s, t, reached, *, lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=1e-5, amsgrad=False,
    metrics=False, initial_lr=None,
):  # fmt: skip
    old = p
    m, v = moments(g, s, *betas)
    if amsgrad:
        v = s["max_exp_avg_sq"] = np.maximum(slot(s, "max_exp_avg_sq", g), v)
    p = p * (1 - reached * weight_decay) - lr * debiased(m, v, t, betas, eps, early=False)
    if metrics:
        measure(s, p, g, old, m)
    return p


def measure(s, p, g, old, moment):
    """Norms of one step, as scalars of the state."""
    found = dict(param=p, grad=g, update=p - old) | ({} if moment is None else {"moment": moment})
    s.update({f"{name}_norm": np.sqrt(np.sum(x * x)) for name, x in found.items()})


@by_schedule
def sgd_decayed_by_schedule(p, g, s, t, reached, *, lr, weight_decay=0.0, initial_lr=None):
    return p * (1 - reached * weight_decay) - lr * g


@by_schedule
def sgd_decay_corrected(p, g, s, t, reached, *, lr, weight_decay=0.0, initial_lr=None):
    return p * (1 - lr * reached * weight_decay) - lr * g


# --- rates from squared gradients --------------------------------------------------------------


@per_parameter
def adagrad(
    p, g, s, t, *, lr, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10
):
    g = g + weight_decay * p
    s["sum"] = slot(s, "sum", g, initial_accumulator_value) + g * g
    return p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s["sum"]) + eps)


@per_parameter
def adadelta(p, g, s, t, *, lr, rho=0.9, eps=1e-6, weight_decay=0.0):
    """Algorithm 1 of arXiv:1212.5701, times lr."""
    g = g + weight_decay * p
    s["square_avg"] = ema(slot(s, "square_avg", g), g * g, rho)
    delta = np.sqrt(slot(s, "acc_delta", g) + eps) / np.sqrt(s["square_avg"] + eps) * g
    s["acc_delta"] = ema(s["acc_delta"], delta**2, rho)
    return p - lr * delta


@per_parameter
def rmsprop(
    p, g, s, t, *, lr, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False
):
    """Hinton's lecture 6e, centred as Graves 2013; momentum runs over the directions."""
    g = g + weight_decay * p
    v = s["square_avg"] = ema(slot(s, "square_avg", g), g * g, alpha)
    if centered:
        s["grad_avg"] = ema(slot(s, "grad_avg", g), g, alpha)
        v = v - s["grad_avg"] ** 2
    u = g / (np.sqrt(v) + eps)
    if momentum:
        u = s["momentum_buffer"] = momentum * slot(s, "momentum_buffer", g) + u
    return p - lr * u


@per_parameter
def asgd(p, g, s, t, *, lr, lambd=1e-4, alpha=0.75, t0=1e6, weight_decay=0.0):
    """Polyak & Juditsky 1992, as torch.optim.ASGD: rate and averaging weight lag by one step."""
    g = g + weight_decay * p
    eta = slot(s, "eta", np.ones(()), lr)
    mu = slot(s, "mu", np.ones(()), 1.0)
    p = (1 - lambd * eta) * p - eta * g
    s["ax"] = p if mu == 1 else slot(s, "ax", p) + mu * (p - s["ax"])
    s["eta"] = np.asarray(lr / (1 + lambd * lr * t) ** alpha)
    s["mu"] = np.asarray(1 / max(1.0, t - t0))
    return p


@per_parameter
def rprop(p, g, s, t, *, lr, etas=(0.5, 1.2), step_sizes=(1e-6, 50.0)):
    """Riedmiller & Braun 1993 without weight backtracking: after a turn the element waits."""
    sign = np.sign(g * slot(s, "prev", g))
    factor = np.where(sign > 0, etas[1], np.where(sign < 0, etas[0], 1.0))
    s["step_size"] = np.clip(slot(s, "step_size", g, lr) * factor, *step_sizes)
    s["prev"] = np.where(sign < 0, 0.0, g)
    return p - np.sign(s["prev"]) * s["step_size"]


def mean(x, axis):
    """The mean along an axis, dims kept; NaN and no warning where there is nothing."""
    return np.sum(x, axis, keepdims=True) / np.float64(x.shape[axis])


def rms(x):
    return np.sqrt(np.sum(x * x) / np.float64(x.size))


@per_parameter
def adafactor(p, g, s, t, *, lr, eps, beta2_decay=-0.8, d=1.0, weight_decay=0.0):
    """Algorithms 4 and 5 of arXiv:1804.04235 with torch.optim.Adafactor's decay and floors."""
    eps1, eps2 = eps
    rho, beta2 = min(lr, 1 / np.sqrt(t)), 1 - t**beta2_decay
    alpha = np.maximum(eps2, rms(p)) * rho
    p = p * (1 - lr * weight_decay)
    if p.ndim >= 2:
        rows, columns = mean(g * g, -1), mean(g * g, -2)
        s["row_var"] = ema(slot(s, "row_var", rows), rows, beta2)
        s["col_var"] = ema(slot(s, "col_var", columns), columns, beta2)
        v = s["row_var"] @ s["col_var"]
        v = v / np.maximum(mean(s["row_var"], -2), eps1)
    else:
        v = s["variance"] = ema(slot(s, "variance", g), g * g, beta2)
    u = g / np.sqrt(np.maximum(v, eps1**2))
    return p - alpha / np.maximum(1.0, rms(u) / d) * u


# --- signs, layers, matrices -------------------------------------------------------------------


@per_parameter
def lion(p, g, s, t, *, lr, betas=(0.9, 0.99), weight_decay=0.0):
    """Program 1 of arXiv:2302.06675."""
    m = slot(s, "exp_avg", g)
    s["exp_avg"] = ema(m, g, betas[1])
    return p - lr * (np.sign(ema(m, g, betas[0])) + weight_decay * p)


@per_parameter
def lamb(p, g, s, t, *, lr, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0, trust_clip=10.0):
    """Algorithm 2 of arXiv:1904.00962; the ratio is capped, and 1 where a norm is 0."""
    m, v = moments(g, s, *betas)
    u = m / (1 - betas[0] ** t) / (np.sqrt(v / (1 - betas[1] ** t)) + eps) + weight_decay * p
    p_norm, u_norm = np.sqrt(np.sum(p * p)), np.sqrt(np.sum(u * u))
    ratio = min(p_norm / u_norm, trust_clip) if p_norm > 0 and u_norm > 0 else 1.0
    return p - lr * ratio * u


def newton_schulz(x, steps=5, coefficients=(3.4445, -4.775, 2.0315), eps=1e-7):
    """The quintic iteration of the Muon post: x to a x + b (x x') x + c (x x')^2 x."""
    a, b, c = coefficients
    tall = x.shape[-2] > x.shape[-1]
    x = np.swapaxes(x, -2, -1) if tall else x
    x = x / np.maximum(np.sqrt(np.sum(x * x, (-2, -1), keepdims=True)), eps)
    for _ in range(steps):
        gram = x @ np.swapaxes(x, -2, -1)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return np.swapaxes(x, -2, -1) if tall else x


@per_parameter
def muon(
    p, g, s, t, *, lr, momentum=0.95, weight_decay=0.1, nesterov=True, adjust_lr_fn=None,
    ns_steps=5, ns_coefficients=(3.4445, -4.775, 2.0315), eps=1e-7,
):  # fmt: skip
    """Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; scales as torch.optim.Muon."""
    b = s["momentum_buffer"] = ema(slot(s, "momentum_buffer", g), g, momentum)
    u = newton_schulz(ema(g, b, 1 - momentum) if nesterov else b, ns_steps, ns_coefficients, eps)
    rows, columns = p.shape[-2:]
    by_rms = adjust_lr_fn == "match_rms_adamw"
    scale = 0.2 * np.sqrt(max(rows, columns)) if by_rms else np.sqrt(max(1, rows / columns))
    return p * (1 - lr * weight_decay) - lr * scale * u


# --- many parameters at once -------------------------------------------------------------------


def schedule_free_adamw(groups, grads):
    """arXiv:2405.15682 in the form of the authors' code: y is the parameter, z is kept."""
    for group, gs in zip(groups, grads, strict=True):
        _schedule_free_group(group, gs, **group.hypers)


def _schedule_free_group(
    group, grads, *, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, warmup_steps=0, r=0.0,
    weight_lr_power=2.0,
):  # fmt: skip
    kept = group.kept
    k = kept["steps_taken"] = kept.get("steps_taken", 0) + 1
    gamma = lr * min(1.0, k / warmup_steps) if warmup_steps else lr
    kept["lr_max"] = max(kept.get("lr_max", 0.0), gamma)
    weight = k**r * kept["lr_max"] ** weight_lr_power
    kept["weight_sum"] = kept.get("weight_sum", 0.0) + weight
    c = weight / kept["weight_sum"] if kept["weight_sum"] else 0.0
    for i, g, s, t in group.having(grads):
        y = group.params[i]
        z = s.setdefault("z", y)
        v = s["exp_avg_sq"] = ema(slot(s, "exp_avg_sq", g), g * g, betas[1])
        u = g / (np.sqrt(v / (1 - betas[1] ** t)) + eps) + weight_decay * y
        # From x' = (1 - c) x + c z' and y = beta1 x + (1 - beta1) z, with x written out
        x = (y - (1 - betas[0]) * z) / betas[0]
        z = s["z"] = z - gamma * u
        x = (1 - c) * x + c * z
        group.params[i] = betas[0] * x + (1 - betas[0]) * z


def schedule_free_x(y, s, beta1):
    """The averaged weights to evaluate with: y moved towards z by 1 - 1/beta1."""
    return y + (1 - 1 / beta1) * (s["z"] - y)


def prodigy(groups, grads):
    """Algorithm 4 of arXiv:2306.06101 as the authors' code orders it, not debiased."""
    first, kept = groups[0].hypers, groups[0].kept
    d0, beta3 = first.get("d0", 1e-6), np.sqrt(first.get("betas", (0.9, 0.999))[1])
    d, d_max = kept.get("d", d0), kept.get("d_max", d0)
    numerator, denominator = beta3 * kept.get("d_numerator", 0.0), 0.0
    having = [(gr, *found) for gr, gs in zip(groups, grads, strict=True) for found in gr.having(gs)]
    dlr = d * max(group.hypers["lr"] for group in groups)
    for group, i, g, s, _ in having:
        beta1, beta2 = group.hypers.get("betas", (0.9, 0.999))
        p = group.params[i]
        numerator += d / d0 * dlr * np.sum(g * (s.setdefault("p0", p) - p))
        s["exp_avg"] = beta1 * slot(s, "exp_avg", g) + (1 - beta1) * d * g
        s["exp_avg_sq"] = beta2 * slot(s, "exp_avg_sq", g) + (1 - beta2) * (d * g) ** 2
        s["s"] = beta3 * slot(s, "s", g) + d / d0 * dlr * g
        denominator += np.sum(np.abs(s["s"]))
    if not denominator:
        return
    d_hat = first.get("d_coef", 1.0) * numerator / denominator
    d = max(d, d_hat) if d == d0 else d
    d_max = max(d_max, d_hat)
    d = min(d_max, d * first.get("growth_rate", np.inf))
    for group in groups:
        group.kept.update(d=d, d_max=d_max, d_numerator=numerator)
    for group, i, _, s, _ in having:
        eps, weight_decay = group.hypers.get("eps", 1e-8), group.hypers.get("weight_decay", 0.0)
        p = group.params[i] * (1 - dlr * weight_decay)
        group.params[i] = p - dlr * s["exp_avg"] / (np.sqrt(s["exp_avg_sq"]) + d * eps)


# --- rules that are added to plain descent -----------------------------------------------------


@per_parameter
def sgd_lookahead(p, g, s, t, *, lr, k=6, alpha=0.5):
    """Algorithm 1 of arXiv:1907.08610: the slow weights start as p before the first step."""
    slow, p = s.setdefault("slow", p), p - lr * g
    if t % k:
        return p
    s["slow"] = slow + alpha * (p - slow)
    return s["slow"]


@per_parameter
def sgd_ema(p, g, s, t, *, lr, ema_decay=0.999):
    average, p = s.setdefault("average", p), p - lr * g
    s["average"] = ema(average, p, ema_decay)
    return p


@per_parameter
def sgd_cautious(p, g, s, t, *, lr, momentum=0.9):
    """Algorithm 2 of arXiv:2411.16085: elements that disagree with g in sign wait."""
    u = s["momentum_buffer"] = ema(slot(s, "momentum_buffer", g), g, momentum)
    mask = (u * g > 0).astype(float)
    return p - lr * u * mask / max(mask.mean(), 1e-3) if p.size else p


@per_parameter
def sgd_centralised(p, g, s, t, *, lr):
    """arXiv:2004.01461: each output's gradient loses its mean."""
    return p - lr * (g - g.mean(tuple(range(1, g.ndim)), keepdims=True))


@per_parameter
def sgd_clipped_by_value(p, g, s, t, *, lr, clip_value=1.0):
    return p - lr * np.clip(g, -clip_value, clip_value)


@per_parameter
def sgd_clipped_by_norm(p, g, s, t, *, lr, max_norm=1.0):
    return p - lr * g * np.minimum(1.0, max_norm / (np.sqrt(np.sum(g * g)) + 1e-6))


@per_parameter
def sgd_decayed_absolutely(p, g, s, t, *, lr, weight_decay=0.0):
    return p * (1 - weight_decay * (lr > 0)) - lr * g


def sgd_clipped_by_global_norm(groups, grads):
    """Pascanu et al. 2013, with the 1e-6 of torch.nn.utils.clip_grad_norm_."""
    norm = np.sqrt(sum(np.sum(g * g) for gs in grads for g in gs if g is not None))
    for group, gs in zip(groups, grads, strict=True):
        lr, max_norm = group.hypers["lr"], group.hypers.get("max_norm", 1.0)
        for i, g, _, _ in group.having(gs):
            group.params[i] -= lr * g * np.minimum(1.0, max_norm / (norm + 1e-6))
