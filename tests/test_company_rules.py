"""Rules that go into any chain: clipping, centralisation, cautious masks, averages of the weights.

Expected values are torch's own functions, or the papers' formulas in float64 NumPy.
"""

import copy
import functools
import math

import numpy as np
import pytest
import torch
from closeness import assert_close
from rows import ROWS
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from trials import ENGINES, draw, fits, gradients

import steppers
from steppers import rules
from steppers.ops import lerp, sign, square, total, zero, zeros

ENGINE = pytest.mark.parametrize("engine", ENGINES)
SHAPES = ((), (5,), (7, 4), (1, 6), (6, 1), (3, 2, 4), (2, 3, 2, 2))
DTYPES = (torch.float32, torch.float64)
DTYPE = pytest.mark.parametrize("dtype", DTYPES, ids=str)


def parameters(shapes=SHAPES, dtype=torch.float64, scale=1.0):
    """Parameters with gradients of their own, from fixed seeds."""
    made = [torch.nn.Parameter(torch.from_numpy(x).to(dtype)) for x in draw(shapes, seed=1)]
    feed(made, 0, scale)
    return made


def feed(params, step, scale=1.0):
    for p, g in zip(params, gradients([tuple(p.shape) for p in params], step), strict=True):
        p.grad = torch.tensor(scale * g, dtype=p.dtype)


def gone_through(steps, params, engine, **hypers):
    """The gradients that a chain hands to its stepper, and none of the caller's changed."""

    def show(p, u):
        return dict(p=u)

    before = [p.grad.clone() for p in params]
    held = [p.detach().clone() for p in params]
    optimizer = steppers.Optimizer(params, steps=[*steps, show], engine=engine, **hypers)
    optimizer.step()
    for p, g in zip(params, before, strict=True):
        assert torch.equal(p.grad.nan_to_num(), g.nan_to_num())
    found = [p.detach().clone() for p in params]
    with torch.no_grad():
        for p, x in zip(params, held, strict=True):
            p.copy_(x)
    return found


# --- clipping: torch's functions ---------------------------------------------------------------


def by_global_norm(params, bound):
    torch.nn.utils.clip_grad_norm_(params, bound)


def by_norm(params, bound):
    for p in params:
        torch.nn.utils.clip_grad_norm_([p], bound)


def by_value(params, bound):
    torch.nn.utils.clip_grad_value_(params, bound)


# fmt: off
CLIPS = [  # a rule, the hyper that bounds it, and torch's function
    ("global norm", rules.clip_by_global_norm, "max_norm", by_global_norm),
    ("norm", rules.clip_by_norm, "max_norm", by_norm),
    ("value", rules.clip_by_value, "clip_value", by_value),
]
INPUTS = {  # what is put into the first element of one gradient, and how large the others are
    "normal": (None, 1.0), "small": (None, 1e-4), "zero": (None, 0.0), "large": (None, 1e12),
    "inf": (math.inf, 1.0), "-inf": (-math.inf, 1.0), "nan": (math.nan, 1.0),
}
# fmt: on


@pytest.mark.parametrize(("name", "rule", "hyper", "theirs"), CLIPS, ids=[c[0] for c in CLIPS])
@pytest.mark.parametrize("bound", [0.0, 0.5, 3.0, math.inf])
@pytest.mark.parametrize("given", INPUTS)
@ENGINE
@DTYPE
def test_clipping_is_torchs(name, rule, hyper, theirs, bound, given, engine, dtype):
    special, scale = INPUTS[given]
    params = parameters(dtype=dtype, scale=scale)
    if special is not None:
        params[2].grad[0, 0] = special
    found = gone_through([rule], params, engine, **{hyper: bound})
    theirs(params, bound)
    for x, p in zip(found, params, strict=True):
        wanted = p.grad.double().numpy()
        largest = max(1.0, np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0))
        assert_close(x / largest, wanted / largest, units=4)


