"""Each optimizer of the systems equals its chain of rules, step by step in float64."""

import inspect
import re
from functools import partial
from pathlib import Path
from pkgutil import resolve_name

import pytest
import torch
from engine_names import ENGINES
from small_params import RATE

import steppers
from steppers.styles import composer, course, fastai, labml, miniai, timm
from steppers.styles.chains import course as course_chains
from steppers.styles.chains import fastai as fastai_chains
from steppers.styles.chains import labml as labml_chains
from steppers.styles.chains import miniai as miniai_chains

WD = 0.1


def in_fastai(name, decay=WD, theirs=None, **options):
    """fastai's factory and its chain, with options that both take."""
    style = partial(getattr(fastai, theirs or name), lr=RATE, wd=decay)
    return style, partial(getattr(fastai_chains, name), lr=RATE, weight_decay=decay, **options)


def both(style, chain, **options):
    """A style's class and a chain with the same options."""
    return partial(style, **options), partial(chain, **options)


def with_options(pair, theirs, ours):
    """A pair, with further options on each side."""
    return partial(pair[0], **theirs), partial(pair[1], **ours)


def without_decay(pair, **hypers):
    """L2 on both sides, and further hypers."""
    both = dict(decouple_wd=False)
    return with_options(pair, {**both, **hypers}, both)


def in_miniai(name):
    return (
        partial(getattr(miniai, name), lr=RATE, wd=WD),
        partial(getattr(miniai_chains, name), lr=RATE, weight_decay=WD),
    )


def decaying(**how):
    return labml.WeightDecay(WD, **how)


def in_labml(name, theirs=None, ours=None, how=None):
    """labml's class and its chain; `how` is said of decay on both sides."""
    given = dict(how or {})
    chained = dict(weight_decay=WD, **{**given, **(ours or {})})
    return (
        partial(getattr(labml, name), lr=RATE, weight_decay=decaying(**given), **(theirs or {})),
        partial(getattr(labml_chains, name), lr=RATE, **chained),
    )


