"""Styles and catalogue beside the originals: fastai, labml, timm, Composer, qhoptim.

`make originals` installs these and runs this; elsewhere what is not installed is skipped.
"""

import warnings
from functools import partial

import pytest
import torch
from originals import alone, original

import steppers
from steppers.styles import composer, fastai, labml, timm

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs: deprecated spellings

SHAPES = ((4, 3), (3,), (2, 2, 2))
STEPS = 14


def walk(make, change=None):
    """Where the parameters are after each of some steps on given gradients, at changing rates."""
    generator = torch.Generator().manual_seed(7)
    draw = partial(torch.randn, generator=generator, dtype=torch.float64)
    params = [draw(shape).requires_grad_() for shape in SHAPES]
    optimizer = make(params)
    seen = []
    for i in range(STEPS):
        for p in params:
            p.grad = draw(p.shape)
        if i == 8:
            (change or halve)(optimizer)
        optimizer.step()
        seen.append([p.detach().clone() for p in params])
    return seen


def halve(optimizer):
    """Half the rate, as a scheduler writes it."""
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] / 2


def halve_fastais(optimizer):
    """The same as fastai's schedules write it."""
    optimizer.set_hyper("lr", optimizer.hypers[-1]["lr"] / 2)


def assert_same(theirs, ours, rtol=1e-9):
    for step, (a, b) in enumerate(zip(theirs, ours, strict=True), 1):
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(
                y, x, rtol=rtol, atol=1e-12, msg=lambda m, s=step: f"{s}: {m}"
            )


# --- fastai ------------------------------------------------------------------------------------

# fmt: off
FASTAI = {
    "SGD": ("SGD", dict(lr=0.1, wd=0.1)),
    "SGD, momentum": ("SGD", dict(lr=0.1, mom=0.9, wd=0.1)),
    "SGD, momentum, L2": ("SGD", dict(lr=0.1, mom=0.9, wd=0.1, decouple_wd=False)),
    "RMSProp": ("RMSProp", dict(lr=0.01, wd=0.1)),
    "RMSProp, momentum": ("RMSProp", dict(lr=0.01, mom=0.9)),
    "Adam": ("Adam", dict(lr=0.1)),
    "Adam, L2": ("Adam", dict(lr=0.1, wd=0.1, decouple_wd=False)),
    "RAdam": ("RAdam", dict(lr=0.1, wd=0.1)),
    "RAdam, no eps": ("RAdam", dict(lr=0.1, eps=0.0)),
    "RAdam, softplus": ("RAdam", dict(lr=0.1, beta=5.0)),
    "QHAdam": ("QHAdam", dict(lr=0.1)),
    "QHAdam, mixed": ("QHAdam", dict(lr=0.1, mom=0.9, sqr_mom=0.99, nu_1=0.5, nu_2=0.8, wd=0.1)),
    "Larc": ("Larc", dict(lr=0.1, wd=0.1)),
    "Larc, no clip": ("Larc", dict(lr=0.1, clip=False)),
    "Larc, no momentum": ("Larc", dict(lr=0.1, mom=0.0)),
    "Lamb": ("Lamb", dict(lr=0.01, wd=0.1)),
    "ranger": ("ranger", dict(lr=0.1)),
}
# fmt: on


@pytest.mark.parametrize("name", FASTAI)
def test_fastais_style_is_fastai(name):
    factory, options = FASTAI[name]
    theirs = original("fastai.optimizer")
    there = walk(lambda ps: getattr(theirs, factory)(ps, **options), halve_fastais)
    assert_same(there, walk(lambda ps: getattr(fastai, factory)(ps, **options), halve_fastais))


def test_fastais_lookahead():
    theirs = original("fastai.optimizer")
    there = walk(lambda ps: theirs.Lookahead(theirs.SGD(ps, lr=0.1), k=3, alpha=0.3), halve_fastais)
    ours = walk(lambda ps: fastai.Lookahead(fastai.SGD(ps, lr=0.1), k=3, alpha=0.3), halve_fastais)
    assert_same(there, ours)


