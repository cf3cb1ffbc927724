"""Lifted rules move parameters as the code that they were lifted from, run as plain Python."""

from functools import partial

import lift_code as code
import pytest
import torch
from torch import nn

import steppers
from steppers.styles import lift, lift_all

# the code under test may use spellings that torch has deprecated, as people's code does
pytestmark = pytest.mark.filterwarnings("ignore:This overload of:UserWarning")
SHAPES = ((7, 5), (1,), (), (3, 4, 5), (0, 3))
STEPS = 12
DAMPENED = partial(code.average_grad, dampening=True)
ADAM = dict(mom=0.9, sqr_mom=0.99, eps=1e-5)


def callbacks(cbs, **hypers):
    """A row: the plain loop over callbacks, and what is lifted from them."""
    return (lambda groups: code.Callbacks(groups, cbs, **hypers)), (lambda: lift_all(cbs)), hypers


def stats(listed, steps, **hypers):
    return (
        lambda groups: code.StatsAndSteppers(groups, listed, steps, **hypers),
        lambda: lift_all([*listed, *steps]),
        hypers,
    )


def drafts(listed, steps, **hypers):
    return (
        lambda groups: code.DraftStats(groups, listed, steps, **hypers),
        lambda: lift_all([*listed, *steps]),
        hypers,
    )


def template(cls, hypers=(), **options):
    """A row: a torch optimizer of that class, and what is lifted from the class."""
    given = {**dict(lr=0.02), **dict(hypers)}
    return (
        lambda groups: cls([dict(params=g) for g in groups], **given, **options),
        lambda: lift(cls, **given, **options),
        given,
    )


decays = dict(weight_decay=code.WeightDecay(0.1))
ROWS = {
    "sgd": callbacks([code.sgd_step], lr=0.1),
    "decay and sgd": callbacks([code.weight_decay, code.sgd_step], lr=0.1, wd=0.1),
    "l2, momentum": callbacks(
        [code.l2_reg, code.average_grad, code.momentum_step], lr=0.1, wd=0.1, mom=0.9
    ),
    "rms_prop": callbacks(
        [code.average_sqr_grad, code.rms_prop_step], lr=0.01, sqr_mom=0.9, eps=1e-8
    ),
    "rms_prop, momentum": callbacks(
        [code.average_grad, code.average_sqr_grad, code.rms_prop_step],
        lr=0.01, mom=0.9, sqr_mom=0.9, eps=1e-8,
    ),
    "adam": callbacks(
        [code.weight_decay, DAMPENED, code.average_sqr_grad, code.step_stat, code.adam_step],
        lr=0.1, wd=0.01, **ADAM,
    ),
    "radam": callbacks(
        [DAMPENED, code.average_sqr_grad, code.step_stat, code.radam_step],
        lr=0.1, beta=0.0, **ADAM,
    ),
    "sadam": callbacks(
        [DAMPENED, code.average_sqr_grad, code.step_stat, code.radam_step],
        lr=0.1, beta=50.0, **ADAM,
    ),
    "qhadam": callbacks(
        [DAMPENED, code.average_sqr_grad, code.step_stat, code.qhadam_step],
        lr=0.1, nu_1=0.7, nu_2=0.9, **ADAM,
    ),
    "larc": callbacks(
        [code.average_grad, code.larc_layer_lr, code.larc_step],
        lr=0.1, mom=0.9, trust_coeff=0.02, wd=0.1, eps=1e-8,
    ),
    "lars": callbacks(
        [partial(code.larc_layer_lr, clip=False), code.larc_step],
        lr=0.1, trust_coeff=0.02, wd=0.0, eps=1e-8,
    ),
    "lamb": callbacks(
        [code.weight_decay, DAMPENED, code.average_sqr_grad, code.step_stat, code.lamb_step],
        lr=0.01, wd=0.01, **ADAM,
    ),
    "course adam": stats(
        [code.AverageGrad(dampening=True), code.AverageSqrGrad(), code.StepCount()],
        [code.course_adam_step, code.course_weight_decay], lr=0.1, wd=0.01, **ADAM,
    ),
    "course adam, undampened": stats(
        [code.AverageGrad(), code.AverageSqrGrad(dampening=False), code.StepCount()],
        [code.course_adam_step], lr=0.1, **ADAM,
    ),
    "course momentum": stats(
        [code.AverageGrad()], [code.course_momentum_step, code.course_weight_decay],
        lr=0.1, wd=0.01, mom=0.9,
    ),
    "course lamb": stats(
        [code.AverageGrad(dampening=True), code.AverageSqrGrad(), code.StepCount()],
        [code.course_lamb_step], lr=0.01, wd=0.1, **ADAM,
    ),
    "draft momentum": drafts([code.draft_average_grad], [code.momentum_step], lr=0.1, mom=0.9),
    "labml adam": template(code.LabAdam, **decays),
    "labml adam, eps after": template(code.LabAdam, dict(eps=1e-8), optimized_update=False),
    "labml adam, l2": template(code.LabAdam, weight_decay=code.WeightDecay(0.1, False)),
    "labml adam, absolute": template(code.LabAdam, weight_decay=code.WeightDecay(0.01, True, True)),
    "labml amsgrad": template(code.AMSGrad),
    "labml radam": template(code.RAdam, **decays),
    "labml radam, idle": template(code.RAdam, degenerated_to_sgd=False),
    "labml adabelief": template(code.AdaBelief),
    "labml adabelief, unrectified": template(code.AdaBelief, rectify=False),
    "labml noam": template(code.Noam),
    "labml warmup, cosine": template(code.WarmupCosine),
    "torch's form, momentum": template(code.OwnMomentum),
    "torch's form, nesterov": template(code.OwnMomentum, nesterov=True),
}  # fmt: skip
SINGULAR = ("course lamb",)  # 0/0 for a zero tensor: NaN, in the plain code too


