"""Words on tensors, and on tensors and numbers together, equal NumPy's: by hand and in a step."""

import math

import numpy as np
import pytest
import torch
from closeness import assert_close

from steppers import Optimizer, ops

DTYPES = [torch.float64, torch.float32]
ENGINES = ["loop", "foreach", "fused"]
X = (0.0, -0.0, 0.25, -0.75, 1.0, -1.5, 3.0, -4.0, 60.0, math.inf, -math.inf, math.nan)
Y = (2.0, 0.0, -0.5, 0.0, math.nan, 0.75, -3.0, -4.0, 1.5, 2.0, math.inf, 1.0)
NUMBERS = (0.0, -0.75, 2.0, math.inf, math.nan)

# fmt: off
UNARY = {
    "sqrt": np.sqrt, "rsqrt": lambda x: 1 / np.sqrt(x), "square": np.square, "abs": np.abs,
    "sign": np.sign, "log": np.log, "tanh": np.tanh, "floor": np.floor, "isfinite": np.isfinite,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
}
BINARY = {
    "add": (lambda a, b: a + b, np.add), "sub": (lambda a, b: a - b, np.subtract),
    "mul": (lambda a, b: a * b, np.multiply), "div": (lambda a, b: a / b, np.divide),
    "mod": (lambda a, b: a % b, np.remainder), "pow": (lambda a, b: a**b, np.float_power),
    "minimum": (ops.minimum, np.minimum), "maximum": (ops.maximum, np.maximum),
    "lt": (lambda a, b: a < b, np.less), "ge": (lambda a, b: a >= b, np.greater_equal),
    "eq": (lambda a, b: a == b, np.equal), "ne": (lambda a, b: a != b, np.not_equal),
    "and": (lambda a, b: (a > 0) & (b > 0), lambda a, b: (a > 0) & (b > 0)),
    "or": (lambda a, b: (a > 0) | (b > 0), lambda a, b: (a > 0) | (b > 0)),
}
MASKS = {  # conditions used as the numbers that they are
    "mask * number": (lambda g, c: (g > 0) * c, lambda g, c: np.where(g > 0, c, 0.0)),
    "number - mask": (lambda g, c: c - (g > 0), lambda g, c: c - np.where(g > 0, 1.0, 0.0)),
    "mask * mask / number": (lambda g, c: (g > 0) * (g > 1) / c,
                             lambda g, c: np.where(g > 1, 1.0, 0.0) / c),
    "mean of a mask": (lambda g, c: c * ops.mean(g > 0) + 0 * g,
                       lambda g, c: np.full_like(g, c * np.mean(g > 0))),
    "sum of a mask": (lambda g, c: ops.sum(g > 0) / c + 0 * g,
                      lambda g, c: np.full_like(g, np.sum(g > 0) / c)),
    "where of numbers": (lambda g, c: ops.where(g > 0, c, 0.3),
                         lambda g, c: np.where(g > 0, c, 0.3)),
    "where of numbers times a tensor": (lambda g, c: ops.where(g > 0, c, 0.3) * g,
                                        lambda g, c: np.where(g > 0, c, 0.3) * g),
    "where in where": (lambda g, c: ops.where(g > 1, 0.7, ops.where(g > 0, c, 1.0)),
                       lambda g, c: np.where(g > 1, 0.7, np.where(g > 0, c, 1.0))),
    "not": (lambda g, c: ops.where(~(g > 0), g, c), lambda g, c: np.where(g > 0, c, g)),
    "mask and host condition": (lambda g, c: ops.where((g > 0) & (c > 0), g, c),
                                lambda g, c: np.where((g > 0) & (c > 0), g, c)),
}
# fmt: on


@pytest.fixture(autouse=True)
def numpy_is_silent():
    with np.errstate(all="ignore"):
        yield


def stepped(make, g, engine, **hypers):
    """What a rule `make(g, hyper)` leaves in p, by one step."""

    def rule(p, g, *, c):
        return dict(p=make(g, c))

    w = torch.zeros_like(g).requires_grad_()
    w.grad = g.clone()
    Optimizer([w], steps=[rule], engine=engine, **hypers).step()
    return w


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("word", UNARY)
def test_a_word_on_a_tensor_is_numpys(word, dtype):
    x = torch.tensor(X[:-1] if word == "sign" else X, dtype=dtype)  # sign of NaN: its own test
    found = getattr(ops, word)(x)
    assert_close(found.to(dtype), UNARY[word](x.double().numpy()))


def test_the_sign_of_nan_is_the_same_on_a_number_and_on_a_tensor():
    assert math.isnan(ops.sign(math.nan)) == ops.sign(torch.tensor(math.nan)).isnan().item()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("word", "numpys"), [("exp", np.exp), ("cos", np.cos)])