@pytest.mark.parametrize("rates", [[0.1, 0.2], slice(1e-2), slice(1e-4, 1e-2)])
def test_rates_are_shared_out_as_fastai_does(rates):
    theirs = original("fastai.optimizer")
    lists = [[torch.nn.Parameter(torch.ones(1))] for _ in range(2)]
    there, ours = theirs.SGD(lists, lr=rates), fastai.SGD(lists, lr=rates)
    assert [float(h["lr"]) for h in there.hypers] == pytest.approx([h["lr"] for h in ours.hypers])


def test_callbacks_of_ones_own_run_alike():
    theirs = original("fastai.optimizer")

    def counting(p, count=0, **_):
        return {"count": count + 1}

    def sign_step(p, lr, grad_avg, count, **_):
        p.data.add_(torch.sign(grad_avg), alpha=-lr / count)

    def built(home):
        cbs = [home.weight_decay, partial(home.average_grad, dampening=True), counting, sign_step]
        return lambda ps: home.Optimizer(ps, cbs, lr=0.1, mom=0.9, wd=0.1)

    assert_same(walk(built(theirs), halve_fastais), walk(built(fastai), halve_fastais))


def test_a_wrapped_optimizer_has_fastais_hypers():
    theirs = original("fastai.optimizer")
    params = [[torch.nn.Parameter(torch.ones(2))], [torch.nn.Parameter(torch.ones(1))]]
    there = theirs.OptimWrapper(params, torch.optim.AdamW, lr=0.1)
    ours = fastai.OptimWrapper(params, torch.optim.AdamW, lr=0.1)
    for wrapper in (there, ours):
        wrapper.set_hyper("mom", [0.8, 0.7])
        wrapper.set_hyper("wd", 0.3)
    for a, b in zip(there.hypers, ours.hypers, strict=True):
        assert {k: a[k] for k in ("lr", "mom", "sqr_mom", "wd")} == {
            k: b[k] for k in ("lr", "mom", "sqr_mom", "wd")
        }


