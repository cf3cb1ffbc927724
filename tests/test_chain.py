"""Rules whose names do not fit together: every binding error, when the class or chain is built."""

import inspect

import pytest
from building import WAYS, Wrong, as_class, build, by_id, check_wrong, parameter

import steppers
from steppers import Optimizer, by_shape, catalogue, rules
from steppers.chain import ByShape
from steppers.ops import lerp, square, zeros
from steppers.rules import adam, average_grad, average_square, clip_by_norm, decay, descend, l2

LR = dict(lr=0.1)


def misspelt(exp_avgg):
    return dict(u=exp_avgg)


def second_keeper(g, exp_avg=zeros):
    return dict(exp_avg=exp_avg + g, u=exp_avg)


def other_default(g, *, beta1=0.5):
    return dict(g=beta1 * g)


def unread(g):
    return dict(noise=g)


def plain_direction(g):
    return dict(u=g)


def statistic_of_a_statistic(exp_avg, twice_avg=zeros):
    return dict(twice_avg=lerp(twice_avg, exp_avg, 0.1))


def takes_exp_avg(exp_avg):
    return dict(u=exp_avg)


def foreign_slot(p, exp_avg):
    return dict(exp_avg=2 * exp_avg, p=p - exp_avg)


def dead_slot(p, g, squares=zeros, *, lr):
    return dict(p=p - lr * g, squares=squares + square(g))


def slot_lr(p, g, lr=zeros):
    return dict(p=p - lr * g, lr=lr + 1)


def lr(p, u, *, lr):
    return dict(p=p - lr * u)


def evaluate_with_u(p):
    return dict(u=p)


def reads_second(p, second):
    return dict(p=p - second)


MISSING = "but no rule before it returns that and no rule keeps it"
STEPPER = "is a stepper such as descend missing?"
# fmt: off
ERRORS = [
    Wrong("a misspelt name", [average_grad, misspelt, descend],
          f"{{owner}}: misspelt reads 'exp_avgg', {MISSING}; did you mean 'exp_avg'?", LR),
    Wrong("a name that only a later rule returns", [average_grad, adam, average_square, descend],
          f"{{owner}}: adam reads 'second', {MISSING}", LR),
    Wrong("a value of another chain", [average_grad, average_square, adam, descend],
          f"{{owner}}: reads_second reads 'second', {MISSING}", LR, {"more": (reads_second,)}),
    Wrong("a slot with two keepers", [average_grad, second_keeper, descend],
          "{owner}: slot 'exp_avg' has two keepers, average_grad and second_keeper; one of them "
          "reads it without a default", LR),
    Wrong("a value that nobody reads", [unread, descend],
          "{owner}: unread returns 'noise', but nothing reads it: drop it", LR),
    Wrong("a direction that nobody reads", [average_grad, average_square, adam],
          f"{{owner}}: adam returns 'u', but nothing reads it: {STEPPER}"),
    Wrong("a gradient that nobody reads", [clip_by_norm],
          f"{{owner}}: clip_by_norm returns 'g', but nothing reads it: {STEPPER}"),
    Wrong("a direction overwritten before it is read", [plain_direction, plain_direction, descend],
          f"{{owner}}: plain_direction returns 'u', but nothing reads it: {STEPPER}", LR),
    Wrong("a slot that nothing uses", [average_grad, descend],
          "{owner}: average_grad keeps exp_avg, but nothing uses it: is a direction missing before "
          "descend?", LR),
    Wrong("a slot of the stepper on which p does not depend", [dead_slot],
          "{owner}: dead_slot keeps squares, but nothing uses it: is a direction missing before "
          "descend?", LR),
    Wrong("no rule that returns p, with a slot", [average_grad],
          f"{{owner}}: average_grad keeps exp_avg, but no rule returns p: {STEPPER}"),
    Wrong("a slot of a rule that only reads it", [average_grad, foreign_slot],
          "{owner}: foreign_slot returns slot 'exp_avg', but average_grad keeps it; a slot has one "
          "keeper"),
    Wrong("a slot named like a hyper of another rule", [slot_lr, descend],
          "{owner}: slot_lr keeps slot 'lr', but that names a hyper", LR),
    Wrong("a rule named like a hyper", [lr],
          "{owner}: rule lr has the name of a hyper-parameter", LR),
    Wrong("one hyper with two defaults", [other_default, average_grad, takes_exp_avg, descend],
          "{owner}: beta1 has two defaults, 0.5 in other_default and 0.9 in average_grad; state "
          "one in the class's `defaults`", LR),
    Wrong("no steps", [], "{owner}: steps is empty; an optimizer needs at least one rule"),
    Wrong("an empty further chain", [descend],
          "{owner}: more is empty; an optimizer needs at least one rule", LR, {"more": ()}),
    Wrong("a further chain that ends in a direction", [descend],
          f"{{owner}}: evaluate_with_u returns 'u', but nothing reads it: {STEPPER}", LR,
          {"more": (evaluate_with_u,)}),
]
# fmt: on