def parameters(dtype):
    torch.manual_seed(1)
    made = [nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in SHAPES]
    return [*made, nn.Parameter(torch.zeros(4, dtype=dtype))]


def gradients(params, step, none=True):
    """The same gradients for every way of stepping; in some steps a parameter has none."""
    generator = torch.Generator().manual_seed(step)
    for i, p in enumerate(params):
        grad = torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype)
        p.grad = None if none and step in (3, 4) and i == 0 else grad


def hypers_of(optimizer):
    """The dicts that hold each group's hypers: two forms, one meaning."""
    return getattr(optimizer, "hypers", None) or optimizer.param_groups


def fit(optimizer, params, change):
    for step in range(STEPS):
        gradients(params, step)
        if step == 6 and change:
            for group in hypers_of(optimizer):
                group["lr"] = group["lr"] / 2
        optimizer.step()


def both(row, dtype, engine, change=True):
    """Parameters after the plain code and after the lifted rules, two groups each."""
    plain_of, lifted_of, hypers = ROWS[row]
    ours, theirs = parameters(dtype), parameters(dtype)
    with torch.no_grad():
        plain = plain_of([theirs[:2], theirs[2:]])
        hypers_of(plain)[1]["lr"] *= 0.5
        fit(plain, theirs, change)
    groups = [dict(params=ours[:2]), dict(params=ours[2:], lr=hypers["lr"] * 0.5)]
    optimizer = steppers.Optimizer(groups, steps=lifted_of(), engine=engine, **hypers)
    assert optimizer.engine.name == engine
    fit(optimizer, ours, change)
    return ours, theirs


