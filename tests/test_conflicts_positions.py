"""The page on where the systems disagree, by numbers: our default and each position it names.

Steps are those of one number, so that every expected value is told by hand. Options of a row that
has no test here have theirs in the files that the page names.
"""

import math
from functools import partial

import pytest
import torch
from small_params import one

import steppers
from steppers import rules
from steppers.styles import composer, course, fastai, labml, miniai, timm
from steppers.styles.chains import fastai as chains

MOMENTS = (rules.average_grad, rules.average_square)
INF = float("inf")


def along(g):
    return dict(u=g)


def chain(*steps, **hypers):
    return partial(steppers.Optimizer, steps=steps, **hypers)


def end(make, *grads, start=1.0):
    """Where a number is after a step with each gradient."""
    p = one(start)
    optimizer = make([p])
    for grad in grads:
        p.grad = torch.full_like(p, grad)
        optimizer.step()
    return p.item()


def reaches(expected, **options):
    return pytest.approx(expected, **{"rel": 1e-9, "abs": 1e-12, **options})


def table(*rows):
    return pytest.mark.parametrize(("make", "expected"), rows)


# --- 1: eps in Adam's denominator: a gradient of 3 and an eps of 16 -------------------------------

ADAM = dict(lr=1.0, eps=16.0)
OUTSIDE, INSIDE = 3 / (3 + 16), 3 / math.sqrt(3**2 + 16)
EARLY = 3 / (3 + 2 * 16)  # eps over the root of 1 - beta2, which is a half
BOTH = 0.5 * 3 / (math.sqrt(0.25 * (3 - 2.7) ** 2 + 16) + 16)  # the mean is 0.9 * 3


@table(
    (chain(*MOMENTS, rules.adam, rules.descend, **ADAM), OUTSIDE),
    (partial(steppers.Adam, **ADAM), OUTSIDE),
    (partial(fastai.Adam, wd=0.0, **ADAM), OUTSIDE),
    (partial(course.adam_opt(), **ADAM), OUTSIDE),
    (partial(composer.DecoupledAdamW, weight_decay=0.0, **ADAM), OUTSIDE),
    (partial(labml.Adam, optimized_update=False, **ADAM), OUTSIDE),
    (chain(*MOMENTS, rules.adam_eps_inside, rules.descend, **ADAM), INSIDE),
    (partial(miniai.Adam, **ADAM), INSIDE),
    (chain(*MOMENTS, rules.adam_early_eps, rules.descend, beta2=0.75, **ADAM), EARLY),
    (partial(labml.Adam, betas=(0.9, 0.75), **ADAM), EARLY),
    (partial(steppers.AdaBelief, betas=(0.1, 0.75), rectify=False, **ADAM), BOTH),
)
def test_eps_has_its_place(make, expected):
    assert 1 - end(make, 3.0) == reaches(expected)


# --- 4 to 6: decay. A group that began at lr 2 is at 0.5; wd is 0.1 -------------------------------


@table(
    (rules.decay, 1 - 0.5 * 0.1 - 0.5 * 3),
    (rules.decay_absolute, 1 - 0.1 - 0.5 * 3),
    (rules.decay_by_schedule, 1 - 0.5 / 2 * 0.1 - 0.5 * 3),
    (rules.decay_corrected, 1 - 0.5**2 / 2 * 0.1 - 0.5 * 3),
    (rules.l2, 1 - 0.5 * (3 + 0.1)),
)
def test_decay_has_its_scale(make, expected):
    p = one(1.0, 3.0)
    optimizer = chain(make, along, rules.descend, lr=2.0, weight_decay=0.1)([p])
    optimizer.param_groups[0]["lr"] = 0.5
    optimizer.step()
    assert p.item() == reaches(expected)


WARM = (rules.decay, *MOMENTS, rules.adam)
AT_A_QUARTER = dict(lr=0.5, weight_decay=0.1, warmup_steps=4.0)
WARMED = 1 - 0.5 * 0.1 - 0.5 / 4  # decay by lr itself, the step by a quarter of it