# fmt: off
PAIRS = {
    "fastai SGD": in_fastai("SGD"),
    "fastai SGD, momentum": with_options(in_fastai("SGD"), dict(mom=0.9), dict(momentum=0.9)),
    "fastai SGD, momentum, L2": without_decay(
        with_options(in_fastai("SGD"), dict(mom=0.9), dict(momentum=0.9))),
    "fastai SGD is SGDW": (partial(fastai.SGD, lr=RATE, wd=WD, mom=0.9),
                           partial(steppers.SGDW, lr=RATE, weight_decay=WD, momentum=0.9)),
    "fastai RMSProp": in_fastai("RMSProp"),
    "fastai RMSProp, momentum": with_options(
        in_fastai("RMSProp"), dict(mom=0.9), dict(momentum=0.9)),
    "fastai RMSProp, eps": with_options(in_fastai("RMSProp"), dict(eps=0.1), dict(eps=0.1)),
    "fastai Adam": in_fastai("Adam"),
    "fastai Adam, L2": without_decay(in_fastai("Adam")),
    "fastai Adam is AdamW": (
        partial(fastai.Adam, lr=RATE, wd=WD),
        lambda ps: steppers.AdamW(ps, RATE, (0.9, 0.99), eps=1e-5, weight_decay=WD)),
    "fastai RAdam": in_fastai("RAdam"),
    "fastai RAdam, softplus": with_options(
        in_fastai("RAdam"), dict(beta=2.0), dict(softplus_beta=2.0)),
    "fastai RAdam is SAdam": (
        partial(fastai.RAdam, lr=RATE, wd=WD, beta=5.0),
        lambda ps: steppers.SAdam(ps, RATE, (0.9, 0.99), eps=1e-5, weight_decay=WD,
                                  softplus_beta=5.0, rectify=True)),
    "fastai QHAdam": in_fastai("QHAdam"),
    "fastai QHAdam, mixed squares": with_options(
        in_fastai("QHAdam"), dict(mom=0.9, sqr_mom=0.99, nu_1=0.6, nu_2=0.8, eps=1e-5),
        dict(betas=(0.9, 0.99), nus=(0.6, 0.8), eps=1e-5)),
    "fastai QHAdam, L2": (
        partial(fastai.QHAdam, lr=RATE, wd=WD, decouple_wd=False),
        lambda ps: steppers.QHAdam(ps, RATE, (0.999, 0.999), weight_decay=WD)),
    "fastai Larc": in_fastai("Larc"),
    "fastai Larc, no clip": with_options(in_fastai("Larc"), dict(clip=False), dict(clip=False)),
    "fastai Larc, no momentum": with_options(in_fastai("Larc"), dict(mom=0.0), dict(momentum=0.0)),
    "fastai Lamb": in_fastai("Lamb"),
    "fastai ranger": in_fastai("Ranger", theirs="ranger"),
    "fastai ranger, often": with_options(
        in_fastai("Ranger", theirs="ranger"), dict(k=2, alpha=0.3), dict(k=2, alpha=0.3)),
    "fastai Lookahead": (
        lambda ps: fastai.Lookahead(fastai.SGD(ps, lr=RATE), k=3),
        lambda ps: steppers.Optimizer(
            ps, steps=(steppers.rules.descend, steppers.rules.lookahead), lr=RATE, k=3)),
    "course sgd_opt": (partial(course.sgd_opt, lr=RATE, wd=WD),
                       partial(course_chains.SGD, lr=RATE, weight_decay=WD)),
    "course sgd_mom_opt": (partial(course.sgd_mom_opt, lr=RATE),
                           partial(course_chains.Momentum, lr=RATE)),
    "course adam_opt": (partial(course.adam_opt(), lr=RATE, wd=WD),
                        partial(course_chains.Adam, lr=RATE, weight_decay=WD)),
    "miniai SGD": in_miniai("SGD"),
    "miniai Momentum": in_miniai("Momentum"),
    "miniai RMSProp": in_miniai("RMSProp"),
    "miniai Adam": in_miniai("Adam"),
    "labml Adam": in_labml("Adam"),
    "labml Adam, eps late": in_labml(
        "Adam", dict(optimized_update=False, eps=1e-3), dict(optimized_update=False, eps=1e-3)),
    "labml Adam, absolute decay": in_labml("Adam", how=dict(absolute=True)),
    "labml Adam, L2": in_labml("Adam", how=dict(weight_decouple=False)),
    "labml AMSGrad": in_labml("AMSGrad", dict(betas=(0.9, 0.5)), dict(betas=(0.9, 0.5))),
    "labml RAdam": in_labml("RAdam", dict(betas=(0.9, 0.99)), dict(betas=(0.9, 0.99))),
    "labml RAdam, still": in_labml(
        "RAdam", dict(betas=(0.9, 0.99), degenerated_to_sgd=False),
        dict(betas=(0.9, 0.99), degenerated_to_sgd=False)),
    "labml AdaBelief": in_labml("AdaBelief", dict(betas=(0.9, 0.99), eps=1e-8),
                                dict(betas=(0.9, 0.99), eps=1e-8)),
    "labml Noam": in_labml("Noam", dict(warmup=4, d_model=16), dict(warmup_steps=4, d_model=16)),
    "labml Noam, no warmup": in_labml("Noam"),
    "labml AdamWarmup": in_labml("AdamWarmup", dict(warmup=4), dict(warmup_steps=4)),
    "labml AdamWarmup, AMSGrad": in_labml(
        "AdamWarmup", dict(warmup=4, amsgrad=True), dict(warmup_steps=4, amsgrad=True)),
    "labml AdamWarmupCosineDecay": in_labml(
        "AdamWarmupCosineDecay", dict(warmup=2, total_steps=7),
        dict(warmup_steps=2, total_steps=7)),
    "labml Sophia": in_labml("Sophia"),
    "composer SGD": both(composer.DecoupledSGDW, steppers.DecoupledSGDW,
                         lr=RATE, momentum=0.9, dampening=0.3, weight_decay=1e-4),
    "composer AdamW": both(composer.DecoupledAdamW, steppers.DecoupledAdamW, lr=RATE),
    "timm SGDW": both(timm.SGDW, steppers.SGDW, lr=RATE, momentum=0.9, weight_decay=WD),
    "timm Lamb": (
        lambda ps: timm.Lamb(ps, lr=RATE, weight_decay=WD, max_grad_norm=None),
        lambda ps: steppers.LAMB(ps, lr=RATE, weight_decay=WD, trust_clip=float("inf"))),
    "timm Lars": (
        lambda ps: timm.Lars(ps, lr=RATE, weight_decay=WD, momentum=0.9),
        lambda ps: steppers.LARS(ps, lr=RATE, weight_decay=WD, momentum=0.9)),
    "timm Lars, clipped": (
        lambda ps: timm.Lars(ps, lr=RATE, weight_decay=WD, momentum=0.9, trust_clip=True),
        lambda ps: steppers.LARC(ps, lr=RATE, weight_decay=WD, trust_coefficient=1e-3)),
    "timm Lookahead": (
        lambda ps: timm.Lookahead(torch.optim.SGD(ps, lr=RATE), k=3),
        lambda ps: steppers.Optimizer(
            ps, steps=(steppers.rules.descend, steppers.rules.lookahead_late), lr=RATE, k=3)),
}
# fmt: on


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", PAIRS)
def test_an_optimizer_of_a_system_equals_its_chain(name, engine):
    theirs, ours = PAIRS[name]
    torch.manual_seed(3)
    start = [torch.randn(4, 3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)]
    sides = [[p.clone().requires_grad_() for p in start] for _ in range(2)]
    made = [theirs(sides[0]), named(ours, engine)(sides[1])]
    for _ in range(9):
        grads = [torch.randn_like(p) for p in start]
        for params, optimizer in zip(sides, made, strict=True):
            for p, grad in zip(params, grads, strict=True):
                p.grad = grad.clone()
            optimizer.step()
    assert not any(torch.equal(a, b) for a, b in zip(start, sides[0], strict=True))
    for a, b in zip(*sides, strict=True):
        assert torch.allclose(a, b, rtol=1e-11, atol=1e-13)