@pytest.mark.parametrize(("name", "rule", "hyper", "theirs"), CLIPS, ids=[c[0] for c in CLIPS])
@pytest.mark.parametrize("bound", [-1.0, math.nan])
def test_a_bound_below_zero_is_refused(name, rule, hyper, theirs, bound):
    with pytest.raises(ValueError, match=rf"^Optimizer: {hyper} must be >= 0, got {bound}"):
        steppers.Optimizer(parameters(), steps=[rule, rules.descend], lr=0.1, **{hyper: bound})


@pytest.mark.parametrize("hyper", ["clip_factor", "clip_eps"])
def test_a_factor_below_zero_is_refused(hyper):
    steps = [rules.clip_adaptively, rules.descend]
    with pytest.raises(ValueError, match=rf"^Optimizer: {hyper} must be >= 0, got -0.1"):
        steppers.Optimizer(parameters(), steps=steps, lr=0.1, **{hyper: -0.1})


def test_a_bound_is_live():
    w = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
    optimizer = steppers.Optimizer([w], steps=[rules.clip_by_norm, rules.descend], lr=1.0)
    w.grad = torch.tensor([3.0, 4.0], dtype=torch.float64)
    for bound, length in ((1.0, 1.0), (2.0, 3.0), (0.0, 3.0)):
        optimizer.set_hyper("max_norm", bound)
        optimizer.step()
        assert w.norm().item() == pytest.approx(length, rel=1e-6)


# --- adaptive clipping -------------------------------------------------------------------------


def adaptively(p, g, clip_factor=0.01, clip_eps=1e-3):
    """Equation 3 of arXiv:2102.06171: units are indices of the first axis, or the whole vector."""
    axes = tuple(range(1, p.ndim)) if p.ndim > 1 else None
    limit = clip_factor * np.maximum(np.sqrt(np.sum(p * p, axes, keepdims=p.ndim > 1)), clip_eps)
    size = np.sqrt(np.sum(g * g, axes, keepdims=p.ndim > 1))
    return np.where(size > limit, g * limit / np.maximum(size, 1e-6), g)


# fmt: off
ADAPTIVE = {  # hypers, and the scales of weights and gradients
    "default": (dict(), 1.0, 1.0),
    "some units": (dict(clip_factor=1.0), 1.0, 1.0),
    "no unit": (dict(clip_factor=1.0), 1.0, 1e-3),
    "switched off": (dict(clip_factor=math.inf), 1.0, 1e6),
    "to nothing": (dict(clip_factor=0.0), 1.0, 1.0),
    "weights of zero": (dict(clip_eps=0.1), 0.0, 1.0),
    "tiny gradients": (dict(clip_factor=1e-6, clip_eps=1e-6), 0.0, 1e-8),
    "zero gradients": (dict(), 1.0, 0.0),
}
# fmt: on


@pytest.mark.parametrize("name", ADAPTIVE)
@ENGINE
@DTYPE
def test_adaptive_clipping_is_the_papers(name, engine, dtype):
    hypers, weights, scale = ADAPTIVE[name]
    params = parameters(dtype=dtype, scale=scale)
    with torch.no_grad():
        for p in params:
            p.mul_(weights)
    found = gone_through([rules.clip_adaptively], params, engine, **hypers)
    changed = 0
    for x, p in zip(found, params, strict=True):
        wanted = adaptively(p.detach().double().numpy(), p.grad.double().numpy(), **hypers)
        changed += not np.array_equal(wanted, p.grad.double().numpy())
        assert_close(x / (scale or 1.0), wanted / (scale or 1.0))
    clips = name not in ("no unit", "switched off", "zero gradients")
    assert (changed > 0) is clips  # or the row shows nothing


def test_some_units_are_clipped_and_others_not():
    p = torch.nn.Parameter(torch.ones(2, 4, dtype=torch.float64))
    p.grad = torch.tensor([[1e-3] * 4, [4.0, 0.0, 0.0, 3.0]], dtype=torch.float64)
    (found,) = gone_through([rules.clip_adaptively], [p], "auto")
    assert torch.equal(found[0], p.grad[0])
    assert found[1].tolist() == pytest.approx([0.016, 0.0, 0.0, 0.012])  # norms 5 and 0.01 * 2


