"""Storage formats: every row of the catalogue in 16 bits, by each rounding, against its reference.

A reference starts each step from what is stored (for a pair its sum), so that one step's rounding
is seen alone. What a store may be off is stated by the format's definition, in units of the
dtype's eps: half a unit for the nearest, one for either neighbour, a quarter of eps squared for a
pair; beside the errors of the arithmetic before it.
"""

import zlib

import numpy as np
import pytest
import references as ref
import torch
from rows import ROWS
from trials import TINY, draw, fits, gradients, numpy, parameter, reference_hypers, shapes_of

from steppers import Optimizer, noise
from steppers.engines import foreach, rounding, storage
from steppers.ops import zeros
from steppers.rules import descend

ENGINES = ("loop", "foreach", "fused")
ENGINE = pytest.mark.parametrize("engine", ENGINES)
BF16, F16, F32, F64 = torch.bfloat16, torch.float16, torch.float32, torch.float64
SOME = (  # those that make different kernels: each takes the fused engine a while to compile
    "bfloat16, float32 state", "bfloat16 stochastic", "float16 stochastic", "bfloat16 kahan",
    "float32 kahan, every slot",
)  # fmt: skip
OFF = {  # by rounding: how far a stored value may be off, by the dtype's eps
    "nearest": lambda eps: 0.5 * eps,
    "stochastic": lambda eps: eps,
    "kahan": lambda eps: 0.25 * eps * eps,
}
EVERY, TWO = "p and every slot by name", {"p": "stochastic", "exp_avg": "kahan"}
ARITHMETIC = 16  # in units of eps of the largest element: see trials.py

# fmt: off
FORMATS = {  # dtype of p, options, and the dtype of the arithmetic
    "bfloat16":                   (BF16, dict(), F32),
    "bfloat16, float32 state":    (BF16, dict(state_dtype="float32"), F32),
    "float32, bfloat16 state":    (F32, dict(state_dtype=BF16), F32),
    "float64, bfloat16 state":    (F64, dict(state_dtype=BF16), F64),
    "bfloat16 stochastic":        (BF16, dict(rounding="stochastic"), F32),
    "float16 stochastic":         (F16, dict(rounding="stochastic"), F32),
    "float32, stochastic state":  (F32, dict(state_dtype=BF16, rounding="stochastic"), F32),
    "bfloat16 kahan":             (BF16, dict(rounding="kahan"), F32),
    "float16 kahan":              (F16, dict(rounding="kahan"), F32),
    "float32, kahan state":       (F32, dict(state_dtype=BF16, rounding="kahan"), F32),
    "float32 kahan":              (F32, dict(rounding={"p": "kahan"}), F64),
    "float32 kahan, every slot":  (F32, dict(rounding=EVERY), F64),
    "bfloat16 p kahan":           (BF16, dict(rounding={"p": "kahan"}), F32),
    "float16 in two ways":        (F16, dict(rounding=TWO), F32),
}
# fmt: on


def full(optimizer, p, name):
    """The value of p or a slot in float64: of a pair the sum."""
    state = optimizer.state[p]
    low = state.get(f"{name}_low")
    return numpy(p if name == "p" else state[name]) + (0 if low is None else numpy(low))


def rounded_as(optimizer, options, p, name):
    """How the options say that p or a slot is rounded."""
    x = p if name == "p" else optimizer.state[p][name]
    asked = options.get("rounding") or "nearest"
    if isinstance(asked, dict):
        return asked.get(name, "nearest")
    return asked if x.dtype in (BF16, F16) else "nearest"


def named(row, params, options):
    """The options with every name of the row's written out, or without names that it lacks."""
    rounding, optimizer = options.get("rounding"), row.build(params)
    optimizer.init_state()
    slots = {n for p in params for n, x in optimizer.state[p].items() if x.ndim}
    if rounding == EVERY:
        return {**options, "rounding": dict.fromkeys(("p", *slots), "kahan")}
    if isinstance(rounding, dict):
        return {**options, "rounding": {n: x for n, x in rounding.items() if n in {"p", *slots}}}
    return options


def largest(x):
    """The largest magnitude of what is finite."""
    return np.abs(np.where(np.isfinite(x), x, 0)).max(initial=0.0)