@table(
    (chain(*WARM, rules.warmup_rate, rules.descend_at, **AT_A_QUARTER), WARMED),
    (chain(*WARM, rules.warmup_cosine_rate, rules.descend_at, **AT_A_QUARTER), WARMED),
    (
        chain(*WARM, rules.noam_rate, rules.descend_at, d_model=4.0, **AT_A_QUARTER),
        1 - 0.5 * 0.1 - 0.5 / 2 / 8,  # 4 ** -0.5 * 4 ** -1.5
    ),
    (partial(labml.AdamWarmup, lr=0.5, warmup=4, weight_decay=labml.WeightDecay(0.1)), WARMED),
    (partial(steppers.AdamW, lr=0.5 / 4, weight_decay=0.1), 1 - 0.5 / 4 * 0.1 - 0.5 / 4),
)
def test_a_warm_up_in_the_chain_leaves_decay_alone(make, expected):
    assert end(make, 1.0) == reaches(expected, abs=3e-8)  # eps, and 1e-8 at which warm-ups begin


BEFORE, AFTER = 1 - 0.5 * 0.1 - 0.5 * 3, (1 - 0.5 * 3) * (1 - 0.5 * 0.1)


@table(
    (partial(steppers.SGDW, lr=0.5, weight_decay=0.1), BEFORE),
    (chain(rules.decay, along, rules.descend, lr=0.5, weight_decay=0.1), BEFORE),
    (partial(fastai.SGD, lr=0.5, wd=0.1), BEFORE),
    (partial(miniai.SGD, lr=0.5, wd=0.1), BEFORE),
    (partial(course.sgd_opt, lr=0.5, wd=0.1), BEFORE),
    (chain(along, rules.descend, rules.decay, lr=0.5, weight_decay=0.1), AFTER),
    (partial(course.sgd_mom_opt, lr=0.5, wd=0.1), AFTER),
    (partial(course.adam_opt(), lr=1.5, wd=0.1 / 3, eps=0.0), AFTER),
)
def test_decay_is_before_or_after_the_step(make, expected):
    assert end(make, 3.0) == reaches(expected)


# --- 7 and 8: L2 and the gradient -----------------------------------------------------------------

L2 = dict(lr=0.5, wd=0.1)
DRAFT = partial(
    fastai.draft.StatefulOptimizer,
    steppers=[fastai.l2_reg, fastai.momentum_step],
    stats=fastai.draft.average_grad,
)
COURSE = partial(
    course.StatefulOptimizer,
    steppers=[course.l2_reg, course.momentum_step],
    stats=course.AverageGrad(),
)
SEEN, LOST = 1 - 0.5 * 3.1, 1 - 0.5 * 3.0


@table(
    (partial(steppers.SGD, lr=0.5, momentum=0.9, weight_decay=0.1), SEEN),
    (partial(fastai.SGD, mom=0.9, decouple_wd=False, **L2), SEEN),
    (partial(DRAFT, **L2), SEEN),
    (partial(DRAFT, stats_first=True, **L2), LOST),
    (partial(COURSE, **L2), SEEN),
    (partial(COURSE, stats_first=True, **L2), LOST),
)
def test_momentum_sees_l2_or_does_not(make, expected):
    assert end(make, 3.0) == reaches(expected)


STEPPERS = [fastai.l2_reg, fastai.sgd_step]


@table(
    (partial(steppers.SGD, lr=0.5, weight_decay=0.1), 3.0),
    (partial(labml.Adam, weight_decay=labml.WeightDecay(0.1, weight_decouple=False)), 3.0),
    (partial(fastai.SGD, decouple_wd=False, **L2), 3.0),
    (partial(course.Optimizer, steppers=[course.l2_reg, course.sgd_step], **L2), 3.0),
    (partial(fastai.SGD, decouple_wd=False, keep_grads=False, **L2), 3.1),
    (partial(fastai.Optimizer, cbs=STEPPERS, keep_grads=False, **L2), 3.1),
    (partial(fastai.StatefulOptimizer, steppers=STEPPERS, keep_grads=False, **L2), 3.1),
    (
        partial(
            course.Optimizer, steppers=[course.l2_reg, course.sgd_step], keep_grads=False, **L2
        ),
        3.1,
    ),
)
def test_l2_is_left_in_the_gradient_or_is_not(make, expected):
    p = one(1.0, 3.0)
    make([p]).step()
    assert p.grad is not None and p.grad.item() == reaches(expected)