def test_fastais_schedules_are_ours():
    theirs = original("fastai.callback.schedule")
    from steppers import schedules

    pairs = [
        (theirs.SchedLin(1e-3, 0.1), schedules.lin(1e-3, 0.1)),
        (theirs.SchedCos(1e-3, 0.1), schedules.cos(1e-3, 0.1)),
        (theirs.SchedExp(1e-3, 0.1), schedules.exp(1e-3, 0.1)),
        (theirs.SchedPoly(1e-3, 0.1, 2), schedules.poly(1e-3, 0.1, 2)),
        (theirs.combined_cos(0.25, 0.5, 1.0, 0.0), schedules.combined_cos(0.25, 0.5, 1.0, 0.0)),
        (
            theirs.combine_scheds([0.3, 0.2, 0.5], [theirs.SchedLin(0, 1), theirs.SchedNo(1, 1),
                                                    theirs.SchedCos(1, 0)]),
            schedules.combine([0.3, 0.2, 0.5], [schedules.lin(0, 1), schedules.no(1),
                                                schedules.cos(1, 0)]),
        ),
    ]  # fmt: skip
    for there, ours in pairs:  # fastai adds up shares in float32
        for k in range(101):
            assert ours(k / 100) == pytest.approx(float(there(k / 100)), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", ["valley", "slide", "minimum", "steep"])
@pytest.mark.parametrize("seed", range(6))
def test_the_finders_suggestions_are_fastais(name, seed):
    theirs = original("fastai.callback.schedule")
    from steppers.lr_find import suggest

    generator = torch.Generator().manual_seed(seed)
    x = torch.linspace(0, 1, 90, dtype=torch.float64)
    losses = 2.3 - 1.5 * torch.sigmoid(12 * (x - 0.45)) + 60 * (x - 0.8).clamp(min=0) ** 2
    losses += 0.02 * torch.randn(90, generator=generator, dtype=torch.float64)
    rates = 1e-7 * 1e8**x
    rate, _ = getattr(theirs, name)(rates, losses, 100)
    ours = getattr(suggest, name)(rates.tolist(), losses.tolist())
    assert ours == pytest.approx(float(rate), rel=1e-9)


# --- labml -------------------------------------------------------------------------------------

# fmt: off
LABML = {
    "Adam": ("adam", "Adam", dict(lr=0.1, eps=1e-3)),
    "Adam, eps late": ("adam", "Adam", dict(lr=0.1, eps=1e-3, optimized_update=False)),
    "AMSGrad": ("amsgrad", "AMSGrad", dict(lr=0.1, betas=(0.9, 0.5))),
    "RAdam": ("radam", "RAdam", dict(lr=0.1, betas=(0.9, 0.99))),
    "RAdam, still": ("radam", "RAdam",
                     dict(lr=0.1, betas=(0.9, 0.99), degenerated_to_sgd=False)),
    "Noam": ("noam", "Noam", dict(lr=1.0, warmup=4, d_model=16)),
    "AdamWarmup": ("adam_warmup", "AdamWarmup", dict(lr=0.1, warmup=4)),
    "cosine": ("adam_warmup_cosine_decay", "AdamWarmupCosineDecay",
               dict(lr=0.1, warmup=2, total_steps=20)),
    "Sophia": ("sophia", "Sophia", dict(lr=0.1, rho=0.5)),
}
DECAYS = {
    "no decay": None,
    "decoupled": dict(weight_decay=0.1),
    "absolute": dict(weight_decay=0.1, absolute=True),
    "L2": dict(weight_decay=0.1, weight_decouple=False),
}
# fmt: on


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("name", LABML)
def test_labmls_style_is_labml(name, decay):
    module, cls, options = LABML[name]
    root = original("labml_nn.optimizers")
    theirs = getattr(original(f"labml_nn.optimizers.{module}"), cls)
    given = DECAYS[decay] or {}
    there = walk(lambda ps: theirs(ps, **options, weight_decay=root.WeightDecay(**given)))
    ours = walk(
        lambda ps: getattr(labml, cls)(ps, **options, weight_decay=labml.WeightDecay(**given))
    )
    assert_same(there, ours)


def test_labmls_adabelief_is_labml_with_the_options_that_it_ends_up_with():
    """There positional arguments are shifted: amsgrad is on, eps late, still while rho < 5."""
    theirs = original("labml_nn.optimizers.ada_belief").AdaBelief
    ours = partial(labml.AdaBelief, optimized_update=False, amsgrad=True, degenerate_to_sgd=False)
    both = dict(lr=0.1, betas=(0.9, 0.99), eps=1e-8)
    assert_same(walk(lambda ps: theirs(ps, **both)), walk(lambda ps: ours(ps, **both)))


def test_sophias_curvature_is_labmls():
    theirs = original("labml_nn.optimizers.sophia").Sophia

    def made(cls):
        def make(params):
            optimizer = cls(params, lr=0.1, rho=0.5)
            first, step = iter(range(STEPS)), optimizer.step

            def stepping():
                step()
                if next(first) % 3 == 0:
                    optimizer.update_hessian(16)

            optimizer.step = stepping
            return optimizer

        return make

    assert_same(walk(made(theirs)), walk(made(labml.Sophia)))


# --- timm --------------------------------------------------------------------------------------

# fmt: off
TIMM = {
    "SGDW": ("sgdw", "SGDW", dict(lr=0.1, momentum=0.9, weight_decay=0.1)),
    "SGDW, nesterov": ("sgdw", "SGDW",
                       dict(lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True)),
    "SGDW, caution": ("sgdw", "SGDW", dict(lr=0.1, momentum=0.9, caution=True)),
    "SGDW, corrected": ("sgdw", "SGDW",
                        dict(lr=0.1, weight_decay=0.1, corrected_weight_decay=True)),
    "Lamb": ("lamb", "Lamb", dict(lr=0.1)),
    "Lamb, no decay": ("lamb", "Lamb", dict(lr=0.1, weight_decay=0.0)),
    "Lamb, always": ("lamb", "Lamb", dict(lr=0.1, weight_decay=0.0, always_adapt=True)),
    "Lamb, clip": ("lamb", "Lamb", dict(lr=0.1, trust_clip=True, max_grad_norm=None)),
    "Lamb, raw": ("lamb", "Lamb", dict(lr=0.1, bias_correction=False, grad_averaging=False)),
    "Lamb, decoupled": ("lamb", "Lamb", dict(lr=0.1, weight_decay=0.1, decoupled_decay=True)),
    "Lamb, caution": ("lamb", "Lamb", dict(lr=0.1, caution=True)),
    "Lars": ("lars", "Lars", dict(lr=0.1, momentum=0.9, weight_decay=0.1)),
    "Lars, clip": ("lars", "Lars",
                   dict(lr=0.1, momentum=0.9, weight_decay=0.1, trust_clip=True)),
    "Lars, no decay": ("lars", "Lars", dict(lr=0.1, momentum=0.9)),
    "Lars, always": ("lars", "Lars",
                     dict(lr=0.1, momentum=0.9, nesterov=True, always_adapt=True)),
}
# fmt: on


@pytest.mark.parametrize("name", TIMM)
def test_timms_style_is_timm(name, monkeypatch):
    module, cls, options = TIMM[name]
    theirs = getattr(alone(monkeypatch, f"timm.optim.{module}"), cls)
    ours = getattr(timm, cls)
    assert_same(walk(lambda ps: theirs(ps, **options)), walk(lambda ps: ours(ps, **options)))


def test_timms_lookahead(monkeypatch):
    theirs = alone(monkeypatch, "timm.optim.lookahead").Lookahead

    def around(cls):
        return lambda ps: cls(torch.optim.SGD(ps, lr=0.1), alpha=0.3, k=3)

    assert_same(walk(around(theirs)), walk(around(timm.Lookahead)))


# fmt: off
CATALOGUE = {
    "timm Lars is LARS": ("timm.optim.lars", "Lars", dict(lr=0.1, momentum=0.9, weight_decay=0.1),
                          steppers.LARS, {}),
    "timm Lars is LARC": (
        "timm.optim.lars", "Lars", dict(lr=0.1, momentum=0.9, weight_decay=0.1, trust_clip=True),
        steppers.LARC, dict(trust_clip=None, trust_coefficient=1e-3)),
    "timm Lamb is LAMB": (
        "timm.optim.lamb", "Lamb", dict(lr=0.1, weight_decay=0.1, max_grad_norm=None),
        steppers.LAMB, dict(max_grad_norm=None, trust_clip=float("inf"))),
    "timm SGDW is SGDW": ("timm.optim.sgdw", "SGDW",
                          dict(lr=0.1, momentum=0.9, weight_decay=0.1), steppers.SGDW, {}),
    "qhoptim QHAdam": (
        "qhoptim.pyt", "QHAdam",
        dict(lr=0.1, betas=(0.9, 0.99), nus=(0.6, 0.8), eps=1e-8, weight_decay=0.1),
        steppers.QHAdam, {}),
}
# fmt: on


@pytest.mark.parametrize("name", CATALOGUE)
def test_the_catalogue_is_the_others(name, monkeypatch):
    module, cls, options, ours, changed = CATALOGUE[name]
    home = alone(monkeypatch, module) if module.startswith("timm") else original(module)
    own = {n: v for n, v in {**options, **changed}.items() if v is not None}
    there = walk(lambda ps: getattr(home, cls)(ps, **options))
    assert_same(there, walk(lambda ps: ours(ps, **own)))


# --- Composer ----------------------------------------------------------------------------------

# fmt: off
COMPOSER = {
    "SGD": ("DecoupledSGDW", dict(lr=0.1, weight_decay=1e-4)),
    "SGD, momentum": ("DecoupledSGDW", dict(lr=0.1, momentum=0.9, dampening=0.3,
                                            weight_decay=1e-4)),
    "SGD, nesterov": ("DecoupledSGDW", dict(lr=0.1, momentum=0.9, nesterov=True,
                                            weight_decay=1e-4)),
    "AdamW": ("DecoupledAdamW", dict(lr=0.1)),
    "AdamW, decay": ("DecoupledAdamW", dict(lr=0.1, weight_decay=1e-4, betas=(0.8, 0.9))),
    "AdamW, AMSGrad": ("DecoupledAdamW", dict(lr=0.1, betas=(0.9, 0.5), amsgrad=True)),
}
# fmt: on


@pytest.mark.parametrize("name", COMPOSER)
@pytest.mark.parametrize("home", [composer, steppers], ids=["style", "catalogue"])
def test_composers_style_and_the_catalogue_are_composer(name, home, monkeypatch):
    cls, options = COMPOSER[name]
    module = "composer.optim.decoupled_weight_decay"
    theirs = getattr(alone(monkeypatch, module, "composer.utils"), cls)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        there = walk(lambda ps: theirs(ps, **options))
        ours = walk(lambda ps: getattr(home, cls)(ps, **options))
    assert_same(there, ours)