def assert_stored(optimizer, options, p, name, expected, wide, error):
    """p or a slot is as near to what was computed, with that error, as its format allows."""
    x = p if name == "p" else optimizer.state[p][name]
    way = rounded_as(optimizer, options, p, name)
    assert (f"{name}_low" in optimizer.state[p]) == (way == "kahan")
    allowed = error
    if x.dtype != wide:
        eps = torch.finfo(x.dtype).eps
        tiny = TINY.get(x.dtype, 0.0) * (0.5 if way == "kahan" else 1)
        allowed = allowed + OFF[way](eps) * np.abs(expected) + tiny
    found = full(optimizer, p, name)
    with np.errstate(invalid="ignore"):
        near = np.abs(found - expected) <= allowed
    same = (found == expected) | (np.isnan(found) & np.isnan(expected))
    assert np.all(near | same), f"{name} {x.dtype} {way}\n{found}\n{expected}"


def follow(group, optimizer):
    """Put a reference's group where the optimizer is."""
    source = optimizer.param_groups[0]
    group.params = [full(optimizer, p, "p") for p in source["params"]]
    group.states = [
        {n: int(x) if n == "step" else full(optimizer, p, n)
         for n, x in optimizer.state[p].items() if not n.endswith("_low")}
        for p in source["params"]
    ]  # fmt: skip
    group.kept = {name: float(source[name]) for name in group.kept}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.parametrize(
    ("engine", "form"), [(e, f) for e in ENGINES for f in (SOME if e == "fused" else FORMATS)]
)
def test_a_step_is_the_references_and_rounded_once(row, engine, form):
    dtype, options, wide = FORMATS[form]
    shapes = fits(row, shapes_of(row))
    params = [parameter(x, dtype) for x in draw(shapes, seed=1)]
    options = named(row, params, options)
    optimizer = row.build(params, engine=engine, seed=5, **options)
    optimizer.init_state()
    group = ref.Group(params, reference_hypers(row.hypers, dtype))
    for step in range(3):
        follow(group, optimizer)
        old = [{"p": x, **s} for x, s in zip(group.params, group.states, strict=True)]
        old = [{n: np.copy(x) for n, x in each.items()} for each in old]
        for p, g in zip(params, gradients(shapes, step), strict=True):
            p.grad = torch.from_numpy(g).to(dtype)
        optimizer.step()
        with np.errstate(all="ignore"):
            row.reference([group], [[numpy(p.grad) for p in params]])
        for p, x, s, before in zip(params, group.params, group.states, old, strict=True):
            for name, value in {"p": x, **s}.items():
                if name != "step":
                    size = row.loose * max(largest(value), largest(before[name]))
                    error = ARITHMETIC * torch.finfo(wide).eps * size
                    assert_stored(optimizer, options, p, name, value, wide, error)


# --- stochastic --------------------------------------------------------------------------------


@ENGINE
@pytest.mark.parametrize("dtype", [BF16, F16], ids=str)
@pytest.mark.parametrize("part", [0.03, 0.25, 0.5, 0.9])
def test_stochastic_rounding_is_right_on_average(engine, dtype, part):
    n, seeds, eps = 1 << 12, 8, torch.finfo(dtype).eps
    start, lr = 1.0, part * eps
    sums, values = 0.0, set()
    for seed in range(seeds):
        p = torch.nn.Parameter(torch.full((n,), start, dtype=dtype))
        optimizer = Optimizer([p], steps=[descend], lr=lr, rounding="stochastic", seed=seed,
                              engine=engine)  # fmt: skip
        p.grad = torch.full((n,), -1.0, dtype=dtype)
        optimizer.step()
        sums += float(p.detach().double().sum())
        values |= set(p.tolist())
    exact = float(np.float32(start) + np.float32(lr))
    share = (exact - start) / eps
    sigma = eps * np.sqrt(share * (1 - share) / (n * seeds))
    assert values == {start, start + eps}
    assert abs(sums / (n * seeds) - exact) < 4 * sigma


