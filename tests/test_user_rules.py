"""Optimizers as a user writes them, from papers: in a class and by `steps=`, in both engines."""

from functools import partial

import numpy as np
import pytest
import torch
from closeness import assert_close

from steppers import Optimizer, by_shape
from steppers.ops import (
    abs,
    clamp,
    lerp,
    maximum,
    mean,
    rsqrt,
    sign,
    sqrt,
    square,
    total,
    zeros,
    zeros_rows,
)
from steppers.rules import adam, average_grad, decay, descend

# --- rules -------------------------------------------------------------------------------------


def belief(g, exp_avg, exp_avg_var=zeros, *, beta2=0.999, eps=1e-16):
    """The variance of the gradient around its average (Zhuang et al. 2020, arXiv:2010.07468)."""
    exp_avg_var = lerp(exp_avg_var, square(g - exp_avg), 1 - beta2) + eps
    return dict(exp_avg_var=exp_avg_var, second=exp_avg_var)


def scaled_sign(exp_avg, *, power):
    """Signum (arXiv:1802.04434) times a power of the tensor's mean size; power is a constant."""
    return dict(u=sign(exp_avg) * mean(abs(exp_avg)) ** power)


def sign_with_feedback(p, g, error=zeros, *, lr):
    """EF-signSGD (Karimireddy et al. 2019, arXiv:1901.09847, algorithm 1)."""
    wanted = lr * g + error
    step = mean(abs(wanted)) * sign(wanted)
    return dict(p=p - step, error=wanted - step)


def row_scaled(g, row_square=zeros_rows, *, beta2=0.999):
    """A second moment of each row."""
    row_square = lerp(row_square, mean(square(g), over="columns"), 1 - beta2)
    return dict(row_square=row_square, u=g / (sqrt(row_square) + 1e-3))


def descend_by_size(p, g, *, lr, norm_sum=0.01):
    """AdaGrad-Norm (Ward et al. 2018, arXiv:1806.01811): one rate from all gradients so far."""
    norm_sum = norm_sum + total(square(g))
    return dict(norm_sum=norm_sum, p=p - lr * rsqrt(norm_sum) * g)


def descend_by_count(p, g, *, lr, taken=0):
    """A rate that falls as 1 / (steps of the group), by a kept scalar on the host."""
    taken = taken + 1
    return dict(taken=taken, p=p - lr / taken * g)


# --- the same in NumPy, in float64 -------------------------------------------------------------


def ema(s, name, x, beta):
    s[name] = beta * s.get(name, np.zeros_like(x)) + (1 - beta) * x
    return s[name]


def adabelief(p, g, s, t, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1):
    p = p * (1 - lr * weight_decay)
    m = ema(s, "m", g, beta1)
    s["v"] = beta2 * s.get("v", np.zeros_like(g)) + (1 - beta2) * (g - m) ** 2 + eps
    return p - lr * m / (1 - beta1**t) / (np.sqrt(s["v"] / (1 - beta2**t)) + eps)


def signum(p, g, s, t, lr=0.1, beta1=0.8, power=0.5):
    m = ema(s, "m", g, beta1)
    return p - lr * np.sign(m) * (np.mean(np.abs(m)) if m.size else 0) ** power


def feedback(p, g, s, t, lr=0.1):
    wanted = lr * g + s.get("e", 0)
    step = (np.mean(np.abs(wanted)) if g.size else 0) * np.sign(wanted)
    s["e"] = wanted - step
    return p - step


def by_rows(p, g, s, t, lr=0.1, beta2=0.9, beta1=0.8):
    if p.ndim < 2:
        return p - lr * np.sign(ema(s, "m", g, beta1))
    v = ema(s, "v", np.mean(g * g, axis=-1, keepdims=True), beta2)
    return p - lr * g / (np.sqrt(v) + 1e-3)


# --- rows: rules, hypers, reference ------------------------------------------------------------


def only_sign(exp_avg):
    return dict(u=sign(exp_avg))


ROWED = by_shape(matrices=[row_scaled], others=[average_grad, only_sign])
# fmt: off
ROWS = {
    "AdaBelief": ((decay, average_grad, belief, adam, descend),
                  dict(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1), adabelief),
    "signum": ((average_grad, partial(scaled_sign, power=0.5), descend),
               dict(lr=0.1, beta1=0.8), signum),
    "EF-signSGD": ((sign_with_feedback,), dict(lr=0.1), feedback),
    "rows or signs": ((ROWED, descend), dict(lr=0.1, beta1=0.8, beta2=0.9), by_rows),
}
# fmt: on
SHAPES = [(), (3,), (2, 3), (0, 3), (2, 2, 3)]
STEPS = 5
LOOSE = 4.0  # times a word's tolerance: five steps of a dozen words each


