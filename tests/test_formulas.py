"""Printed formulas, read back: each line is evaluated by Python over NumPy and equals the step."""

import functools

import numpy as np
import pytest
import references as ref
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import ROWS
from states import feed, parameters

import steppers
from steppers import ops

STEPS = 3
# The order of a product's factors may change in print, so some roundings differ.
CLOSE = dict(rtol=1e-9, atol=1e-12)


def orthogonalise(x, ns_steps=5, coefficients=(3.4445, -4.775, 2.0315), eps=1e-7):
    return ref.newton_schulz(x, ns_steps, coefficients, eps)


def reduced(fn):
    axes = {None: None, "columns": -1, "rows": -2, "matrix": (-2, -1)}

    def reduce(x, over=None):
        rest = tuple(range(1, np.ndim(x)))
        return fn(x, axis=rest if over == "rest" else axes[over], keepdims=over is not None)

    return reduce


def root(fn):
    return lambda x, over=None: np.sqrt(fn(np.square(x), over=over))


# fmt: off
WORDS = {
    "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "square": np.square, "abs": np.abs,
    "cos": np.cos, "exp": np.exp, "log": np.log,
    "sign": np.sign, "where": np.where, "minimum": np.minimum, "maximum": np.maximum,
    "lerp": lambda a, b, weight: a + weight * (b - a), "total": np.sum, "sum": reduced(np.sum),
    "mean": reduced(np.mean), "norm": root(reduced(np.sum)), "rms": root(reduced(np.mean)),
    "dot": lambda a, b: np.sum(a * b), "orthogonalise": orthogonalise, "inf": np.inf,
    "nan": np.nan, "rows": lambda p: p.shape[-2], "columns": lambda p: p.shape[-1],
    "numel": np.size,
}
# fmt: on


def spoken(name):
    """A printed name as a Python name: its primes become underscores."""
    return name.strip().replace("'", "_")


def read_back(lines, inputs):
    """Every printed assignment in order; the last one of a name is what the step leaves there."""
    known = {**WORDS, **inputs}
    last = {}
    for line in lines:
        text = line.rpartition("  # ")[0]
        name, _, formula = text.partition(" = ")
        with np.errstate(all="ignore"):
            known[spoken(name)] = eval(spoken(formula), {}, known)
        last[name.rstrip("'")] = known[spoken(name)]
    return last


def number(x):
    """A tensor or number as NumPy has it."""
    if isinstance(x, torch.Tensor):
        return x.detach().to(torch.float64).numpy().copy()[()]
    return np.float64(x)


def inputs_of(optimizer, p):
    """Everything that a formula may name, before a step."""
    (group,) = optimizer.param_groups
    optimizer.init_state()
    found = {n: number(x) for n, x in optimizer.state[p].items() if n != "step"}
    for name in {n for key in optimizer.hypers[0] for n in (key, *MEMBERS.get(key, ()))}:
        value = optimizer.hypers[0].get(name)
        if isinstance(value, int | float | torch.Tensor):
            found[name] = number(value)
        elif value is None and name in ("eps", "eps1"):
            found[name] = np.finfo(np.float64).eps
    taken = group["params"] and float(optimizer.state[p]["step"])
    return {**found, "p": number(p), "g": number(p.grad), "t": np.float64(taken + 1)}


MEMBERS = {
    "betas": ("beta1", "beta2"),
    "nus": ("nu1", "nu2"),
    "eps": ("eps1", "eps2"),
    "etas": ("etaminus", "etaplus"),
    "step_sizes": ("step_size_min", "step_size_max"),
}


def formulas(optimizer, p, which="steps"):
    found = optimizer.explain().groups[0].formulas
    label = " (matrices)" if p.ndim >= 2 else " (others)"
    return found.get(which) or found[which + label]


def after(optimizer, p, name):
    held = {**optimizer.param_groups[0], **optimizer.state[p], "p": p}
    return number(held[name])