@ENGINE
def test_small_updates_arrive_by_chance_that_the_nearest_never_lets_through(engine):
    n, steps, lr = 1 << 12, 40, 2.0**-14
    ends = {}
    for way in ("nearest", "stochastic"):
        p = torch.nn.Parameter(torch.ones(n, dtype=BF16))
        optimizer = Optimizer([p], steps=[descend], lr=lr, rounding=way, seed=3, engine=engine)
        for _ in range(steps):
            p.grad = torch.full((n,), -1.0, dtype=BF16)
            optimizer.step()
        ends[way] = p.detach().double()
    assert ends["nearest"].eq(1).all()
    moved = steps * lr  # a walk of `steps` rare jumps of eps: its variance is eps times the way
    sigma = np.sqrt(2.0**-7 * moved / n)
    assert abs(float(ends["stochastic"].mean()) - 1 - moved) < 4 * sigma


@ENGINE
@pytest.mark.parametrize("named", [False, True])
def test_random_bits_are_those_of_the_name_the_step_and_the_element(engine, named):
    x = torch.from_numpy(draw([(40,)], 3)[0]).float()
    ones = [torch.nn.Parameter(torch.ones(40, dtype=BF16)) for _ in range(2)]
    given = list(zip(("a", "b"), ones, strict=True)) if named else ones
    optimizer = Optimizer(given, steps=[descend], lr=1.0, rounding="stochastic", seed=11,
                          engine=engine)  # fmt: skip
    numbers = [zlib.crc32(b"a"), zlib.crc32(b"b")] if named else [0, 1]
    for t in (1, 2):
        for p, number in zip(ones, numbers, strict=True):
            p.grad = (x / 1000).to(BF16)
            wanted = p.detach().float() - p.grad.float()
            bits = noise.bits(x, 11, t, number, zlib.crc32(b"round:p"))
            p.wanted = rounding.stochastic(wanted, bits, BF16)
        optimizer.step()
        assert all(torch.equal(p, p.wanted) for p in ones)