def test_a_word_that_grows_or_turns_is_numpys_on_small_numbers(word, numpys, dtype):
    x = torch.linspace(-5, 5, 11, dtype=dtype)
    assert_close(getattr(ops, word)(x), numpys(x.double().numpy()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BINARY)
def test_an_operator_on_two_tensors_is_numpys(name, dtype):
    ours, numpys = BINARY[name]
    x, y = torch.tensor(X, dtype=dtype), torch.tensor(Y, dtype=dtype)
    assert_close(ours(x, y).to(dtype), numpys(x.double().numpy(), y.double().numpy()))


@pytest.mark.parametrize("order", ["tensor first", "number first"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", BINARY)
def test_an_operator_on_a_tensor_and_a_host_scalar_is_numpys(name, engine, order):
    ours, numpys = BINARY[name]
    if order == "number first":
        ours, numpys = [(lambda a, b, fn=fn: fn(b, a)) for fn in (ours, numpys)]
    x, y = torch.tensor(X), np.float32(NUMBERS[1:3])  # the finite ones, as float32 has them
    for c in y:
        found = stepped(ours, x, engine, c=float(c))
        assert_close(found, numpys(x.double().numpy(), np.float64(c)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("word", ["minimum", "maximum"])
def test_nan_wins_over_a_number(word, number, dtype):
    x = torch.tensor(X, dtype=dtype)
    wanted = getattr(np, word)(x.double().numpy(), number)
    assert_close(getattr(ops, word)(x, number), wanted)
    assert_close(getattr(ops, word)(number, x), wanted)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("word", ["minimum", "maximum"])
def test_nan_wins_in_every_engine(word, engine):
    found = stepped(lambda g, c: getattr(ops, word)(g, c - c), torch.tensor(X), engine, c=math.inf)
    assert_close(found, np.full(len(X), math.nan))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "weight", [0.0, 0.25, 0.9, 1.0, "tensor"], ids=lambda w: f"weight {w}"
)  # fmt: skip
def test_lerp_of_tensors_gives_b_the_weight(weight, dtype):
    a, b = torch.linspace(-3, 3, 7, dtype=dtype), torch.linspace(5, 1, 7, dtype=dtype)
    weight = torch.linspace(0, 1, 7, dtype=dtype) if weight == "tensor" else weight
    w, x, y = (np.asarray(v, dtype=np.float64) for v in (weight, a, b))
    assert_close(ops.lerp(a, b, weight), x + w * (y - x))


@pytest.mark.parametrize(
    ("a", "b"), [(2.0, "tensor"), ("tensor", 2.0), (2.0, 4.0)], ids=["number a", "number b", "both"]
)
def test_lerp_takes_numbers_beside_a_tensor(a, b):
    x, w = torch.linspace(-3, 3, 7), torch.linspace(0, 1, 7)
    a, b = (x if v == "tensor" else v for v in (a, b))
    u, v = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    assert_close(ops.lerp(a, b, w), u + w.double().numpy() * (v - u))


@pytest.mark.parametrize(
    ("low", "high"), [(-1.0, 2.0), (None, 0.5), (0.5, None), (None, None)]
)  # fmt: skip
def test_clamp_of_a_tensor_is_numpys(low, high):
    x = torch.tensor(X)
    a, b = -np.inf if low is None else low, np.inf if high is None else high
    assert_close(ops.clamp(x, low, high), np.clip(x.double().numpy(), a, b))


def test_clamp_takes_tensors_as_bounds():
    x, low, high = torch.linspace(-3, 3, 7), torch.full((7,), -1.0), torch.linspace(0, 1, 7)
    assert_close(ops.clamp(x, low, high), np.clip(*(v.double().numpy() for v in (x, low, high))))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", MASKS)
def test_a_condition_on_a_tensor_counts_as_zero_or_one(name, dtype, engine):
    ours, numpys = MASKS[name]
    g = torch.tensor([-2.0, -0.5, 0.5, 1.5, 2.5], dtype=dtype)
    found = stepped(ours, g, engine, c=0.1)
    assert_close(found, numpys(g.double().numpy(), 0.1))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_default_dtype_changes_no_number(engine):
    g = torch.tensor([-2.0, 2.0])
    torch.set_default_dtype(torch.float16)
    try:
        found = stepped(lambda g, c: ops.where(g > 0, c, 0.3), g, engine, c=0.1)
    finally:
        torch.set_default_dtype(torch.float32)
    assert_close(found, [0.3, 0.1])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_tensor_as_a_condition_is_refused_when_the_chain_is_built(engine):
    """A number is no condition: torch.where would refuse it in the middle of a step."""
    with pytest.raises(TypeError, match=r"where.*condition"):
        stepped(lambda g, c: ops.where(g, c, 0.0), torch.ones(3), engine, c=0.1)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_global_and_a_per_tensor_number_meet_tensors(engine):
    def rule(p, g):
        return dict(p=p + ops.minimum(g, ops.total(g)) * ops.maximum(0.5, ops.norm(g)))

    gs = [torch.tensor([3.0, -4.0]), torch.tensor([[0.1, 0.2], [0.0, 0.0]])]
    ws = [torch.zeros_like(g).requires_grad_() for g in gs]
    for w, g in zip(ws, gs, strict=True):
        w.grad = g
    Optimizer(ws, steps=[rule], engine=engine).step()
    for w, g, norm in zip(ws, gs, (5.0, 0.5), strict=True):
        assert_close(w, np.minimum(g.double().numpy(), -0.7) * norm)