@by_id(ERRORS)
def test_a_binding_error_says(row, way):
    check_wrong(row, way)


@pytest.mark.parametrize("way", WAYS)
def test_a_slot_that_only_an_unused_slot_uses_is_unused(way):
    """Both are: either may be named."""
    either = "(average_grad keeps exp_avg|statistic_of_a_statistic keeps twice_avg)"
    with pytest.raises(TypeError, match=f"{either}, but nothing uses it: is a direction missing"):
        build(way, [average_grad, statistic_of_a_statistic, descend], lr=0.1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("late", [l2, clip_by_norm])
def test_a_gradient_changed_after_the_direction_was_made_reaches_nothing(late, way):
    steps = [average_grad, average_square, adam, late, descend]
    with pytest.raises(TypeError, match=f"{late.__name__} returns 'g', but nothing reads it"):
        build(way, steps, lr=0.1)


@pytest.mark.parametrize("way", WAYS)
def test_one_side_of_a_choice_by_shape_is_checked_too(way):
    steps = [
        by_shape(matrices=[average_grad, average_square, adam], others=[average_grad]),
        descend,
    ]
    with pytest.raises(TypeError, match="average_grad keeps exp_avg, but nothing uses it"):
        build(way, steps, lr=0.1)


def test_an_option_is_checked_in_the_state_that_is_not_the_default():
    def steps(broken=False):
        return (average_grad, descend) if broken else (descend,)

    with pytest.raises(TypeError, match="average_grad keeps exp_avg, but nothing uses it"):
        as_class(steps, lr=0.1, broken=False)


# --- what is sound -----------------------------------------------------------------------------


def pulls(p, mean=zeros):
    return dict(mean=lerp(mean, p, 0.5))


def use_mean(mean):
    return dict(p=mean)


def reads_old(p, exp_avg, *, lr):
    return dict(p=p - lr * exp_avg)


# fmt: off
SOUND = {
    "u reads as g until a rule returns it": ([clip_by_norm, descend], {}),
    "a slot read before its keeper runs has its old value": ([reads_old, average_grad], {}),
    "a slot that only evaluate uses": ([descend, pulls], {"evaluate": (use_mean,)}),
    "a rule twice": ([decay, decay, descend], {}),
    "a slot of a further chain that steps reads":
        ([reads_old], {"curvature": (average_grad,)}),
    "one function in place of a list": (descend, {}),
    "a lambda": ([lambda p, u, *, lr: dict(p=p - lr * u)], {}),
}
# fmt: on


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("what", SOUND)
def test_is_sound(what, way):
    steps, further = SOUND[what]
    build(way, steps, further, lr=0.1)


TWO_DEFAULTS = [other_default, average_grad, takes_exp_avg, descend]


def test_the_class_settles_two_defaults():
    made = as_class(TWO_DEFAULTS, lr=0.1, beta1=0.7)([parameter()])
    assert made.param_groups[0]["beta1"] == 0.7


def test_a_value_to_the_constructor_settles_two_defaults():
    made = Optimizer([parameter()], steps=TWO_DEFAULTS, lr=0.1, beta1=0.7)
    assert made.param_groups[0]["beta1"] == 0.7


def test_two_rules_with_one_default_agree():
    def same_default(g, *, beta1=0.9):
        return dict(g=beta1 * g)

    made = Optimizer(
        [parameter()], steps=[same_default, average_grad, takes_exp_avg, descend], lr=1
    )
    assert made.param_groups[0]["beta1"] == 0.9


def test_the_default_of_one_rule_serves_a_rule_without():
    def without(g, *, beta1):
        return dict(g=beta1 * g)

    steps = [without, average_grad, takes_exp_avg, descend]
    made = Optimizer([parameter()], steps=steps, lr=1)
    assert made.param_groups[0]["beta1"] == 0.9


def keyword_names(function):
    arguments = inspect.signature(function).parameters.values()
    return {each.name for each in arguments if each.kind is each.KEYWORD_ONLY}


def flat(steps):
    """The rules among steps, those included that a choice by shape is between."""
    for step in steps:
        if isinstance(step, ByShape):
            yield from flat((*(step.matrices or ()), *(step.others or ())))
        elif inspect.isfunction(step):
            yield step


def test_no_rule_of_the_catalogue_has_a_hypers_name():
    modules = [vars(getattr(catalogue, name)).get("__module__") for name in catalogue.__all__]
    homes = [inspect.sys.modules[module] for module in set(modules)]
    found = [f for home in homes for f in vars(home).values() if inspect.isfunction(f)]
    found += flat(getattr(rules, name) for name in rules.__all__)
    hypers = set().union(*(keyword_names(function) for function in found))
    assert {function.__name__ for function in found} & hypers == set()


@pytest.mark.parametrize("name", catalogue.__all__)
def test_the_catalogue_binds_with_every_option(name):
    getattr(steppers, name)  # building the class checked its chains; an error would stop the import
    for recipe in getattr(steppers, name).recipes().values():
        recipe.verify()