# --- the catalogue -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 3), (5,)], ids=["matrix", "vector"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_printed_update_is_the_step(row, shape):
    if row.matrices and len(shape) < 2:
        shape = (3, 4)
    (p,) = parameters([shape], torch.float64)
    optimizer = row.build([p], engine="loop")
    for step in range(STEPS):
        feed([p], step)
        printed = read_back(formulas(optimizer, p), inputs_of(optimizer, p))
        optimizer.step()
        changing = {*optimizer.state[p], "p"} - {"step"}
        assert "p" in printed
        for name in changing & printed.keys():
            np.testing.assert_allclose(after(optimizer, p, name), printed[name], **CLOSE)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_slot_that_changes_is_printed(row):
    (p,) = parameters([(4, 3)], torch.float64)
    optimizer = row.build([p], engine="loop")
    optimizer.init_state()
    before, moved = {n: x.clone() for n, x in optimizer.state[p].items()}, set()
    for step in range(7):
        feed([p], step)
        optimizer.step()
        moved |= {n for n, x in before.items() if not torch.equal(x, optimizer.state[p][n])}
    printed = {line.partition(" = ")[0].rstrip("'") for line in formulas(optimizer, p)}
    assert moved - {"step"} <= printed


@pytest.mark.parametrize("row", [row for row in ROWS if row.x], ids=lambda row: row.name)
def test_the_printed_view_is_the_view(row):
    (p,) = parameters([(4, 3)], torch.float64)
    optimizer = row.build([p], engine="loop")
    for step in range(STEPS):
        feed([p], step)
        optimizer.step()
    printed = read_back(formulas(optimizer, p, "evaluate"), inputs_of(optimizer, p))
    optimizer.eval()
    np.testing.assert_allclose(number(p), printed["p"], **CLOSE)


def kept_alike(p, u, last=ops.copy_of_p, *, lr):
    p = p - lr * (u + last)
    return dict(p=p, last=p)


def test_one_value_that_two_names_take_is_printed_for_both():
    (p,) = parameters([(4, 3)], torch.float64)
    optimizer = steppers.Optimizer([p], steps=[kept_alike], lr=0.1)
    feed([p], 0)
    printed = read_back(formulas(optimizer, p), inputs_of(optimizer, p))
    optimizer.step()
    assert {"p", "last"} <= printed.keys()
    np.testing.assert_allclose(printed["p"], number(p), **CLOSE)


def swapped(p, u, other=ops.zeros, *, lr):
    return dict(p=other - lr * u, other=p)


def test_a_slot_that_takes_an_input_as_it_is_is_printed():
    (p,) = parameters([(4, 3)], torch.float64)
    before = number(p)
    optimizer = steppers.Optimizer([p], steps=[swapped], lr=0.1)
    feed([p], 0)
    printed = read_back(formulas(optimizer, p), inputs_of(optimizer, p))
    np.testing.assert_array_equal(printed["other"], before)


def folded(p, u, *, lr):
    return dict(p=functools.reduce(lambda x, _: x + lr * u, range(300), p))


def test_what_is_nested_deep_is_printed_in_several_lines():
    (p,) = parameters([(4, 3)], torch.float64)
    optimizer = steppers.Optimizer([p], steps=[folded], lr=0.1, engine="loop")
    feed([p], 0)
    lines = formulas(optimizer, p)
    printed = read_back(lines, inputs_of(optimizer, p))
    optimizer.step()
    assert 10 < len(lines) < 100
    assert max(map(len, lines)) < 300
    np.testing.assert_allclose(printed["p"], number(p), **CLOSE)


# --- parentheses -------------------------------------------------------------------------------