def as_class(steps, hypers):
    """The class that a user writes: betas as torch has them."""
    defaults = {k: v for k, v in hypers.items() if k not in ("beta1", "beta2")}
    if "beta1" in hypers and "beta2" in hypers:
        defaults["betas"] = (hypers["beta1"], hypers["beta2"])
    elif "beta1" in hypers:
        defaults["beta1"] = hypers["beta1"]
    return type("Mine", (Optimizer,), dict(steps=steps, defaults=defaults))


def made(way, params, steps, hypers, **more):
    if way == "class":
        return as_class(steps, hypers)(params, **more)
    return Optimizer(params, steps=steps, **hypers, **more)


def gradients(shapes, seed=0):
    """Gradients for each step, none of them near 0, where a sign would hang on a rounding."""
    rng = np.random.default_rng(seed)
    draw = lambda shape: rng.uniform(0.1, 1, shape) * rng.choice([-1, 1], shape)  # noqa: E731
    return [[draw(shape) for shape in shapes] for _ in range(STEPS)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("engine", ["loop", "foreach", "fused"])
@pytest.mark.parametrize("way", ["class", "steps"])
@pytest.mark.parametrize("name", ROWS)
def test_equals_its_paper(name, way, engine, dtype):
    steps, hypers, reference = ROWS[name]
    ws = [torch.ones(shape, dtype=dtype, requires_grad=True) for shape in SHAPES]
    optimizer = made(way, ws, steps, hypers, engine=engine)
    assert optimizer.engine.name == engine
    wanted, states = [np.ones(shape) for shape in SHAPES], [{} for _ in SHAPES]
    for t, gs in enumerate(gradients(SHAPES), 1):
        for w, g in zip(ws, gs, strict=True):
            w.grad = torch.tensor(g, dtype=dtype)
        optimizer.step()
        wanted = [
            reference(p, w.grad.double().numpy(), s, t)
            for w, p, s in zip(ws, wanted, states, strict=True)
        ]
    for w, p in zip(ws, wanted, strict=True):
        assert_close(w, p, LOOSE)


@pytest.mark.parametrize("name", ROWS)
def test_state_has_the_slots_of_the_rules(name):
    steps, hypers, _ = ROWS[name]
    w = torch.ones(2, 3, requires_grad=True)
    w.grad = torch.ones(2, 3)
    optimizer = made("steps", [w], steps, hypers)
    optimizer.step()
    slots = {
        "AdaBelief": {"exp_avg", "exp_avg_var"}, "signum": {"exp_avg"}, "EF-signSGD": {"error"},
        "rows or signs": {"row_square"},
    }  # fmt: skip
    assert set(optimizer.state[w]) == {"step", *slots[name]}


# --- kept scalars ------------------------------------------------------------------------------


def two_groups(steps, **hypers):
    a, b = (torch.ones(2, requires_grad=True) for _ in range(2))
    a.grad, b.grad = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 4.0])
    optimizer = Optimizer([{"params": [a]}, {"params": [b]}], steps=steps, lr=0.5, **hypers)
    return a, b, optimizer


@pytest.fixture(params=["loop", "foreach", "fused"])
def engine(request):
    return request.param


def test_a_kept_scalar_sums_over_all_groups(engine):
    a, b, optimizer = two_groups([descend_by_size], engine=engine)
    size, p, q = 0.01, np.ones(2), np.ones(2)
    for _ in range(3):
        optimizer.step()
        size += 25.0
        p = p - 0.5 / np.sqrt(size) * np.array([1.0, 2.0])
        q = q - 0.5 / np.sqrt(size) * np.array([2.0, 4.0])
    assert_close(a, p, LOOSE)
    assert_close(b, q, LOOSE)
    kept = [float(group["norm_sum"]) for group in optimizer.param_groups]
    assert kept == pytest.approx([75.01] * 2)


# fmt: off
KEPT = [(descend_by_size, "norm_sum", [5.01, 30.01]), (descend_by_count, "taken", [1, 2])]
# fmt: on