def named(ours, engine):
    """The chain in an engine; a lambda's stays in the one that it has."""
    return partial(ours, engine=engine) if isinstance(ours, partial) else ours


def test_the_courses_lamb_equals_its_chain():
    """Its ratio has no guard, so no parameter of zeros here."""
    p = torch.randn(4, 3, dtype=torch.float64)
    sides = [[p.clone().requires_grad_()] for _ in range(2)]
    stats = [course.AverageGrad(dampening=True), course.AverageSqrGrad(), course.StepCount()]
    made = [
        course.StatefulOptimizer(sides[0], course.lamb_step, stats=stats, lr=RATE, wd=WD),
        course_chains.LAMB(sides[1], lr=RATE, weight_decay=WD),
    ]
    for _ in range(9):
        grad = torch.randn_like(p)
        for params, optimizer in zip(sides, made, strict=True):
            params[0].grad = grad.clone()
            optimizer.step()
    assert torch.allclose(sides[0][0], sides[1][0], rtol=1e-11, atol=1e-13)


# --- defaults ----------------------------------------------------------------------------------

# SYSTEMS' tables of defaults: fastai 1.5, the course's 2, miniai's 4, labml's 5
DEFAULTS = [
    (fastai_chains.SGD, dict(momentum=0.0, weight_decay=0.0)),
    (fastai_chains.RMSProp, dict(momentum=0.0, alpha=0.99, eps=1e-8, weight_decay=0.0)),
    (fastai_chains.Adam, dict(betas=(0.9, 0.99), eps=1e-5, weight_decay=0.01)),
    (fastai_chains.RAdam, dict(betas=(0.9, 0.99), eps=1e-5, weight_decay=0.0, softplus_beta=0.0)),
    (fastai_chains.QHAdam, dict(betas=(0.999, 0.999), nus=(0.7, 1.0), eps=1e-8, weight_decay=0.0)),
    (fastai_chains.Larc, dict(momentum=0.9, trust_coefficient=0.02, eps=1e-8, clip=True)),
    (fastai_chains.Lamb, dict(betas=(0.9, 0.99), eps=1e-5, weight_decay=0.0)),
    (fastai_chains.Ranger, dict(betas=(0.95, 0.99), eps=1e-6, weight_decay=0.01, k=6, alpha=0.5)),
    (course_chains.Momentum, dict(momentum=0.9, weight_decay=0.01)),
    (course_chains.Adam, dict(betas=(0.9, 0.99), eps=1e-5, weight_decay=0.0)),
    (course_chains.LAMB, dict(eps=1e-6, weight_decay=0.0, trust_clip=10.0)),
    (miniai_chains.Momentum, dict(momentum=0.9, weight_decay=0.0)),
    (miniai_chains.RMSProp, dict(alpha=0.99, eps=1e-5)),
    (miniai_chains.Adam, dict(betas=(0.9, 0.99), eps=1e-5)),
    (labml_chains.Adam, dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-16, amsgrad=False)),
    (labml_chains.AMSGrad, dict(amsgrad=True, eps=1e-16)),
    (labml_chains.RAdam, dict(eps=1e-8, amsgrad=False, degenerated_to_sgd=True)),
    (labml_chains.AdaBelief, dict(eps=1e-16, amsgrad=False, rectify=True)),
    (labml_chains.AdamWarmup, dict(warmup_steps=0.0)),
    (labml_chains.AdamWarmupCosineDecay, dict(warmup_steps=0.0, total_steps=1e10)),
    (labml_chains.Noam, dict(warmup_steps=0.0, d_model=512.0)),
    (labml_chains.Sophia, dict(lr=1e-4, betas=(0.9, 0.95), eps=1e-12, rho=0.03)),
]