# --- 9 and 10: LAMB at 2, whose direction is 1; with a decay of 0.5 -------------------------------

LAMB = dict(lr=0.1, eps=0.0)
RATIO_OF_ALL = 2 - 0.1 * 2 / (1 + 0.5 * 2) * (1 + 0.5 * 2)
APART = 2 * 0.95 - 0.1 * 2 * 0.95


@table(
    (partial(steppers.LAMB, weight_decay=0.5, **LAMB), RATIO_OF_ALL),
    (partial(course.lamb_opt, wd=0.5, **LAMB), RATIO_OF_ALL),
    (partial(timm.Lamb, weight_decay=0.5, **LAMB), RATIO_OF_ALL),
    (partial(timm.Lamb, weight_decay=0.5, decoupled_decay=True, **LAMB), APART),
    (partial(fastai.Lamb, wd=0.5, **LAMB), APART),
)
def test_lambs_decay_is_inside_the_ratio_or_apart(make, expected):
    assert end(make, 1.0, start=2.0) == reaches(expected)


UNGUARDED = partial(course.lamb_opt, steppers=partial(course.lamb_step, guard=False), **LAMB)
TIMMS = partial(timm.Lamb, weight_decay=0.0, **LAMB)


@table(  # the ratio at 100, and at 0
    (partial(steppers.LAMB, **LAMB), (10, 1)),
    (partial(fastai.Lamb, **LAMB), (10, 1)),
    (partial(course.lamb_opt, **LAMB), (10, 1)),
    (UNGUARDED, (10, 0)),
    (partial(steppers.LAMB, trust_clip=INF, **LAMB), (100, 1)),
    (TIMMS, (1, 1)),
    (partial(TIMMS, always_adapt=True), (100, 1)),
    (partial(TIMMS, always_adapt=True, trust_clip=True), (1, 1)),
)
def test_lambs_ratio_has_its_cap_and_guard(make, expected):
    found = [start - end(make, 1.0, start=start) for start in (100.0, 0.0)]
    assert found == reaches([0.1 * ratio for ratio in expected], rel=1e-7)


# --- 11: LARS and LARC from 2, with gradients of 1 and 3 ------------------------------------------

LARS = dict(lr=0.1, momentum=0.5, eps=0.0)
P1 = 2 - 0.1 * 1.0 * 1  # the ratio is trust * 2 / 1, with a trust of 0.5
AHEAD = P1 - 0.1 * (0.5 * 1 + 0.5 * P1 / 3 * 3)
BEHIND = P1 - 0.1 * (0.5 * P1 / 3) * (0.5 * 1 + 3)
CAPPED = P1 - 0.1 * (0.5 * 1 + 3)


@table(
    (partial(steppers.LARS, trust_coefficient=0.5, **LARS), AHEAD),
    (partial(timm.Lars, trust_coeff=0.5, always_adapt=True, **LARS), AHEAD),
    # at a tenth of the trust the ratio over lr is the ratio above
    (partial(steppers.LARC, trust_coefficient=0.05, **LARS), AHEAD),
    (
        partial(timm.Lars, trust_coeff=0.05, always_adapt=True, trust_clip=True, **LARS),
        AHEAD,
    ),
    (
        chain(rules.heavy_ball, rules.lars_ratio, rules.scaled_direction, rules.descend,
              trust_coefficient=0.5, **LARS),
        BEHIND,
    ),
    (partial(chains.Larc, trust_coefficient=0.5, **LARS), BEHIND),
    (partial(fastai.Larc, trust_coeff=0.5, lr=0.1, mom=0.5, eps=0.0), BEHIND),
    (partial(steppers.LARC, trust_coefficient=0.5, **LARS), CAPPED),
    (partial(timm.Lars, trust_coeff=0.5, always_adapt=True, trust_clip=True, **LARS), CAPPED),
    (partial(chains.Larc, trust_coefficient=5.0, **LARS), CAPPED),
    (partial(fastai.Larc, trust_coeff=5.0, lr=0.1, mom=0.5, eps=0.0), CAPPED),
)  # fmt: skip
def test_larcs_ratio_is_ahead_of_the_momentum_or_behind_it(make, expected):
    assert end(make, 1.0, 3.0, start=2.0) == reaches(expected)


