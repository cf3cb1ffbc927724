"""What a chain is traced to: types, shared and dropped values, names, and how it prints."""

import pytest
from traced import computed, program, types

from steppers.ops import (
    amax,
    exp,
    mean,
    norm,
    numel,
    one,
    rows,
    sqrt,
    square,
    sum,
    total,
    transpose,
    where,
    zero,
    zeros,
    zeros_columns,
    zeros_left,
    zeros_right,
    zeros_rows,
)
from steppers.rules import adam, average_grad, average_square, decay, descend, lookahead

FULL = "(n, m)"
PLUS = lambda p, x: p + x  # noqa: E731  (how a row's value reaches p, unless its shape is another)
# fmt: off
TYPES = [  # what x is, its type, how it reaches p
    ("a hyper", lambda p, g, t, lr: 2 * lr, "host", PLUS),
    ("the step count", lambda p, g, t, lr: 1 - lr**t, "host", PLUS),
    ("a size", lambda p, g, t, lr: rows(p) / numel(p), "host", PLUS),
    ("a condition on the host", lambda p, g, t, lr: where(t > 5, lr, 1.0), "host", PLUS),
    ("a total", lambda p, g, t, lr: total(g), "global", PLUS),
    ("a total and a hyper", lambda p, g, t, lr: lr * sqrt(total(g)), "global", PLUS),
    ("a norm", lambda p, g, t, lr: norm(g), "per-tensor", PLUS),
    ("a norm and a total", lambda p, g, t, lr: norm(g) / total(g), "per-tensor", PLUS),
    ("over columns", lambda p, g, t, lr: mean(g, over="columns"), "(n, 1)", PLUS),
    ("over rows", lambda p, g, t, lr: amax(g, over="rows"), "(1, m)", PLUS),
    ("over a matrix", lambda p, g, t, lr: sum(g, over="matrix"), "(1, 1)", PLUS),
    ("over the rest", lambda p, g, t, lr: mean(g, over="rest"), "(first, 1)", PLUS),
    ("rows and a norm", lambda p, g, t, lr: sum(g, over="columns") * norm(g), "(n, 1)", PLUS),
    ("rows and a total", lambda p, g, t, lr: sum(g, over="columns") * total(g), "(n, 1)", PLUS),
    ("rows and columns", lambda p, g, t, lr: sum(g, over="columns") * sum(g, over="rows"), FULL,
     PLUS),
    ("the rest and all", lambda p, g, t, lr: g - mean(g, over="rest"), FULL, PLUS),
    ("a norm and all", lambda p, g, t, lr: g / norm(g), FULL, PLUS),
    ("a comparison", lambda p, g, t, lr: norm(g) > lr, "per-tensor", PLUS),
    ("a choice", lambda p, g, t, lr: where(norm(g) > lr, g, 0.0), FULL, PLUS),
    ("a transposed one", lambda p, g, t, lr: transpose(g), "(m, n)", lambda p, x: p @ x @ p),
    ("a left product", lambda p, g, t, lr: g @ transpose(g), "(n, n)", lambda p, x: x @ p),
    ("a right product", lambda p, g, t, lr: transpose(g) @ g, "(m, m)", lambda p, x: p @ x),
    ("the norms of a left product's rows",
     lambda p, g, t, lr: norm(g @ transpose(g), over="columns"), "(n, 1)", PLUS),
]
# fmt: on


@pytest.mark.parametrize(("what", "make", "type", "reach"), TYPES, ids=[row[0] for row in TYPES])
def test_a_value_has_the_type(what, make, type, reach):
    def rule(p, g, *, t, lr):
        x = make(p, g, t, lr)
        return dict(p=reach(p, x))

    assert types(str(program(rule, lr=0.1)))["x"] == type


