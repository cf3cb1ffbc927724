"""16-bit stores and random draws: torch's conversions, `noise` and `rounding`, bit for bit."""

import math

import llvmlite.binding as llvm
import pytest
import torch
from prelude_loop import loop

from steppers import noise
from steppers.engines import rounding

INF, NAN = math.inf, math.nan
BF16, F16 = torch.bfloat16, torch.float16
MASK = 0xFFFFFFFF
HALF = pytest.mark.skipif(
    not llvm.get_host_cpu_features().get("f16c", True),
    reason="this x86 has no instruction for half",
)
# fmt: off
FORMATS = [
    pytest.param("bf16", BF16, "host"),
    pytest.param("bf16", BF16, "generic"),
    pytest.param("f16", F16, "host"),
    pytest.param("f16", F16, "generic"),
    pytest.param("f16.half", F16, "host", marks=HALF),
]
STOCHASTIC = [("bf16", BF16, "host"), ("f16", F16, "host"), ("f16", F16, "generic")]
# fmt: on


def every_half(dtype):
    return torch.arange(65536).to(torch.int16).view(dtype)


def dense():
    """Floats of every exponent, both signs, and all around each tie of both formats."""
    words = torch.arange(0, 2**32, 4099)
    places = every_half(F16).float().view(torch.int32).to(torch.int64)
    wide = torch.cat([places, torch.arange(65536) << 16])
    ties = torch.cat([wide + offset for offset in (0x7FFF, 0x8000, 0x8001, 0xFFF, 0x1000, 0x1001)])
    halves = torch.arange(2050).double() * 2.0**-25  # the ties of subnormal halves
    halves = torch.cat([halves, halves * (1 + 2**-23), halves * (1 - 2**-24)]).float()
    top = torch.tensor([65503.0, 65504.0, 65519.0, 65520.0, 65536.0, 3.3e38, 3.4e38, INF, NAN])
    words = torch.cat([words, ties & MASK]).to(torch.int32).view(torch.float32)
    return torch.cat([words, halves, -halves, top, -top])


def assert_same_bits(actual, expected):
    """Equal words; a NaN for a NaN, whichever."""
    word = torch.int32 if expected.dtype == torch.float32 else torch.int16
    assert torch.equal(actual.isnan(), expected.isnan())
    number = ~expected.isnan()
    assert torch.equal(actual.view(word)[number], expected.view(word)[number])


@pytest.mark.parametrize(("name", "dtype", "target"), FORMATS)
def test_all_loads_are_torch_conversions(name, dtype, target):
    stored = every_half(dtype)
    actual = loop(f"steppers.load.{name}", target)(stored.view(torch.int16))
    assert_same_bits(actual, stored.float())


@pytest.mark.parametrize(("name", "dtype", "target"), FORMATS)
def test_stores_to_the_nearest_are_torch_conversions(name, dtype, target):
    x = dense()
    actual = loop(f"steppers.store.{name}", target)(x).view(dtype)
    assert_same_bits(actual, rounding.nearest(x, dtype))