@table(
    (partial(steppers.LARS, lr=0.1), 0.1),
    (partial(steppers.LARC, lr=0.1), 0.1),
    (partial(timm.Lars, lr=0.1, always_adapt=True), 0.1),
    (partial(fastai.Larc, lr=0.1), 0.1),
    (partial(fastai.Larc, lr=0.1, guard=False), 0.0),
)
def test_larc_moves_zeros_or_does_not(make, expected):
    assert -end(make, 1.0, start=0.0) == reaches(expected)


# --- 12 to 14: momentum and averages, with gradients of 1 and 2 -----------------------------------

HALF = dict(lr=0.1, mom=0.5)
UNDAMPENED, FIRST_WHOLE, DAMPENED = 0.1 * (1 + 2.5), 0.1 * (1 + 1.5), 0.1 * (0.5 + 1.25)
STEPS_OF_FASTAI = [partial(fastai.average_grad, dampening=True), fastai.momentum_step]


@table(
    (partial(steppers.SGD, lr=0.1, momentum=0.5), UNDAMPENED),
    (partial(fastai.SGD, **HALF), UNDAMPENED),
    (partial(course.sgd_mom_opt, wd=0.0, **HALF), UNDAMPENED),
    (partial(steppers.SGD, lr=0.1, momentum=0.5, dampening=0.5), FIRST_WHOLE),
    (partial(composer.DecoupledSGDW, lr=0.1, momentum=0.5, dampening=0.5), FIRST_WHOLE),
    (chain(rules.average_momentum, rules.descend, lr=0.1, momentum=0.5), DAMPENED),
    (partial(miniai.Momentum, **HALF), DAMPENED),
    (partial(fastai.Optimizer, cbs=STEPS_OF_FASTAI, **HALF), DAMPENED),
    (partial(course.sgd_mom_opt, stats=course.AverageGrad(True), wd=0.0, **HALF), DAMPENED),
)
def test_momentum_has_its_dampening_and_first_value(make, expected):
    assert 1 - end(make, 1.0, 2.0) == reaches(expected)


RMS = dict(lr=0.1, eps=0.0)


@table(
    (partial(steppers.RMSprop, **RMS), 0.1 * 10),  # over the root of 1 - alpha, .01
    (partial(fastai.RMSProp, **RMS), 0.1 * 10),
    (partial(miniai.RMSProp, **RMS), 0.1),
    (
        chain(along, rules.mean_square_from_first, rules.rms_scaled, rules.descend, **RMS),
        0.1,
    ),
    (chain(*MOMENTS, rules.adam, rules.descend, beta1=0.0, **RMS), 0.1),
)
def test_rmsprops_first_step_has_its_size(make, expected):
    assert 1 - end(make, 3.0) == reaches(expected)


ROOT = math.sqrt(0.75 * 0.25 + 0.25 * 2**2)  # at an alpha of .75, after a root of 1/2
SCALED_FIRST, SUMMED_FIRST = 0.1 * (2 + 0.5 * 2 + 2 / ROOT), 0.1 * (2 + (0.5 * 1 + 2) / ROOT)


@table(
    (partial(steppers.RMSprop, alpha=0.75, momentum=0.5, **RMS), SCALED_FIRST),
    (partial(fastai.RMSProp, sqr_mom=0.75, mom=0.5, **RMS), SUMMED_FIRST),
    (partial(chains.RMSProp, alpha=0.75, momentum=0.5, **RMS), SUMMED_FIRST),
    (
        chain(rules.heavy_ball, rules.mean_square, rules.rms_scaled, rules.descend,
              alpha=0.75, momentum=0.5, **RMS),
        SUMMED_FIRST,
    ),
)  # fmt: skip
def test_rmsprops_momentum_is_of_scaled_or_raw_gradients(make, expected):
    assert 1 - end(make, 1.0, 2.0) == reaches(expected)