# fmt: off
SLOTS = [  # initialiser, what feeds the slot, its type, how it reaches p
    (zeros, lambda g, t: g, FULL, PLUS), (zeros, lambda g, t: norm(g), FULL, PLUS),
    (zeros_rows, lambda g, t: sum(g, over="columns"), "(n, 1)", PLUS),
    (zeros_columns, lambda g, t: sum(g, over="rows"), "(1, m)", PLUS),
    (zeros_left, lambda g, t: g @ transpose(g), "(n, n)", lambda p, x: x @ p),
    (zeros_right, lambda g, t: transpose(g) @ g, "(m, m)", lambda p, x: p @ x),
    (one, lambda g, t: t, "host", PLUS), (zero, lambda g, t: total(g), "per-tensor", PLUS),
    (zero, lambda g, t: norm(g), "per-tensor", PLUS),
]
# fmt: on


@pytest.mark.parametrize(("slot", "feed", "type", "reach"), SLOTS)
def test_a_slot_has_the_type_of_its_initialiser_and_of_what_feeds_it(slot, feed, type, reach):
    def rule(p, g, kept=slot, *, t):
        x = kept + feed(g, t)
        return dict(p=reach(p, x), kept=x)

    assert types(str(program(rule)))["x"] == type


def test_a_host_slot_that_a_reduction_reaches_only_later_is_no_host_slot():
    """`first` looks like a host scalar until `second`, which feeds it, is seen to hold a norm."""

    def rule(p, g, first=zero, second=zero):
        after = first + second
        return dict(p=p - after, first=after, second=norm(g))

    assert types(str(program(rule)))["after"] == "per-tensor"


# fmt: off
MISFITS = [  # what does not fit, and how it is told
    ("rule: add of shapes (n, m) and (m, n) does not fit", lambda p, g: g + transpose(g)),
    ("rule: add of shapes (n, n) and (n, m) does not fit", lambda p, g: g @ transpose(g) + g),
    ("rule: matmul of shapes (n, m) and (n, m) does not fit", lambda p, g: p @ g),
    ("rule: matmul of shapes (n, m) and per-tensor does not fit", lambda p, g: p @ norm(g)),
    ("rule: mul of shapes (first, 1) and (n, 1) does not fit",
     lambda p, g: sum(g, over="rest") * sum(g, over="columns")),
    ("rule returns p of shape (m, n) in steps, but p has shape (n, m)",
     lambda p, g: transpose(p)),
    ("rule: norm reduces a tensor, got a per-tensor number", lambda p, g: g / norm(norm(g))),
    ("rule: sum reduces a tensor, got a global number", lambda p, g: g / sum(total(g))),
]
# fmt: on


@pytest.mark.parametrize(("text", "make"), MISFITS, ids=[row[0] for row in MISFITS])
def test_shapes_that_do_not_fit_are_told_when_the_chain_is_built(text, make):
    def rule(p, g):
        return dict(p=make(p, g))

    with pytest.raises(TypeError) as caught:
        program(rule)
    assert str(caught.value) == text


def test_a_slot_takes_no_value_of_another_shape():
    def rule(p, g, row=zeros_rows):
        return dict(p=p - row, row=row + g)

    text = "rule returns row of shape (n, m) in steps, but row has shape (n, 1)"
    with pytest.raises(TypeError) as caught:
        program(rule)
    assert str(caught.value) == text


# --- shared and dropped values -----------------------------------------------------------------


def ops_of(*rules, **hypers):
    return computed(str(program(*rules, **hypers)))


def test_equal_values_of_two_rules_are_computed_once():
    def first(g, a=zeros):
        return dict(a=a + square(g))

    def second(p, g, a):
        return dict(p=p - square(g) / a)

    assert ops_of(first, second).count("square") == 1


def test_equal_host_values_are_computed_once():
    found = ops_of(decay, decay, descend, lr=0.1, weight_decay=0.1)
    assert found == ["mul", "sub", "mul", "mul", "mul", "sub"]  # the factor once, p twice, descend