# fmt: off
EXPRESSIONS = (  # what a rule returns as p, as its author wrote it
    "p - (g - lr)", "p - (g + lr)", "(p - g) - lr", "p / (g / lr)", "p / (g * lr)", "p * (g / lr)",
    "(p + g) * lr", "p + g * lr", "-(p + g)", "-p + g", "-(p * g)", "(-p) * g", "p * -g",
    "p - -g", "-(-p)", "(p ** 2) ** 3", "p ** (2 ** t)", "(-p) ** 2", "-(p ** 2)", "2 ** -t * p",
    "p * (-2) ** t", "(-1) ** t * p", "(p * g) ** 2", "p * g ** 2", "(p / g) ** 2",
    "p * (t % 2)", "(p * t) % 2", "p % (t * lr)", "p / (t % 2)", "(p % lr) * g", "p - t % 2",
    "p * (g % lr)", "(p % t) % lr", "p % (t % 2)",
    "where((p > 0) == (g > 0), p, g)", "where((p > 0) != (g > 0), p, g)",
    "where((p > 0) & (g > 0), p, g)", "where((p > 0) | (g > 0), p, g)",
    "where(~(p > 0), p, g)", "where(~((p > 0) & (g > 0)), p, g)",
    "where((p > 0) | ((g > 0) & (p < 1)), p, g)", "where(((p > 0) | (g > 0)) & (p < 1), p, g)",
    "where(p + g > lr, p, g)", "where(p > g - lr, p, g)", "(p > g) * p", "p * (p > g)",
    "(p > 0) * (g > 0) * p", "1 - (p > g) * p",
    "abs(p - g) ** lr", "sqrt(abs(p)) / (g * g + 1)", "lerp(p, g, 1 - lr ** t)",
    "minimum(p, maximum(g, lr)) - (p - g)", "p * 0.99999999", "p + 1234567.0", "p * (1 / 3)",
    "p - 1e-30 * g", "p * 1e300 * 1e-300", "p / 3.0000001",
)
# fmt: on


def rule_of(expression):
    """The rule that returns it as p."""
    names = {w: getattr(ops, w) for w in ("where", "abs", "sqrt", "lerp", "minimum", "maximum")}
    source = f"def made(p, g, *, lr, t):\n    return dict(p={expression})"
    exec(source, names)
    return names["made"]


def both_readings(expression):
    """The value of an expression as written, and as it is printed."""
    (p,) = parameters([(4, 3)], torch.float64)
    feed([p], 0)
    optimizer = steppers.Optimizer([p], steps=[rule_of(expression)], lr=0.3)
    inputs = {"p": number(p), "g": number(p.grad), "lr": np.float64(0.3), "t": np.float64(4)}
    with np.errstate(all="ignore"):
        written = eval(expression, {}, {**WORDS, **inputs})
    return written, read_back(formulas(optimizer, p), inputs)["p"]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_printed_with_the_parentheses_it_needs(expression):
    written, printed = both_readings(expression)
    np.testing.assert_allclose(printed, written, rtol=1e-12)


LEAVES = st.sampled_from(["p", "g", "lr", "t"])


def branches(inner):
    pairs = st.tuples(inner, inner)
    # fmt: off
    return st.one_of(
        pairs.map(lambda e: f"({e[0]} + {e[1]})"), pairs.map(lambda e: f"({e[0]} - {e[1]})"),
        pairs.map(lambda e: f"({e[0]} * {e[1]})"), pairs.map(lambda e: f"({e[0]} / {e[1]})"),
        inner.map(lambda e: f"(-{e})"), inner.map(lambda e: f"({e} ** 2)"),
        inner.map(lambda e: f"(1 - {e})"), inner.map(lambda e: f"(0.5 * {e})"),
        inner.map(lambda e: f"abs({e})"), pairs.map(lambda e: f"maximum({e[0]}, {e[1]})"),
    )
    # fmt: on


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.recursive(LEAVES, branches, max_leaves=7))
def test_any_arithmetic_is_printed_as_it_computes(expression):
    written, printed = both_readings(f"p + {expression}")
    np.testing.assert_allclose(printed, written, rtol=1e-9)