# --- 15: RAdam, where rho is 5 exactly at step 7; gradients of 2, whose mean is 2 -----------------

BETAS = (0.9, 0.7678067796924252)
TOP = 2 / (1 - BETAS[1]) - 1
RECT = math.sqrt(3 * TOP / ((TOP - 4) * (TOP - 2) * 5))
AT_5 = (*MOMENTS, rules.adam, rules.rectification)
RADAM = dict(lr=0.1, betas=BETAS, eps=0.0)


@table(  # the first step and the seventh
    (partial(steppers.RAdam, **RADAM), (2.0, 2.0)),
    (partial(fastai.RAdam, lr=0.1, mom=0.9, sqr_mom=BETAS[1], eps=0.0), (2.0, 2.0)),
    (partial(labml.RAdam, **RADAM), (2.0, RECT)),
    (partial(labml.RAdam, degenerated_to_sgd=False, **RADAM), (0.0, RECT)),
    (chain(*AT_5, rules.rectified, rules.descend, **RADAM), (2.0, RECT)),
    (chain(*AT_5, rules.rectified_or_still, rules.descend, **RADAM), (0.0, RECT)),
)
def test_radam_switches_at_5_or_above(make, expected):
    first, seventh = 1 - end(make, 2.0), end(make, *[2.0] * 6) - end(make, *[2.0] * 7)
    assert (first, seventh) == reaches(tuple(0.1 * u for u in expected))


# --- 16: a parameter that sat out the first step: what debiases its own first ---------------------

BOTH_IDLE = dict(lr=0.1, betas=(0.9, 0.99), eps=0.0)
ITS_FIRST, ALLS_SECOND = 0.1, 0.1 * (0.1 / 0.19) / math.sqrt(0.01 / 0.0199)


def counted_together(params):
    optimizer = steppers.Adam(params, **BOTH_IDLE)
    optimizer.register_step_pre_hook(steppers.groups.count_together)
    return optimizer


@table(
    (partial(steppers.Adam, **BOTH_IDLE), ITS_FIRST),
    (partial(fastai.Adam, lr=0.1, eps=0.0, wd=0.0), ITS_FIRST),
    (partial(course.adam_opt(), lr=0.1, eps=0.0), ITS_FIRST),
    (partial(labml.Adam, **BOTH_IDLE), ITS_FIRST),
    (partial(composer.DecoupledAdamW, weight_decay=0.0, **BOTH_IDLE), ITS_FIRST),
    (partial(miniai.Adam, lr=0.1, eps=0.0), ALLS_SECOND),
    (partial(timm.Lamb, weight_decay=0.0, **BOTH_IDLE), ALLS_SECOND),
    (counted_together, ALLS_SECOND),
)
def test_steps_are_counted_by_parameter_or_together(make, expected):
    busy, idle = one(1.0, 0.5), one(1.0)
    optimizer = make([busy, idle])
    optimizer.step()
    idle.grad = torch.full_like(idle, 0.5)
    optimizer.step()
    assert 1 - idle.item() == reaches(expected)


# --- 38: Lookahead after two and four steps of 0.1, k = 2 -----------------------------------------

AHEAD_BY = (along, rules.descend)


@table(
    (chain(*AHEAD_BY, rules.lookahead, lr=0.1, k=2), (0.9, 0.8)),
    (lambda p: fastai.Lookahead(fastai.SGD(p, lr=0.1), k=2), (0.9, 0.8)),
    (chain(*AHEAD_BY, rules.lookahead_late, lr=0.1, k=2), (0.8, 0.7)),
    (lambda p: timm.Lookahead(torch.optim.SGD(p, lr=0.1), k=2), (0.8, 0.7)),
)
def test_slow_weights_are_of_the_start_or_of_the_first_sync(make, expected):
    assert (end(make, 1.0, 1.0), end(make, *[1.0] * 4)) == reaches(expected)