@pytest.mark.parametrize("name", ["bf16", "f16"])
def test_a_stored_nan_is_quiet_with_its_sign(name):
    x = torch.tensor([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFC00000])
    stored = loop(f"steppers.store.{name}")(x.to(torch.int32).view(torch.float32))
    word = stored.to(torch.int64) & 0xFFFF
    quiet = 0x7FC0 if name == "bf16" else 0x7E00
    assert torch.equal(word & quiet, torch.full_like(word, quiet))
    assert (word // 0x8000).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(("name", "dtype", "target"), STOCHASTIC)
def test_stochastic_stores_are_rounding_bit_for_bit(name, dtype, target):
    x = dense()
    least = torch.zeros(x.shape, dtype=torch.int64)
    for bits in (least, torch.randint(0, 2**32, x.shape), least + MASK):
        actual = loop(f"steppers.stochastic.{name}", target)(x, bits.to(torch.int32))
        assert_same_bits(actual.view(dtype), rounding.stochastic(x, bits, dtype))


@pytest.mark.parametrize("dtype", [BF16, F16])
def test_stochastic_keeps_what_the_format_holds(dtype):
    x = every_half(dtype).float()
    for bits in (0, 0x12345678, MASK):
        actual = rounding.stochastic(x, torch.full(x.shape, bits), dtype)
        assert_same_bits(actual, every_half(dtype))


# value, format, and random words that together have each chance once: the low bits decide above
# 2**-14 and for bfloat16, so that the mean is exact; for subnormal halves the high 20 stand for all
LOW, HIGH = torch.arange(2**16), torch.arange(0, 2**32, 2**12)
# fmt: off
VALUES = [
    (1.001,    BF16, LOW), (-3.1e-5, BF16, LOW), (3e38,    BF16, LOW), (7.77e-41, BF16, LOW),
    (1.001,    F16,  LOW), (-6.2e-5, F16,  LOW), (65500.0, F16,  LOW),
    (6.1e-5,   F16, HIGH), (-3.1e-5, F16, HIGH), (3e-8,    F16, HIGH), (1e-10,    F16, HIGH),
]
ENDS = [
    (INF,  BF16, INF),  (-INF, BF16, -INF), (3.4028e38, BF16, 3.3895313892515355e38),
    (INF,  F16,  INF),  (-INF, F16,  -INF), (65519.0,   F16,  65504.0), (-1e30, F16, -65504.0),
    (-0.0, BF16, -0.0), (-0.0, F16,  -0.0),
]
REFUSED = [
    (torch.float64, BF16,          TypeError,  r"must be float32, got torch\.float64"),
    (torch.float32, torch.float32, ValueError, r"or torch\.float16, got torch\.float32"),
]
# fmt: on


@pytest.mark.parametrize(("x", "dtype", "bits"), VALUES)
def test_stochastic_takes_a_neighbour_and_is_right_on_average(x, dtype, bits):
    x = torch.tensor(x).item()
    rounded = rounding.stochastic(torch.full(bits.shape, x), bits, dtype).double()
    low, high = neighbours(x, dtype)
    assert set(rounded.unique().tolist()) == {low, high}
    up = (rounded == high).double().mean().item()
    exact = (x - low) / (high - low)
    assert up == exact if bits is LOW else abs(up - exact) <= 2**-20


def neighbours(x, dtype):
    values = every_half(dtype).double()
    values = values[torch.isfinite(values)]
    return values[values <= x].max().item(), values[values >= x].min().item()


@pytest.mark.parametrize(("x", "dtype", "stored"), ENDS)
def test_stochastic_at_the_ends(x, dtype, stored):
    for bits in (0, MASK):
        actual = rounding.stochastic(torch.tensor(x), torch.tensor(bits), dtype)
        assert_same_bits(actual, torch.tensor(stored).to(dtype))


def test_stochastic_takes_any_strides_and_shapes():
    x, bits = torch.randn(7, 5).t(), torch.randint(0, 2**32, (5, 7))
    flat = rounding.stochastic(x.contiguous().view(-1), bits.view(-1), BF16)
    assert torch.equal(rounding.stochastic(x, bits, BF16), flat.view(5, 7))
    assert rounding.stochastic(x[:0], bits[:0], F16).shape == (0, 7)


@pytest.mark.parametrize(("source", "dtype", "error", "message"), REFUSED)
def test_what_stochastic_refuses(source, dtype, error, message):
    with pytest.raises(error, match=message):
        rounding.stochastic(torch.ones(1, dtype=source), torch.zeros(1, dtype=torch.int64), dtype)


def test_nearest_returns_a_new_tensor():
    x = torch.ones(3)
    assert rounding.nearest(x, torch.float32).data_ptr() != x.data_ptr()


SEEDS = [(0, 1, 0, 0), (1234567, 3, 17, 5), (2**32 - 1, 100_000, 399, 0xFFFFFFFF)]
N = 1 << 17


def as_words(*values):
    """One int32 tensor of N elements for each 32-bit value."""
    return [torch.full((N,), value).to(torch.int32) for value in values]


def keys(seed, t, number, draw):
    """Both keys of a draw, as the prelude makes them."""
    words = [as_words(seed, t, number, (draw + extra) & MASK) for extra in (0, 0x10000)]
    return [loop("steppers.key")(*each) for each in words]


INDEX = torch.arange(N).to(torch.int32)


@pytest.mark.parametrize("where", SEEDS)
def test_bits_and_what_follows_are_those_of_noise(where):
    key, _ = keys(*where)
    x = torch.empty(N)
    bits = loop("steppers.bits")(INDEX, key)
    assert torch.equal(bits.to(torch.int64) & MASK, noise.bits(x, *where))
    assert torch.equal(loop("steppers.coin")(INDEX, key).bool(), noise.coin(x, *where))
    assert torch.equal(loop("steppers.uniform.f32")(INDEX, key), noise.uniform(x, *where))
    wide = loop("steppers.uniform.f64")(INDEX, key)
    assert torch.equal(wide, noise.uniform(x.double(), *where))


def test_mix_is_that_of_noise():
    words = torch.arange(0, 2**32, 65521)
    actual = loop("steppers.mix")(words.to(torch.int32)).to(torch.int64) & MASK
    assert actual.tolist() == [noise.mix(word) for word in words.tolist()]


@pytest.mark.parametrize("target", ["host", "generic"])
@pytest.mark.parametrize("where", SEEDS)
def test_normal_is_that_of_noise(where, target):
    exact = noise.normal(torch.empty(N, dtype=torch.float64), *where)
    single = loop("steppers.normal.f32", target)(INDEX, *keys(*where))
    double = loop("steppers.normal.f64", target)(INDEX, *keys(*where))
    assert (single.double() - exact).abs().max() <= 1e-6
    assert (double - exact).abs().max() <= 1e-14