@ENGINE
def test_adaptive_clipping_stands_in_front_of_any_chain(engine):
    params = parameters()
    steps = [rules.clip_adaptively, rules.decay, rules.average_grad, rules.average_square,
             rules.adam, rules.descend]  # fmt: skip
    optimizer = steppers.Optimizer(
        params, steps=steps, lr=0.1, weight_decay=0.1, clip_factor=0.1, engine=engine
    )
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in params]
    reference = torch.optim.AdamW(theirs, lr=0.1, weight_decay=0.1)
    for step in range(4):
        feed(params, step)
        for p, q in zip(params, theirs, strict=True):
            clipped = adaptively(q.detach().numpy(), p.grad.numpy(), clip_factor=0.1)
            q.grad = torch.from_numpy(np.asarray(clipped))
        optimizer.step()
        reference.step()
    for p, q in zip(params, theirs, strict=True):
        assert_close(p, q.detach().numpy(), units=16)


# --- centralisation ----------------------------------------------------------------------------


@ENGINE
@DTYPE
def test_centralisation_takes_the_mean_of_each_unit_and_leaves_vectors(engine, dtype):
    """Equation 1 of arXiv:2004.01461: the mean over all but the first axis goes."""
    params = parameters(dtype=dtype)
    found = gone_through([rules.centralise_matrices], params, engine)
    for x, p in zip(found, params, strict=True):
        g = p.grad.double().numpy()
        if g.ndim < 2:
            assert torch.equal(x, p.grad)
            continue
        assert_close(x, g - g.mean(tuple(range(1, g.ndim)), keepdims=True))
        left = x.double().flatten(1).mean(1)
        assert left.abs().max() <= 16 * torch.finfo(dtype).eps


def test_centralisation_of_a_convolution_trains_a_model():
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(4, 2)
    )
    weight = model[0].weight.detach().clone()
    steps = [rules.centralise_matrices, rules.heavy_ball, rules.descend]
    optimizer = steppers.Optimizer(model.parameters(), steps=steps, lr=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(5, 3, 3, 3)).square().sum().backward()
        optimizer.step()
    moved = (model[0].weight.detach() - weight).flatten(1)
    assert moved.abs().max() > 1e-4
    assert moved.sum(1).abs().max() < 1e-5  # no filter's mean has moved


# --- cautious masks ----------------------------------------------------------------------------


def cautious(u, g):
    """Algorithm 2 of arXiv:2411.16085 with its code's bound on the scale: 1 / max(mean, 1e-3)."""
    mask = (u * g > 0).astype(float)
    return u * mask / max(mask.mean(), 1e-3)