def test_values_over_other_axes_are_two():
    def rule(p, g):
        return dict(p=p - sum(g, over="rows") - sum(g, over="columns"))

    assert ops_of(rule).count("sum") == 2


def test_plus_and_minus_zero_are_two_numbers():
    def rule(p, g):
        return dict(p=p + (g * 0.0 + g * -0.0))

    assert ops_of(rule).count("mul") == 2


def test_a_value_that_reaches_nothing_is_dropped():
    def rule(p, g, *, lr):
        exp(g)
        return dict(p=p - lr * g)

    assert ops_of(rule, lr=0.1) == ["mul", "sub"]


def test_a_direction_that_is_read_but_not_used_is_dropped():
    def first(g):
        return dict(u=exp(g))

    def second(g, u):
        return dict(u=2 * g)

    assert "exp" not in ops_of(first, second, descend, lr=0.1)


# --- names and print ---------------------------------------------------------------------------


def test_intermediates_are_called_as_in_the_rule():
    def rule(p, g, *, lr):
        numerator = g * 2
        denominator = sqrt(square(g)) + 1
        return dict(p=p - lr * numerator / denominator)

    assert types(str(program(rule, lr=0.1))) == dict.fromkeys(
        ["numerator", "denominator", "p"], FULL
    )


def test_an_intermediate_is_named_by_its_first_variable():
    def rule(p, g, *, lr):
        speed = g * 2
        alias = speed
        return dict(p=p - lr * alias)

    assert set(types(str(program(rule, lr=0.1)))) == {"speed", "p"}


def test_a_helpers_variables_give_no_names():
    def halve(x):
        inner = x / 2
        return inner + 1

    def rule(p, g):
        return dict(p=p - halve(g))

    assert set(types(str(program(rule)))) == {"p"}


def test_lookahead_prints_both_sides_of_its_condition():
    text = str(program(descend, lookahead, lr=0.1))
    assert (
        text
        == """\
program steps
pass 0: reads alpha, g, k, lr, p, slow, t
  %0: (n, m) = mul lr, g    # descend
  %1.p: (n, m) = sub p, %0    # descend
  %2: host = mod t, k    # lookahead
  %3: host = eq %2, 0    # lookahead
  %4: (n, m) = lerp slow, %1.p, alpha    # lookahead
  %5.slow: (n, m) = where %3, %4, slow    # lookahead
  %6.p: (n, m) = where %3, %5.slow, %1.p    # lookahead
  store p <- %6.p
  store slow <- %5.slow"""
    )


def test_an_adam_prints_one_pass():
    text = str(program(average_grad, average_square, adam, descend, lr=0.1))
    assert (
        text
        == """\
program steps
pass 0: reads beta1, beta2, eps, exp_avg, exp_avg_sq, g, lr, p, t
  %0: host = sub 1, beta1    # average_grad
  %1.exp_avg: (n, m) = lerp exp_avg, g, %0    # average_grad
  %2: (n, m) = mul beta2, exp_avg_sq    # average_square
  %3: host = sub 1, beta2    # average_square
  %4: (n, m) = square g    # average_square
  %5: (n, m) = mul %3, %4    # average_square
  %6.exp_avg_sq: (n, m) = add %2, %5    # average_square
  %7: host = pow beta1, t    # adam
  %8: host = sub 1, %7    # adam
  %9.mean: (n, m) = div %1.exp_avg, %8    # adam
  %10: host = pow beta2, t    # adam
  %11: host = sub 1, %10    # adam
  %12: (n, m) = div %6.exp_avg_sq, %11    # adam
  %13: (n, m) = sqrt %12    # adam
  %14: (n, m) = add %13, eps    # adam
  %15.u: (n, m) = div %9.mean, %14    # adam
  %16: (n, m) = mul lr, %15.u    # descend
  %17.p: (n, m) = sub p, %16    # descend
  store exp_avg <- %1.exp_avg
  store exp_avg_sq <- %6.exp_avg_sq
  store p <- %17.p"""
    )
