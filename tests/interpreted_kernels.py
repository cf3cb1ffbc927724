"""The Triton kernels on the CPU, run by Triton's interpreter; test_fused_triton.py starts this.

It is not collected by itself: TRITON_INTERPRET must be set before triton is imported.
"""

import math
import os

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from random_rules import chains
from rows import ROWS
from test_random_rules import SOME, check
from trials import STEPS, draw, fits, gradients, parameter, trial

import steppers
from steppers import engines, noise, ops, rules
from steppers.engines import driving
from steppers.engines.fused import cpu, gpu, triton_ops

assert os.environ["TRITON_INTERPRET"] == "1"

EVERY = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
SHAPES = ((), (7, 5), (0, 3), (2, 3, 4))
MATRICES = ((7, 5), (3, 8), (0, 3), (2, 3, 4))


@pytest.fixture(autouse=True)
def on_triton(monkeypatch):
    """The fused engine runs by Triton, whatever the device."""
    monkeypatch.setattr(driving, "_kernels", lambda batch: gpu)


def shapes_of(row):
    return MATRICES if row.matrices else SHAPES


def test_what_runs_is_triton(monkeypatch):
    monkeypatch.setattr(cpu, "run", None)
    p = parameter(np.ones(3), torch.float32)
    p.grad = torch.ones(3)
    steppers.SGD([p], lr=0.5, engine="fused").step()
    assert p.tolist() == [0.5, 0.5, 0.5]


@EVERY
def test_steps_equal_the_reference(row):
    found = trial(row, torch.float32, "fused", shapes_of(row))
    for step in range(STEPS):
        found.step(gradients(fits(row, shapes_of(row)), step))
    found.check()


@EVERY
def test_double_precision_equals_the_reference(row):
    found = trial(row, torch.float64, "fused", shapes_of(row))
    for step in range(2):
        found.step(gradients(fits(row, shapes_of(row)), step))
    found.check()


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_16_bit_is_rounded_once_at_the_store(row, dtype):
    found = trial(row, dtype, "fused", shapes_of(row))
    found.optimizer.init_state()  # a slot that starts from a hyper is rounded then
    for step in range(2):
        found.follow()
        found.step(gradients(fits(row, shapes_of(row)), step))
        found.check()


# --- words -------------------------------------------------------------------------------------

# No quotient of two overflows: torch's remainder of float32 is NaN there (2.13, CPU).
SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 0.5, 2.5, -2.5, 1e-10, -3e18, 1e-3]
ULPS = 4  # libdevice and NumPy are within 2 of the exact value, torch within 2
WORDS = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: 1.5 - a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "reciprocal": lambda a, b: 1 / a + b,
    "mod": lambda a, b: a % b,
    "mod by a number": lambda a, b: a % 0.3,
    "neg": lambda a, b: 1 / -a,
    "pow": lambda a, b: a**b,
    "cube": lambda a, b: a**3,
    "power of a number": lambda a, b: 2**a,
    "root": lambda a, b: a**0.5,
    "sqrt": lambda a, b: ops.sqrt(a),
    "rsqrt": lambda a, b: ops.rsqrt(a),
    "square": lambda a, b: ops.square(a),
    "abs": lambda a, b: ops.abs(a),
    "sign": lambda a, b: ops.sign(a),
    "exp": lambda a, b: ops.exp(a),
    "log": lambda a, b: ops.log(a),
    "tanh": lambda a, b: ops.tanh(a),
    "sigmoid": lambda a, b: ops.sigmoid(a),
    "floor": lambda a, b: ops.floor(a),
    "cos": lambda a, b: ops.cos(ops.clamp(a, -9.0, 9.0)),
    "lerp": lambda a, b: ops.lerp(a, b, b),
    "lerp near": lambda a, b: ops.lerp(a, b, 0.3),
    "lerp far": lambda a, b: ops.lerp(a, b, 0.9),
    "minimum": ops.minimum,
    "maximum": ops.maximum,
    "least": lambda a, b: ops.minimum(a, 0.5),
    "clamp": lambda a, b: ops.clamp(a, -1.0, 1.0),
    "where": lambda a, b: ops.where(a > b, a, 2.0),
    "a choice of numbers": lambda a, b: ops.where(a <= b, 1.0, 0.0),
    "logic": lambda a, b: ops.where((a < b) | ~(a >= 0.5) & (b == b), a, b),
    "unequal": lambda a, b: ops.where(a != b, a, -1.0),
    "isfinite": lambda a, b: ops.where(ops.isfinite(a), a, 0.0),
    "a condition is a number": lambda a, b: (a > b) + (a == 1.0),
}