def orthogonal(u):
    """Newton-Schulz as Jordan et al. 2024 (Muon) write it, rows fewer than columns."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = u / max(np.linalg.norm(u), 1e-7)
    x = x.T if u.shape[0] > u.shape[1] else x
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if u.shape[0] > u.shape[1] else x


def adamw(p, g, s, t):
    s["m"] = 0.9 * s.get("m", 0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0) + 0.001 * g * g
    u = s["m"] / (1 - 0.9**t) / (np.sqrt(s["v"] / (1 - 0.999**t)) + 1e-8)
    return p * (1 - 0.01 * 0.1) - 0.01 * cautious(u, g)


def adamw_clipped(p, g, s, t):
    return adamw(p, np.clip(g, -0.3, 0.3), s, t)


def lion(p, g, s, t):
    m = s.get("m", 0 * g)
    s["m"] = 0.99 * m + 0.01 * g
    return p * (1 - 0.01 * 0.1) - 0.01 * cautious(np.sign(0.9 * m + 0.1 * g), g)


def muon(p, g, s, t):
    s["m"] = 0.95 * s.get("m", 0) + 0.05 * g
    u = orthogonal(0.05 * g + 0.95 * s["m"])
    return p * (1 - 0.01 * 0.1) - 0.01 * cautious(u, g)


def lion_rule(g, exp_avg=zeros, *, beta1=0.9, beta2=0.99):
    return dict(u=sign(lerp(g, exp_avg, beta1)), exp_avg=lerp(g, exp_avg, beta2))


ORTHOGONAL = functools.partial(rules.orthogonal, ns_steps=5, ns_coefficients=None, eps=1e-7)
MOMENTS = (rules.average_grad, rules.average_square, rules.adam)
# fmt: off
CAUTIOUS = {  # steps, reference, shapes, units
    "adamw": ((rules.decay, *MOMENTS, rules.cautious, rules.descend), adamw, SHAPES, 16),
    "adamw clipped": ((rules.clip_by_value, rules.decay, *MOMENTS, rules.cautious, rules.descend),
                      adamw_clipped, SHAPES, 16),
    "lion": ((rules.decay, lion_rule, rules.cautious, rules.descend), lion, SHAPES, 16),
    "muon": ((rules.decay, rules.average_momentum, rules.nesterov_average, ORTHOGONAL,
              rules.cautious, rules.descend), muon, ((7, 4), (3, 6)), 64),  # five products
}
# fmt: on


@pytest.mark.parametrize("name", CAUTIOUS)
@ENGINE
def test_cautious_masks_are_the_papers_in_any_chain(name, engine):
    steps, reference, shapes, units = CAUTIOUS[name]
    params = parameters(shapes)
    hypers = dict(clip_value=0.3) if "clip" in name else {}
    optimizer = steppers.Optimizer(
        params, steps=steps, lr=0.01, weight_decay=0.1, engine=engine, **hypers
    )
    found = [(p.detach().numpy().copy(), {}) for p in params]
    for step in range(6):
        feed(params, step)
        optimizer.step()
        found = [(reference(x, p.grad.numpy(), s, step + 1), s)
                 for (x, s), p in zip(found, params, strict=True)]  # fmt: skip
    for p, (x, _) in zip(params, found, strict=True):
        assert_close(p, np.asarray(x), units=units)


@ENGINE
def test_a_cautious_step_goes_down_and_only_down(engine):
    params = parameters()
    steps = (rules.average_momentum, rules.cautious, rules.descend)
    optimizer = steppers.Optimizer(params, steps=steps, lr=0.1, momentum=0.9, engine=engine)
    for step in range(5):
        feed(params, step)
        before = [p.detach().clone() for p in params]
        optimizer.step()
        for p, old in zip(params, before, strict=True):
            assert ((p - old) * p.grad <= 0).all()


def test_the_scale_of_a_lonely_element_is_bounded():
    """One element in 4000 agrees: it is scaled by 1000, not by 4000."""
    p = torch.nn.Parameter(torch.zeros(4000, dtype=torch.float64))
    p.grad = -torch.ones_like(p)
    p.grad[0] = 1.0

    def forward(u):
        return dict(u=0 * u + 1.0)

    (found,) = gone_through([forward, rules.cautious], [p], "auto")
    assert found[0].item() == pytest.approx(1000.0)
    assert found[1:].abs().max() == 0


# --- averages of the weights -------------------------------------------------------------------


# a chain has one view for evaluation, and those that bring their own average keep it
WITHOUT_A_VIEW = [
    row
    for row in ROWS
    if getattr(row.make, "evaluate", None) is None and not getattr(row.make, "further", {})
]


def with_average(row):
    """The row's steps with `ema` last, and its hypers."""
    if not isinstance(row.make, type):
        return [step for step in row.make if step is not rules.ema] + [rules.ema], row.hypers
    (recipe,) = row.make.recipes().values()
    options = {o: row.hypers.get(o, default) for o, default in recipe.options.items()}
    steps = dict(recipe.chain(recipe.key({**recipe.defaults, **options})).chains)["steps"]
    asked = {name for step in steps for name, _ in getattr(step, "keywords", ())}
    stated = {**recipe.defaults, **row.hypers}
    hypers = {n: v for n, v in stated.items() if n not in recipe.options or n in asked}
    return [*steps, rules.ema], hypers


