"""The prelude's curves against float64: their stated errors, their corners, and vector code."""

import math
import re

import numpy as np
import pytest
import torch
from prelude_loop import loop

from steppers.engines.fused import prelude

INF, NAN = math.inf, math.nan
TARGETS = ("host", "generic")
BY_LIBRARY = ("exp", "log", "tanh", "cos", "pow", "sigmoid")
# fmt: off
SPECIAL = [
    0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 2.5, -2.5, INF, -INF, NAN, 1e-45, -1e-45,
    1e-40, -1e-40, 3.4e38, -3.4e38, 16777215.0, -16777215.0, 16777216.0, -16777216.0, 8388607.5,
    33554432.0, 1.0000001, 0.99999994, -1.0000001, 88.7, 88.8, -87.4, -103.9, -104.1, 3e9, -3e9,
]

# word, the largest error in ulp, and the range of magnitudes that is measured most densely
CURVES = [
    ("exp",     0.80, (1e-9, 105.0)),
    ("log",     0.85, (0.3, 4.0)),
    ("tanh",    1.40, (1e-5, 12.0)),
    ("sigmoid", 0.51, (1e-9, 105.0)),
    ("cos",     0.51, (1e-3, 1e4)),
]
# fmt: on


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def reference(word, *values):
    with np.errstate(all="ignore"):
        function = {"pow": np.power, "sigmoid": sigmoid}.get(word) or getattr(np, word)
        return torch.from_numpy(function(*(x.double().numpy() for x in values)))


def word_of(value):
    return int(np.float32(value).view(np.uint32))


def floats(start, stop, count):
    """About so many floats, at even steps of their bits."""
    words = torch.arange(start, stop, max(1, (stop - start) // count))
    return words.to(torch.int32).view(torch.float32)


def distance(actual, exact):
    """In units in the last place of float32; infinite where one is NaN or infinite alone."""
    kept = exact.float()
    _, exponent = torch.frexp(exact)
    unit = torch.ldexp(torch.ones_like(exact), (exponent - 24).clamp(min=-149).double())
    ulp = (actual.double() - exact).abs() / unit
    same = (actual == kept) | (actual.isnan() & kept.isnan())
    plain = torch.isfinite(actual) & torch.isfinite(kept)
    return torch.where(plain, ulp, torch.where(same, 0.0, INF))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("word", "bound", "dense"), CURVES, ids=lambda x: str(x))
def test_the_error_is_the_stated_one(word, bound, dense, target):
    low, high = map(word_of, dense)
    sign = 0x80000000
    x = torch.cat([floats(0, 2**32, 500_000), floats(low, high, 500_000)])
    x = torch.cat([x, floats(low + sign, high + sign, 500_000), torch.tensor(SPECIAL)])
    actual, exact = loop(f"steppers.{word}.f32", target)(x), reference(word, x)
    assert distance(actual, exact).max() <= bound


@pytest.mark.parametrize("target", TARGETS)
def test_pow_has_all_special_cases(target):
    values = torch.tensor(SPECIAL)
    x, y = values.repeat_interleave(len(values)), values.repeat(len(values))
    actual, exact = loop("steppers.pow.f32", target)(x, y), reference("pow", x, y)
    assert distance(actual, exact).max() <= 0.51
    ordered = ~exact.isnan()
    assert torch.equal(torch.signbit(actual)[ordered], torch.signbit(exact)[ordered])


# fmt: off
POWERS = {
    "any floats":        lambda n: (floats(0, 2**32, n), floats(0, 2**32, n).flip(0)),
    "usual":             lambda n: (torch.rand(n) * 2, torch.randn(n) * 10),
    "near 1":            lambda n: (1 + (torch.rand(n) - 0.5) * 1e-3, torch.randn(n) * 1e5),
    "decay by a count":  lambda n: (torch.full((n,), 0.999), torch.arange(n).float()),
    "negative, integer": lambda n: (torch.randn(n), torch.randint(-30, 30, (n,)).float()),
}
# fmt: on


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", POWERS)
def test_the_error_of_pow(kind, target):
    x, y = POWERS[kind](400_000)
    actual, exact = loop("steppers.pow.f32", target)(x, y), reference("pow", x, y)
    assert distance(actual, exact).max() <= 0.51


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("suffix", "bound"), [("f32", 1e-7), ("f64", 8e-16)])
def test_cos2pi(suffix, bound, target):
    u = torch.arange(0, 2**24, 11).double() * 2**-24
    x = u.float() if suffix == "f32" else u
    actual = loop(f"steppers.cos2pi.{suffix}", target)(x).double()
    exact = torch.from_numpy(np.cos(2 * np.pi * u.numpy()))
    assert (actual - exact).abs().max() <= bound