@pytest.mark.parametrize(("rule", "name", "values"), KEPT, ids=[row[1] for row in KEPT])
def test_a_kept_scalar_has_one_value_though_a_group_sat_a_step_out(rule, name, values, engine):
    """DESIGN section 2: kept in the group, one value for all groups that keep it."""
    _, b, optimizer = two_groups([rule], engine=engine)
    grad, b.grad = b.grad, None
    found = []
    for b.grad in (None, grad):
        optimizer.step()
        found.append([float(group[name]) for group in optimizer.param_groups])
    for value, each in zip(values, found, strict=True):
        assert each == pytest.approx([value] * 2)  # a sum in double precision


@pytest.mark.parametrize(("rule", "name", "values"), KEPT, ids=[row[1] for row in KEPT])
def test_a_step_with_every_lr_0_leaves_kept_scalars_alone(rule, name, values, engine):
    a, _, optimizer = two_groups([rule], engine=engine)
    before = [float(group[name]) for group in optimizer.param_groups]
    optimizer.set_hyper("lr", 0.0)
    optimizer.step()
    assert [float(group[name]) for group in optimizer.param_groups] == before
    assert a.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(("rule", "name", "values"), KEPT, ids=[row[1] for row in KEPT])
def test_a_kept_scalar_travels_with_the_checkpoint(rule, name, values, engine):
    a, _, first = two_groups([rule], engine=engine)
    c, _, second = two_groups([rule], engine=engine)
    first.step()
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        c.copy_(a)
    first.step()
    second.step()
    assert torch.equal(a, c)


# --- a further chain ---------------------------------------------------------------------------


def curvature(g, hessian=zeros, *, beta2=0.99, batch=8):
    """Gauss-Newton-Bartlett: `g` is the gradient on sampled labels (arXiv:2305.14342)."""
    return dict(hessian=lerp(hessian, batch * square(g), 1 - beta2))


def sophia(exp_avg, hessian, *, rho=0.04, eps=1e-15):
    return dict(u=clamp(exp_avg / maximum(rho * hessian, eps), -1.0, 1.0))


class Sophia(Optimizer):
    """Sophia-G (Liu et al. 2023, arXiv:2305.14342, algorithm 3)."""

    steps = decay, average_grad, sophia, descend
    further = {"curvature": (partial(curvature, batch=4),)}
    defaults = dict(lr=0.1, betas=(0.9, 0.5), rho=0.04, weight_decay=0.1)


def sophia_in_numpy(grads, every):
    p, m, h = np.ones(3), np.zeros(3), np.zeros(3)
    for t, g in enumerate(grads):
        if t % every == 0:
            h = 0.5 * h + 0.5 * 4 * (2 * g) ** 2  # the sampled gradient is twice the step's here
        p = p * (1 - 0.1 * 0.1)
        m = 0.9 * m + 0.1 * g
        p = p - 0.1 * np.clip(m / np.maximum(0.04 * h, 1e-15), -1, 1)
    return p


def run_sophia(w, optimizer, grads, every):
    for t, g in enumerate(grads):
        if t % every == 0:
            w.grad = torch.tensor(2 * g, dtype=w.dtype)
            optimizer.run("curvature")
        w.grad = torch.tensor(g, dtype=w.dtype)
        optimizer.step()


@pytest.mark.parametrize("way", ["class", "steps"])
def test_sophia_updates_its_curvature_by_a_further_chain(way, engine):
    w = torch.ones(3, dtype=torch.float64, requires_grad=True)
    if way == "class":
        optimizer = Sophia([w], engine=engine)
    else:
        optimizer = Optimizer(
            [w], steps=list(Sophia.steps), further=Sophia.further, engine=engine,
            lr=0.1, betas=(0.9, 0.5), rho=0.04, weight_decay=0.1,
        )  # fmt: skip
    grads = [g[0] for g in gradients([(3,)])]
    run_sophia(w, optimizer, grads, every=2)
    assert_close(w, sophia_in_numpy(grads, every=2), LOOSE)


def test_a_further_chain_counts_no_step():
    w = torch.ones(3, requires_grad=True)
    w.grad = torch.ones(3)
    optimizer = Sophia([w])
    optimizer.run("curvature")
    optimizer.run("curvature")
    assert (optimizer.state[w]["step"].item(), w.tolist()) == (0.0, [1.0] * 3)


def test_an_unknown_further_chain_suggests_the_nearest():
    optimizer = Sophia([torch.ones(3, requires_grad=True)])
    text = "^Sophia has no further chain 'curvatur'; did you mean 'curvature'?"
    with pytest.raises(ValueError, match=text.replace("?", r"\?")):
        optimizer.run("curvatur")