@pytest.mark.parametrize("row", WITHOUT_A_VIEW, ids=lambda row: row.name)
@ENGINE
def test_the_average_behind_any_chain_is_torchs(row, engine):
    """torch's starts as a copy at its first update, so it gets one before the first step."""
    shapes = fits(row, SHAPES)
    params, others = parameters(shapes), parameters(shapes)
    steps, hypers = with_average(row)
    hypers = {**hypers, "ema_decay": 0.8}
    optimizer = steppers.Optimizer(
        params, steps=steps, evaluate=rules.use_average, engine=engine, **hypers
    )
    plain = row.build(others, engine=engine)
    model = torch.nn.ParameterList(others)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.8))
    averaged.update_parameters(model)
    for step in range(5):
        feed(params, step)
        feed(others, step)
        optimizer.step()
        plain.step()
        averaged.update_parameters(model)
    for p, q in zip(params, others, strict=True):
        assert_close(p, q.detach().numpy())  # the average is beside the run, not in it
    held = [p.detach().clone() for p in params]
    with optimizer.evaluating():
        for p, q in zip(params, averaged.module, strict=True):
            assert_close(p, q.detach().numpy())
    assert all(torch.equal(p, x) for p, x in zip(params, held, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_average_has_torchs_bits(dtype):
    model = torch.nn.Linear(5, 3, dtype=dtype)
    averaged = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    averaged.update_parameters(model)
    optimizer = steppers.Optimizer(
        model.parameters(), steps=[rules.descend, rules.ema], evaluate=rules.use_average, lr=0.1
    )
    for step in range(20):
        feed(list(model.parameters()), step)
        optimizer.step()
        averaged.update_parameters(model)
    with optimizer.evaluating():
        for p, q in zip(model.parameters(), averaged.module.parameters(), strict=True):
            assert torch.equal(p, q)


def test_an_error_inside_the_with_block_gives_the_weights_back():
    w = torch.nn.Parameter(torch.zeros(2))
    optimizer = steppers.Optimizer(
        [w], steps=[rules.descend, rules.ema], evaluate=rules.use_average, lr=1.0, ema_decay=0.5
    )
    w.grad = torch.ones(2)
    optimizer.step()
    with pytest.raises(KeyError, match="mine"), optimizer.evaluating():
        assert w.tolist() == [-0.5, -0.5]
        raise KeyError("mine")
    assert w.tolist() == [-1.0, -1.0]
    optimizer.step()
    assert w.tolist() == [-2.0, -2.0]


def test_a_checkpoint_from_inside_the_with_block_holds_both():
    def make():
        w = torch.nn.Parameter(torch.zeros(2))
        w.grad = torch.ones(2)
        steps = [rules.descend, rules.ema]
        return w, steppers.Optimizer([w], steps=steps, evaluate=rules.use_average, lr=1.0)

    w, optimizer = make()
    optimizer.step()
    with optimizer.evaluating():
        saved, shown = copy.deepcopy(optimizer.state_dict()), w.detach().clone()
    other, again = make()
    again.load_state_dict(saved)
    with torch.no_grad():
        other.copy_(shown)  # what the model's own checkpoint holds
    again.train()
    assert torch.equal(other, w)
    assert torch.equal(again.state[other]["average"], optimizer.state[w]["average"])


# --- scalars -----------------------------------------------------------------------------------


@ENGINE
def test_a_scalar_slot_may_be_fed_by_a_total(engine):
    """Each parameter has its own, as one without a gradient shows."""

    def gather(g, squares=zero):
        squares = squares + total(square(g))
        return dict(squares=squares, u=0 * g + squares)

    first, second = parameters(((2,), (3,)))
    optimizer = steppers.Optimizer(
        [first, second], steps=[gather, rules.descend], lr=1.0, engine=engine
    )
    first.grad, second.grad = torch.ones_like(first), None
    before = first.detach().clone()
    optimizer.step()
    second.grad = torch.ones_like(second)
    optimizer.step()
    assert optimizer.state[first]["squares"].item() == 2 + 5
    assert optimizer.state[second]["squares"].item() == 5
    assert_close(first, (before - 2 - 7).numpy())