def one_step(engine, steps, p, g, **more):
    """A parameter after one step of a chain, and its state."""
    p = torch.nn.Parameter(p.detach().clone())
    p.grad = g.clone()
    optimizer = steppers.Optimizer([p], steps=steps, engine=engine, **more)
    optimizer.step()
    return p.detach(), {n: x for n, x in optimizer.state[p].items() if n != "step"}


def same_places(a, b):
    """The same NaN, infinities and zeros' places."""
    return torch.equal(a.isnan(), b.isnan()) and torch.equal(a.isinf(), b.isinf())


def assert_near(a, b, ulps, size=0.0):
    """Equal, with NaN and infinities in the same places, to some units of the dtype's eps.

    `size` is that of the operands, where their difference cancels.
    """
    assert a.dtype == b.dtype and a.shape == b.shape and same_places(a, b)
    allowed = ulps * torch.finfo(a.dtype).eps * (b.abs() + size)
    assert bool(((a - b).abs() <= allowed + 1e-37)[b.isfinite()].all())
    assert torch.equal(a[b.isinf()], b[b.isinf()])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("word", WORDS)
def test_a_word_is_torchs(word, dtype):
    def apply(p, g):
        return dict(p=WORDS[word](p, g))

    special = torch.tensor(SPECIAL, dtype=dtype)
    a, b = torch.meshgrid(special, special, indexing="ij")
    a = torch.cat([a.reshape(-1), torch.randn(200, dtype=dtype)])
    b = torch.cat([b.reshape(-1), torch.randn(200, dtype=dtype)])
    found, _ = one_step("fused", [apply], a, b)
    wanted, _ = one_step("loop", [apply], a, b)
    cancels = word.startswith("lerp")  # torch's has a fused multiplication and addition
    assert_near(found, wanted, ULPS, (a.abs() + b.abs()).nan_to_num(posinf=0) if cancels else 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("draw", ["uniform", "coin", "normal"])
def test_a_draw_is_a_hash_of_where_it_is_used(draw, dtype):
    def drawn(p, g):
        return dict(p=ops.where(getattr(ops, draw)(p), 1.0, 0.0) if draw == "coin"
                    else getattr(ops, draw)(p))  # fmt: skip

    p = torch.zeros(2100, dtype=dtype)
    found, _ = one_step("fused", [drawn], p, p, seed=7)
    wanted = getattr(noise, draw)(p, 7, 1, 0, 1).to(dtype)
    if draw == "normal":
        assert_near(found, wanted, 64)  # the log of a number near 1 cancels
    else:
        assert torch.equal(found, wanted)


# --- reductions --------------------------------------------------------------------------------

LONG = (5000, 3)  # eight blocks, the last a part of one
REDUCED = {
    "sum": ops.sum, "mean": ops.mean, "norm": ops.norm, "rms": ops.rms, "amax": ops.amax,
    "dot": lambda x, **over: ops.dot(x, 2 * x, **over),
}  # fmt: skip
OVER = ("columns", "rows", "matrix", "rest")
AXES = ((3, 4), (1, 1), (70, 130), (2, 35, 70), (40, 1), (1, 130))


@pytest.mark.parametrize("word", REDUCED)
@pytest.mark.parametrize("shape", [LONG, (), (7,), (0, 2)], ids=str)
def test_a_reduction_of_a_tensor_is_torchs(word, shape):
    def reduced(p, g):
        return dict(p=p + REDUCED[word](g) + REDUCED[word](p))

    p, g = torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    found, _ = one_step("fused", [reduced], p, g)
    wanted, _ = one_step("loop", [reduced], p, g)
    torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("word", REDUCED)
@pytest.mark.parametrize("over", OVER)
def test_a_reduction_over_axes_is_torchs(word, over):
    def reduced(p, g):
        return dict(p=p + REDUCED[word](g, over=over))

    for shape in AXES:
        p, g = torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
        found, _ = one_step("fused", [reduced], p, g)
        wanted, _ = one_step("loop", [reduced], p, g)
        torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("over", [None, *OVER])
def test_the_largest_of_what_holds_a_nan_is_nan(over):
    def largest(p, g):
        return dict(p=0 * p + ops.amax(g, over=over))

    g = torch.zeros(40, 70)
    g[3, 66] = math.nan
    found, _ = one_step("fused", [largest], g, g)
    wanted, _ = one_step("loop", [largest], g, g)
    assert torch.equal(found.isnan(), wanted.isnan()) and bool(found.isnan().any())


def test_sums_over_columns_and_rows_in_one_pass():
    def scaled(p, g):
        rows, columns = ops.mean(ops.square(g), over="columns"), ops.mean(g, over="rows")
        return dict(p=p * ops.sqrt(rows) + columns * ops.norm(g) + ops.amax(g, over="matrix"))

    for shape in AXES:
        p, g = torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
        found, _ = one_step("fused", [scaled], p, g)
        wanted, _ = one_step("loop", [scaled], p, g)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_slices_of_the_first_axis_beside_rows():
    def scaled(p, g):
        return dict(p=p + ops.mean(g, over="rest") + ops.amax(g, over="columns") * ops.sum(g))

    for shape in ((3, 4), (40, 5), (7, 3, 5), (70, 2, 130)):
        p, g = torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
        found, _ = one_step("fused", [scaled], p, g)
        wanted, _ = one_step("loop", [scaled], p, g)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_float32_sums_are_accurate():
    def shifted(p, g):
        return dict(p=p - ops.mean(g))

    g = torch.rand(100_000) + 1000
    found, _ = one_step("fused", [shifted], torch.zeros(100_000), g)
    exact = -float(g.double().mean())
    assert abs(float(found[0]) - exact) <= 4 * 1000 * torch.finfo(torch.float32).eps


def test_totals_run_over_all_tensors_groups_and_dtypes():
    shapes = (LONG, (), (0, 2), (7, 5))
    kinds = (torch.float32, torch.float64, torch.float32, torch.bfloat16)

    def run(engine):
        values = draw(shapes, seed=3)
        params = [parameter(x, kind) for x, kind in zip(values, kinds, strict=True)]
        groups = [dict(params=params[:2]), dict(params=params[2:], max_norm=3.0)]
        steps = [rules.clip_by_global_norm, rules.average_momentum, rules.descend]
        optimizer = steppers.Optimizer(groups, steps=steps, engine=engine, lr=0.1, max_norm=0.5,
                                       momentum=0.9)  # fmt: skip
        for step in range(3):
            for p, g in zip(params, gradients(shapes, step), strict=True):
                p.grad = torch.from_numpy(np.asarray(g)).to(p.dtype)
            optimizer.step()
        return params

    for a, b in zip(run("fused"), run("loop"), strict=True):
        a, b = a.detach(), b.detach()
        narrow = torch.bfloat16 if a.dtype == torch.bfloat16 else torch.float32  # the norm's sums
        torch.testing.assert_close(a, b, rtol=8 * torch.finfo(narrow).eps, atol=1e-6)


def test_a_number_of_each_tensor_is_kept():
    def normed(g, size=ops.zero, *, beta1=0.5):
        size = ops.lerp(ops.norm(g), size, beta1)
        return dict(u=g / (size + 1), size=size)

    def run(engine):
        params = [parameter(x, torch.float64) for x in draw([(3, 4), (5,)], seed=1)]
        optimizer = steppers.Optimizer(params, steps=[normed, rules.descend], engine=engine, lr=0.1)
        for step in range(3):
            for p, g in zip(params, gradients([(3, 4), (5,)], step), strict=True):
                p.grad = torch.from_numpy(g)
            optimizer.step()
        return [*params, *(optimizer.state[p]["size"] for p in params)]

    for a, b in zip(run("fused"), run("loop"), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


# --- chains ------------------------------------------------------------------------------------


@settings(SOME, max_examples=40)
@given(made=chains())
def test_a_random_chain_equals_numpy(made):
    check(made, "fused", ((), (3,), (2, 2, 2)))


@settings(SOME, max_examples=20)
@given(made=chains(matrices=True))
def test_a_random_chain_on_matrices_equals_numpy(made):
    check(made, "fused", ((2, 3), (2, 2, 2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_conditions_of_every_size_join(dtype):
    def joined(p, g, *, t, lr):
        host, tensor, all_ = t > 1, ops.norm(g) > 2, ops.global_norm(p) > 1
        rows = ops.amax(p, over="columns") > 0.5
        chosen = (g > 0) & tensor | host & rows | ~all_ & (p > g)
        return dict(p=ops.where(chosen, p - lr * g, ops.where(host & all_, 2 * p, p)))

    p, g = torch.randn(4, 3, dtype=dtype), torch.randn(4, 3, dtype=dtype)
    found, wanted = (one_step(engine, [joined], p, g, lr=0.1) for engine in ("fused", "loop"))
    assert_near(found[0], wanted[0], ULPS)


# --- storage -----------------------------------------------------------------------------------


def stepped(engine, dtype, rounding, steps=3, state_dtype=None):
    """SGD with momentum, whose two values are products and sums that no engine orders otherwise."""
    values = draw([(2100,), (7, 5), ()], seed=4)
    params = [parameter(x, dtype) for x in values]
    optimizer = steppers.SGD(params, lr=0.1, momentum=0.5, engine=engine, rounding=rounding,
                             state_dtype=state_dtype, seed=11)  # fmt: skip
    for step in range(steps):
        for p, g in zip(params, gradients([p.shape for p in params], step), strict=True):
            p.grad = torch.from_numpy(np.asarray(g)).to(dtype)
        optimizer.step()
    return [*(p.detach() for p in params),
            *(x for p in params for n, x in optimizer.state[p].items() if n != "step")]  # fmt: skip


@pytest.mark.parametrize("rounding", ["nearest", "stochastic", "kahan"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_storage_has_the_bits_of_the_definition(rounding, dtype):
    found, wanted = (stepped(engine, dtype, rounding) for engine in ("fused", "loop"))
    assert len(found) == len(wanted) > 5
    for a, b in zip(found, wanted, strict=True):
        assert torch.equal(a, b)


def test_pairs_of_float32_compute_in_double_precision():
    kahan = {"p": "kahan"}
    found, wanted = (stepped(engine, torch.float32, kahan) for engine in ("fused", "loop"))
    for a, b in zip(found, wanted, strict=True):
        assert torch.equal(a, b)


def test_slots_may_be_narrower_than_their_parameter():
    found, wanted = (stepped(engine, torch.float32, None, state_dtype="bfloat16")
                     for engine in ("fused", "loop"))  # fmt: skip
    assert found[-1].dtype == torch.bfloat16
    for a, b in zip(found, wanted, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("rounding", ["nearest", "stochastic", "kahan"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_ties_carries_subnormals_and_infinities_are_stored_as_torch_does(rounding, dtype):
    ties = torch.tensor([1 + 2.0**-8, 1 + 3 * 2.0**-8, 2 - 2.0**-8, 1 + 2.0**-11, 1 + 3 * 2.0**-11,
                         65519.0, 65520.0, 3.4e38, 1e-7, 6e-8, 2.0**-25, 1e-40, 0.0, -0.0,
                         math.inf, -math.inf, math.nan])  # fmt: skip
    g = torch.cat([ties, -ties, torch.randn(100), torch.randn(100) * 1e-6])
    p = torch.zeros(len(g), dtype=dtype)

    found = from_a_wide_slot("fused", p, g, rounding)
    wanted = from_a_wide_slot("loop", p, g, rounding)
    assert same_places(found, wanted)
    assert torch.equal(found.nan_to_num().view(torch.int16), wanted.nan_to_num().view(torch.int16))


def from_a_wide_slot(engine, p, x, rounding):
    """A parameter after a step that replaces it by a slot of float32 numbers."""

    def wide(p, g, slot=ops.zeros):
        return dict(p=slot, slot=slot)

    q = torch.nn.Parameter(p.clone())
    q.grad = torch.zeros_like(q)
    optimizer = steppers.Optimizer([q], steps=[wide], engine=engine, rounding=rounding,
                                   state_dtype="float32", seed=5)  # fmt: skip
    optimizer.init_state()
    optimizer.state[q]["slot"].copy_(x)
    optimizer.step()
    return q.detach()


# --- tables ------------------------------------------------------------------------------------


def adamw(engine, params, grads):
    params = [torch.nn.Parameter(p) for p in params]
    optimizer = steppers.AdamW(params, lr=0.1, engine=engine)
    for _ in range(2):
        for p, g in zip(params, grads, strict=True):
            p.grad = g
        optimizer.step()
    return params


LAYOUTS = {
    "transposed": lambda x: x.T.contiguous().T,
    "every second column": lambda x: torch.stack([x, x], -1).flatten(-2)[..., ::2],
    "not at a multiple of 16 bytes": lambda x: torch.cat([x.new_zeros(1), x.flatten()])[1:].view(
        x.shape
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("which", ["parameter", "gradient", "both"])
def test_layouts_change_no_bit(layout, which):
    p, g = torch.randn(60, 50), torch.randn(60, 50)
    lay = LAYOUTS[layout]
    plain = adamw("fused", [p.clone()], [g])[0]
    ours = adamw("fused", [lay(p.clone()) if which != "gradient" else p.clone()],
                 [lay(g) if which != "parameter" else g])[0]  # fmt: skip
    assert torch.equal(ours.detach(), plain.detach())


def test_an_expanded_gradient_is_read_through_a_copy():
    p, g = torch.randn(60, 50), torch.randn(1, 50).expand(60, 50)
    found = adamw("fused", [p.clone()], [g])[0]
    assert torch.equal(found, adamw("fused", [p.clone()], [g.contiguous()])[0])


def test_a_full_block_and_a_part_of_one_give_the_same_bits():
    p, g = torch.randn(4096), torch.randn(4096)
    whole = adamw("fused", [p.clone()], [g])[0].detach()
    parts = adamw("fused", [p[:2000].clone(), p[2000:].clone()], [g[:2000], g[2000:]])
    assert torch.equal(whole, torch.cat([x.detach() for x in parts]))


def test_new_numbers_sizes_and_gradients_build_nothing(monkeypatch):
    p, q = parameter(np.ones((3, 4)), torch.float32), parameter(np.ones(5000), torch.float32)
    optimizer = steppers.AdamW([p, q], lr=0.1, engine="fused")
    p.grad = torch.ones_like(p)
    optimizer.step()
    monkeypatch.setattr(gpu, "build", None)
    q.grad = torch.ones_like(q)
    optimizer.param_groups[0]["lr"] = 0.2
    optimizer.step()
    assert optimizer.state[q]["step"] == 1


# --- names -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["tl", "p_10_at", "inside", "lambda", "a b\nimport os", "größe", "x'\"#", "1st", "_"]
)
def test_no_name_of_a_slot_breaks_the_source(name):
    space = {"zeros": ops.zeros}
    if name.isidentifier() and name != "lambda":
        exec(f"def odd(g, {name}=zeros):\n    return dict({name}={name} + g, u={name})", space)
        steps = [space["odd"], rules.descend]
        p, state = one_step("fused", steps, torch.ones(3), torch.ones(3), lr=1.0)
        assert name in state and p.tolist() == [1.0, 1.0, 1.0]
    made = triton_ops.identifier(name, 3)
    assert made.isidentifier() and made.isascii() and made.endswith("_3")
    assert "\n" not in triton_ops.comment(name)


# --- nothing is read back ----------------------------------------------------------------------

CHAINS = {
    "adamw": steppers.AdamW,
    "lamb": steppers.LAMB,
    "adafactor": steppers.Adafactor,
    "prodigy": steppers.Prodigy,
    "clipped": lambda params, **more: steppers.Optimizer(
        params, steps=[rules.clip_by_global_norm, rules.descend], max_norm=0.1, **more
    ),
}


@pytest.mark.parametrize("chain", CHAINS)
def test_the_engine_reads_nothing_back(chain, monkeypatch):
    params = [parameter(x, torch.float32) for x in draw([(7, 5), (3, 4)], seed=1)]
    optimizer = CHAINS[chain](params, lr=0.1, engine="fused")
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()

    def watched(function):
        def call(batches):
            with monkeypatch.context() as patch:
                for reader in ("item", "tolist", "__float__", "__bool__", "__int__", "nonzero"):
                    patch.setattr(torch.Tensor, reader, refuse)
                function(batches)

        return call

    def refuse(*_):
        raise AssertionError("a tensor was read")

    for name in ("prepare", "drive"):
        monkeypatch.setattr(engines, name, watched(getattr(engines, name)))
    optimizer.step()


def test_host_values_may_be_on_the_device():
    """A rate that is a tensor, and a condition that depends on it, are decided there."""

    def halved(p, g, slow=ops.zeros, *, lr):
        return dict(p=ops.where(lr > 0.05, p - lr * g, p + slow), slow=slow + ops.abs(lr) * g)

    prepare = engines.prepare

    def there(batches):
        ((_, batch),) = batches
        batch.hosts = [{v: torch.tensor(float(x), dtype=torch.float64) for v, x in row.items()}
                       for row in batch.hosts]  # fmt: skip
        assert batch.taken(0) == (None,)
        prepare(batches)

    def run(tensors, lr):
        p = parameter(np.arange(6.0).reshape(2, 3), torch.float64)
        p.grad = torch.ones_like(p)
        optimizer = steppers.Optimizer([p], steps=[halved], lr=lr, engine="fused")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(engines, "prepare", there if tensors else prepare)
            optimizer.step()
        return p.detach(), optimizer.state[p]["slow"]

    for lr in (0.1, 0.01):
        for a, b in zip(run(True, lr), run(False, lr), strict=True):
            assert torch.equal(a, b)