@pytest.mark.parametrize("word", BY_LIBRARY)
def test_double_calls_the_library(word):
    x = torch.cat([torch.linspace(-30, 30, 1001), torch.tensor(SPECIAL)]).double()
    values = (x, x.flip(0)) if word == "pow" else (x,)
    actual, exact = loop(f"steppers.{word}.f64")(*values), reference(word, *values)
    torch.testing.assert_close(actual, exact, rtol=4e-16, atol=0, equal_nan=True)


@pytest.mark.parametrize(("suffix", "dtype"), [("f32", torch.float32), ("f64", torch.float64)])
def test_mod_is_torch_remainder_bit_for_bit(suffix, dtype):
    values = torch.cat([torch.tensor(SPECIAL), torch.randn(60) * 10]).to(dtype)
    a, b = values.repeat_interleave(len(values)), values.repeat(len(values))
    # one by one: torch's vectors (2.13, SLEEF) give NaN where float32 divisors are subnormal
    expected = torch.stack([torch.remainder(*pair) for pair in zip(a, b, strict=True)])
    actual = loop(f"steppers.mod.{suffix}")(a, b)
    assert torch.equal(actual.isnan(), expected.isnan())
    ordered = ~expected.isnan()
    assert torch.equal(actual[ordered], expected[ordered])
    assert torch.equal(torch.signbit(actual)[ordered], torch.signbit(expected)[ordered])


@pytest.mark.parametrize("name", [n for n in prelude.FUNCTIONS if ".mod." not in n])
def test_a_loop_becomes_vector_code(name):
    source = loop(name).source
    assert "@steppers" not in source
    assert re.search(r"<\d+ x (float|double|i16|i32|i64)>", source)


def test_no_function_has_a_fast_math_flag():
    flags = re.compile(r"\b(fast|nnan|ninf|nsz|arcp|contract|afn|reassoc)\b")
    assert [name for name, each in prelude.FUNCTIONS.items() if flags.search(each.text)] == []


def test_text_defines_what_is_needed_once():
    text = prelude.text(["steppers.normal.f32", "steppers.bits"])
    names = re.findall(r"^(?:define|declare) .*?@([\w.]+)\(", text, re.MULTILINE)
    assert sorted(names) == sorted(set(names))
    assert set(re.findall(r"@([\w.]+)\(", text)) == set(names)
    assert {"steppers.mix", "steppers.log.f32", "llvm.sqrt.f32"} < set(names)
    assert "steppers.exp.f32" not in names


def test_text_depends_on_the_set_of_names_alone():
    names = list(prelude.FUNCTIONS)
    assert prelude.text(names) == prelude.text([*reversed(names), names[0]])


def test_text_takes_llvm_functions_too():
    assert prelude.text(["llvm.sqrt.f64"]) == "declare double @llvm.sqrt.f64(double)\n"
    assert prelude.text([]) == ""


def test_an_unknown_name_is_an_error():
    with pytest.raises(KeyError, match=r"steppers\.sinh\.f32"):
        prelude.text(["steppers.sinh.f32"])