LAYOUTS = {
    "a row": lambda x: x.flatten(),
    "row-major": lambda x: x,
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(0, 3).contiguous().transpose(0, 3),
    "every second": lambda x: x.repeat_interleave(2, -1)[..., ::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("block", [7, 64, 1 << 20])
def test_random_bits_are_the_same_in_each_engine_and_block(monkeypatch, layout, block):
    monkeypatch.setitem(foreach.BLOCK, "cpu", block)
    ends = []
    for engine, chunk in (("loop", 1 << 20), ("loop", 10), ("foreach", 1 << 20), ("foreach", 5)):
        monkeypatch.setattr(storage, "CHUNK", chunk)
        start = torch.from_numpy(draw([(2, 3, 4, 5)], 3)[0]).to(BF16)
        params = [torch.nn.Parameter(LAYOUTS[layout](start)), torch.nn.Parameter(start.clone())]
        optimizer = ROWS_BY_NAME["adamw"].build(params, rounding="stochastic", seed=2,
                                                engine=engine)  # fmt: skip
        for step in range(3):
            for p in params:
                g = torch.from_numpy(gradients([p.shape], step)[0])
                p.grad = torch.empty_like(p).copy_(g)
            optimizer.step()
        kept = [optimizer.state[p][n] for p in params for n in ("exp_avg", "exp_avg_sq")]
        ends.append([x.detach().clone() for x in (*params, *kept)])
    for other in ends[1:]:
        assert all(torch.equal(a, b) for a, b in zip(ends[0], other, strict=True))


ROWS_BY_NAME = {row.name: row for row in ROWS}


def test_the_evaluation_view_is_never_rounded_at_random():
    p = torch.nn.Parameter(torch.ones(1000, dtype=BF16))
    row = ROWS_BY_NAME["ema"]
    optimizer = row.build([p], rounding={"p": "stochastic"}, state_dtype="float32", seed=1)
    p.grad = torch.full((1000,), 0.01, dtype=BF16)
    optimizer.step()
    average = optimizer.state[p]["average"].clone()
    with optimizer.evaluating():
        assert torch.equal(p.detach(), average.to(BF16))


# --- kahan -------------------------------------------------------------------------------------


def values_of(dtype, wide):
    """Numbers of every size that the dtype has, near its own and halfway between them."""
    random = np.random.default_rng(0)
    own = torch.from_numpy(random.integers(0, 1 << 16, 20000)).to(torch.int16)
    own = own.view(dtype) if dtype in (BF16, F16) else torch.randn(20000)
    own = own[own.isfinite()].to(wide)
    eps = torch.finfo(dtype).eps
    steps = torch.tensor([0, 0.5, 0.5 - 2**-9, 0.5 - 2**-14, 0.25, 1 / 3, -0.5, -0.499])
    return (own[:, None] * (1 + eps * steps.to(wide))).flatten()


@pytest.mark.parametrize(("dtype", "wide"), [(BF16, F32), (F16, F32), (F32, F64)], ids=str)
def test_a_pair_is_the_value_and_storing_what_was_read_changes_no_bit(dtype, wide):
    x = values_of(dtype, wide)
    high, low = storage.split(x, dtype)
    inside = high.isfinite()
    s = high.to(wide) + low
    assert torch.equal(s.to(dtype)[inside], high[inside])
    again = storage.split(s, dtype)
    assert torch.equal(again[0], high)
    assert torch.equal(again[1], low)
    off = (high.double() + low.double() - x.double()).abs()
    eps, least = torch.finfo(dtype).eps, {BF16: 2.0**-134, F16: 2.0**-25, F32: 2.0**-150}[dtype]
    assert (off[inside] <= 0.25 * eps**2 * x.double().abs()[inside] + least).all()


@pytest.mark.parametrize("dtype", [BF16, F16], ids=str)
@pytest.mark.parametrize("x", [float("inf"), -float("inf"), float("nan"), 3.4e38])
def test_beside_what_is_not_finite_nothing_is_kept(dtype, x):
    high, low = storage.split(torch.full((1,), x), dtype)
    wanted = torch.full((1,), x).to(dtype)
    assert torch.equal(high.nan_to_num(7), wanted.nan_to_num(7))
    assert low.item() == 0


SUMS = (  # dtype, options, one step's update, steps: of a sum of many updates too small for p alone
    (BF16, dict(rounding="kahan"), 3e-4, 1000),
    (F16, dict(rounding="kahan"), 1e-5, 3000),
    (F32, dict(rounding={"p": "kahan"}), 1e-9, 3000),
)


@ENGINE
@pytest.mark.parametrize(("dtype", "options", "update", "steps"), SUMS, ids=str)
def test_small_updates_add_up(engine, dtype, options, update, steps):
    ends = {}
    for name, chosen in (("nearest", {}), ("kahan", options)):
        p = torch.nn.Parameter(torch.ones(1, dtype=dtype))
        optimizer = Optimizer([p], steps=[descend], lr=update, engine=engine, **chosen)
        p.grad = torch.full((1,), -1.0, dtype=dtype)
        for _ in range(steps):
            optimizer.step()
        ends[name] = float(full(optimizer, p, "p")[0])
    assert ends["nearest"] == 1.0
    assert ends["kahan"] - 1 == pytest.approx(steps * update, rel=1e-2)


def test_the_low_part_is_like_its_tensor():
    x = torch.zeros(2, 3, 4, 4, dtype=BF16).to(memory_format=torch.channels_last)
    p = torch.nn.Parameter(x)
    optimizer = ROWS_BY_NAME["adamw"].build([p], rounding="kahan")
    optimizer.init_state()
    state = optimizer.state[p]
    for name in ("p", "exp_avg", "exp_avg_sq"):
        low = state[f"{name}_low"]
        assert (low.dtype, low.stride(), low.shape) == (p.dtype, p.stride(), p.shape)
        assert not low.any()
        assert not low.requires_grad


@pytest.mark.parametrize("dtype", [F32, BF16], ids=str)
def test_a_slot_that_starts_from_a_number_starts_from_all_of_it(dtype):
    row = ROWS_BY_NAME["adagrad"]
    p = parameter(draw([(3, 4)], 1)[0], dtype)
    optimizer = row.build([p], state_dtype="bfloat16", rounding="kahan")
    optimizer.init_state()
    start = row.hypers["initial_accumulator_value"]
    assert full(optimizer, p, "sum") == pytest.approx(start, rel=2.0**-16)
    assert optimizer.state[p]["sum"].double().sub(start).abs().max() > 1e-4 * start


@ENGINE
def test_complex_parameters_take_pairs(engine):
    start = torch.complex(*(torch.from_numpy(x).float() for x in draw([(3, 4)] * 2, 1)))
    p = torch.nn.Parameter(start.clone())
    optimizer = Optimizer([p], steps=[descend], lr=1e-9, rounding={"p": "kahan"}, engine=engine)
    p.grad = torch.complex(torch.ones(3, 4), -torch.ones(3, 4))
    for _ in range(50):
        optimizer.step()
    low = optimizer.state[p]["p_low"]
    assert low.dtype == p.dtype
    moved = p.detach().to(torch.complex128) + low - start
    torch.testing.assert_close(moved, torch.full_like(moved, complex(-5e-8, 5e-8)),
                               rtol=1e-5, atol=0)  # fmt: skip


# --- whatever the rounding ---------------------------------------------------------------------


@ENGINE
@pytest.mark.parametrize("way", ["nearest", "stochastic", "kahan"])
@pytest.mark.parametrize("row", [r for r in ROWS if not r.summed], ids=lambda row: row.name)
def test_parameters_of_several_dtypes_step_as_each_would_alone(row, engine, way):
    shape, dtypes = (4, 3), (F32, BF16, F64, F16, BF16)
    values = draw([shape] * len(dtypes), 1)

    def named(i):
        return (f"p{i}", parameter(values[i], dtypes[i]))

    options = dict(rounding=way, engine=engine, seed=4)
    together = [named(i) for i in range(len(dtypes))]
    alone = [named(i) for i in range(len(dtypes))]
    optimizers = [row.build([each], **options) for each in alone]
    optimizer = row.build(together, **options)
    for step in range(2):
        grads = gradients([shape] * len(dtypes), step)
        for (_, p), (_, q), g in zip(together, alone, grads, strict=True):
            p.grad, q.grad = torch.from_numpy(g).to(p.dtype), torch.from_numpy(g).to(q.dtype)
        optimizer.step()
        for each in optimizers:
            each.step()
    for (_, p), (_, q) in zip(together, alone, strict=True):
        assert torch.equal(p, q)


@ENGINE
@pytest.mark.parametrize("way", ["nearest", "stochastic", "kahan"])
def test_a_step_that_changes_no_value_changes_no_bit(engine, way):
    p = parameter(draw([(50, 7)], 1)[0], BF16)
    row = ROWS_BY_NAME["sgd momentum"]
    optimizer = row.build([p], rounding=way, engine=engine, seed=1)
    for step in range(3):
        p.grad = torch.from_numpy(gradients([(50, 7)], step)[0]).to(BF16)
        optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.0
    kept = {n: x.clone() for n, x in optimizer.state[p].items()}
    before = p.detach().clone()
    optimizer.step()
    assert torch.equal(p, before)
    assert way != "kahan" or torch.equal(optimizer.state[p]["p_low"], kept["p_low"])


@pytest.mark.parametrize("options", [
    dict(), dict(rounding="stochastic", seed=1), dict(rounding="kahan"),
    dict(rounding={"p": "kahan", "exp_avg": "stochastic"}, seed=1), dict(state_dtype="float32"),
], ids=str)  # fmt: skip
def test_rules_that_cannot_be_traced_are_stored_alike(options):
    def average(g, exp_avg=zeros, *, beta=0.9):
        return dict(exp_avg=beta * exp_avg + (1 - beta) * g)

    def opaque(g, exp_avg=zeros, *, beta=0.9):
        return dict(exp_avg=beta * exp_avg + (1 - beta) * torch.nn.functional.relu(g)
                    - (1 - beta) * torch.nn.functional.relu(-g))  # fmt: skip

    def descend_average(p, exp_avg, *, lr):
        return dict(p=p - lr * exp_avg)

    ends = []
    for rule in (average, opaque):
        p = parameter(draw([(6, 5)], 1)[0], BF16)
        if rule is opaque:
            with pytest.warns(UserWarning, match="relu"):
                optimizer = Optimizer([p], steps=[rule, descend_average], lr=1e-3, **options)
        else:
            optimizer = Optimizer([p], steps=[rule, descend_average], lr=1e-3, engine="loop",
                                  **options)  # fmt: skip
        for step in range(4):
            p.grad = torch.from_numpy(gradients([(6, 5)], step)[0]).to(BF16)
            optimizer.step()
        ends.append({"p": p.detach(), **optimizer.state[p]})
    assert ends[0].keys() == ends[1].keys()
    assert {n: torch.equal(ends[0][n], ends[1][n]) for n in ends[0]} == dict.fromkeys(ends[0], True)