@pytest.mark.parametrize(("chain", "wanted"), DEFAULTS)
def test_a_chain_has_its_systems_defaults(chain, wanted):
    found = {**chain.fields()}
    parameters = inspect.signature(chain).parameters
    assert {name: found[name] for name in wanted} == wanted
    assert all(parameters[name].default == value for name, value in wanted.items())


def test_a_chain_takes_the_systems_short_names():
    optimizer = fastai_chains.Adam([torch.zeros(2, requires_grad=True)], lr=0.1, wd=0.3, mom=0.8)
    assert optimizer.param_groups[0]["betas"] == (0.8, 0.99)
    assert optimizer.param_groups[0]["weight_decay"] == 0.3


def test_a_chain_is_pickled_and_drives_torchs_schedulers():
    optimizer = labml_chains.RAdam([torch.zeros(2, requires_grad=True)], lr=0.1)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=10)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] > 1.0 / 25
    assert optimizer.param_groups[0]["betas"][0] < 0.95


# --- the page ----------------------------------------------------------------------------------

PAGE = (Path(__file__).parent.parent / "docs" / "systems" / "chains.md").read_text("utf-8")


def test_the_pages_code_runs():
    code = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(code) == 1
    exec(compile(code[0], "chains.md", "exec"), {})


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:steppers|chains)\.[\w.]+)`", PAGE))))
def test_a_name_on_the_page_is_there(name):
    found = resolve_name(name if name.startswith("steppers") else f"steppers.styles.{name}")
    assert found is not None


def test_the_rules_on_the_page_are_there():
    rows = [line.split("|")[3] for line in PAGE.splitlines() if line.startswith("| ")]
    named = {name for cell in rows[1:] for name in re.findall(r"`([a-z_0-9]+)`", cell)}
    assert len(named) > 30
    assert [n for n in sorted(named) if not hasattr(steppers.rules, n)] == ["curvature"]