@pytest.mark.parametrize("row", ROWS)
def test_lifted_in_float64_is_the_plain_code(row):
    for ours, theirs in zip(*both(row, torch.float64, "loop"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-13, equal_nan=row in SINGULAR)


@pytest.mark.needs("llvmlite")
@pytest.mark.parametrize("row", ROWS)
def test_lifted_in_the_fused_engine_is_the_plain_code(row):
    for ours, theirs in zip(*both(row, torch.float32, "fused"), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=2e-6, equal_nan=row in SINGULAR)


MINIAI = {
    code.SGD: {}, code.Momentum: dict(mom=0.8), code.RMSProp: dict(sqr_mom=0.9),
    code.Adam: dict(beta1=0.8, beta2=0.95),
}  # fmt: skip


@pytest.mark.parametrize("engine", ["loop", "fused"])
@pytest.mark.parametrize("cls", MINIAI)
def test_a_lifted_miniai_class_is_the_class(cls, engine):
    dtype = torch.float64 if engine == "loop" else torch.float32
    ours, theirs = parameters(dtype), parameters(dtype)
    plain = cls(theirs, lr=0.05, wd=0.1, **MINIAI[cls])
    rules = lift(cls)
    optimizer = steppers.Optimizer(ours, steps=rules, lr=0.05, wd=0.1, engine=engine, **MINIAI[cls])
    for step in range(STEPS):
        for params in (ours, theirs):
            gradients(params, step, none=False)
        plain.lr = 0.05 / (1 + step)
        optimizer.param_groups[0]["lr"] = 0.05 / (1 + step)
        plain.step()
        optimizer.step()
    tight = dict(rtol=1e-11, atol=1e-13) if engine == "loop" else dict(rtol=2e-5, atol=2e-6)
    for mine, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, their, **tight)


def test_an_optimizer_that_exists_gives_its_hypers_as_defaults():
    w = nn.Parameter(torch.ones(3))
    rules = lift(code.Momentum([w], lr=0.3, mom=0.7))
    optimizer = steppers.Optimizer([w], steps=rules)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["mom"]) == (0.3, 0.7)


@pytest.mark.parametrize("engine", ["loop", "fused"])
def test_sophia_with_its_other_method_as_a_further_chain(engine):
    dtype = torch.float64 if engine == "loop" else torch.float32
    ours, theirs = parameters(dtype), parameters(dtype)
    plain = code.Sophia(theirs, lr=0.01)
    curvature = lift(code.Sophia, method="update_hessian")
    rules = lift(code.Sophia, lr=0.01, slots=["hessian"])
    optimizer = steppers.Optimizer(
        ours, steps=rules, further={"curvature": [curvature]}, n_tokens=3.0, engine=engine
    )
    for step in range(STEPS):
        for params in (ours, theirs):
            gradients(params, step, none=False)
        plain.step()
        optimizer.step()
        if step % 3 == 0:
            plain.update_hessian(3.0)
            optimizer.run("curvature")
    tight = dict(rtol=1e-11, atol=1e-13) if engine == "loop" else dict(rtol=2e-5, atol=2e-6)
    for mine, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, their, **tight)


def test_lifted_state_has_the_names_of_the_code():
    w = nn.Parameter(torch.ones(3))
    w.grad = torch.ones(3)
    cbs = [DAMPENED, code.average_sqr_grad, code.step_stat, code.adam_step]
    optimizer = steppers.Optimizer([w], steps=lift_all(cbs), lr=0.1)
    optimizer.step()
    assert set(optimizer.state[w]) == {"step", "grad_avg", "sqr_avg"}
    torch.testing.assert_close(optimizer.state[w]["sqr_avg"], torch.full((3,), 0.01))
    torch.testing.assert_close(w.detach(), torch.full((3,), 0.9), rtol=1e-4, atol=0)


def test_a_running_state_saves_and_loads():
    """Twelve steps in one go are twelve with a checkpoint after six."""
    hypers = ROWS["lamb"][2]
    rules = ROWS["lamb"][1]()
    whole, halves = parameters(torch.float64), parameters(torch.float64)
    straight = steppers.Optimizer(whole, steps=rules, **hypers)
    first = steppers.Optimizer(halves, steps=rules, **hypers)
    for step in range(12):
        gradients(whole, step)
        gradients(halves, step)
        if step == 6:
            second = steppers.Optimizer(halves, steps=rules, **hypers)
            second.load_state_dict(first.state_dict())
            first = second
        straight.step()
        first.step()
    for a, b in zip(whole, halves, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
