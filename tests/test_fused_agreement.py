"""The fused engine against the loop engine: every row, dtype, size and special value."""

import math

import pytest
import torch
from contract_rows import EVERY, UNITS

import steppers
from steppers import Optimizer
from steppers.ops import lerp, sqrt, zeros
from steppers.rules import clip_by_global_norm, descend

DTYPES = pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str
)
# A vector of the widest processors has 16 floats, a loop over sums 4 of them; a chunk is 32768.
VECTORS = ((), (1,), (0,), (15,), (16,), (17,), (31,), (33,), (63,), (64,), (65,), (0, 3))
MATRICES = ((3, 5), (1, 17), (16, 1), (33, 31), (0, 3), (2, 3, 4), (5, 0), (1, 1))
LONG = ((32767,), (32768,), (32769,), (129, 255), (2, 40000), (40000, 2))
SPECIAL = [
    math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-45, -1e-40, 1e-7, 1e-12, 1e12, 65504.0, 1.0, -0.5,
]  # fmt: skip


def drawn(shape, seed, special=False):
    """Normal numbers; half of them replaced by special ones."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    if special:
        which = torch.randint(len(SPECIAL), shape, generator=generator)
        chosen = torch.tensor(SPECIAL, dtype=torch.float64)[which]
        x = torch.where(torch.rand(shape, generator=generator) < 0.5, chosen, x)
    return x


def taken(row, engine, dtype, shapes, special=False, steps=3, **more):
    """Every tensor of an optimizer after some steps, by name."""
    params = [torch.nn.Parameter(drawn(s, i).to(dtype)) for i, s in enumerate(shapes)]
    optimizer = row(params, engine=engine, **more)
    for step in range(steps):
        for i, p in enumerate(params):
            p.grad = drawn(p.shape, 100 * step + i + 50, special).to(dtype)
        optimizer.step()
    return {
        f"{name} {tuple(p.shape)}": x.detach().clone()
        for p in params
        for name, x in [("p", p), *sorted(optimizer.state[p].items())]
    }


def assert_agree(actual, expected, computed=torch.float64):
    """Within UNITS roundings of the largest element, and the same where one is not finite.

    `computed`: a dtype in which some of it was computed, if that is narrower than what is stored.
    """
    assert actual.keys() == expected.keys()
    for name, wanted in expected.items():
        found = actual[name]
        assert found.dtype == wanted.dtype, name
        finite = wanted.isfinite()
        assert torch.equal(found[~finite].nan_to_num(7.0), wanted[~finite].nan_to_num(7.0)), name
        eps = max(torch.finfo(wanted.dtype).eps, torch.finfo(computed).eps)
        size = float(wanted[finite].abs().max()) if finite.any() else 0.0
        allowed = UNITS[wanted.dtype] * eps * max(size, 1e-2)
        assert bool(((found - wanted).abs()[finite] <= allowed).all()), name
        zero = (found == 0) & (wanted == 0)
        assert torch.equal(found.signbit()[zero], wanted.signbit()[zero]), f"sign of 0 in {name}"


def bits(x):
    """Bits as integers; one NaN is as good as another."""
    x = torch.where(x.isnan(), torch.full_like(x, math.nan), x)
    return (
        x.detach().contiguous().view({2: torch.int16, 4: torch.int32, 8: torch.int64}[x.itemsize])
    )


def over(rows):
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.id)


@DTYPES
@over(EVERY)
def test_it_agrees_with_the_loop_around_the_vectors_width(row, dtype):
    if row.narrow and dtype == torch.float16:
        pytest.skip(row.narrow)
    shapes = MATRICES + VECTORS * row.vectors
    assert_agree(*(taken(row, e, dtype, shapes) for e in ("fused", "loop")))


@over([row for row in EVERY if row.vectors])
def test_it_agrees_with_the_loop_around_a_chunks_length(row):
    assert_agree(*(taken(row, e, torch.float32, LONG, steps=2) for e in ("fused", "loop")))


@DTYPES
@over([row for row in EVERY if not row.coupled and row.vectors])
def test_nan_infinities_and_signs_of_zero_are_in_the_same_places(row, dtype):
    assert_agree(*(taken(row, e, dtype, VECTORS[3:-1], special=True) for e in ("fused", "loop")))


# --- bits --------------------------------------------------------------------------------------

# Chains in which an element's result depends on that element alone
APART = [
    r
    for r in EVERY
    if r.vectors and not r.coupled and r.id not in ("LAMB", "LARS", "LARC", "Adafactor")
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@over(APART)
def test_a_vector_and_a_scalar_tail_give_the_same_bits(row, dtype):
    """97 elements at once, and each alone in a tensor, where no vector fits."""
    values = drawn((97,), 1).to(dtype)
    grads = [drawn((97,), 2 + step, special=True).to(dtype) for step in range(2)]
    whole = [torch.nn.Parameter(values.clone())]
    single = [torch.nn.Parameter(v.clone()) for v in values]
    both = [(whole, row(whole, engine="fused")), (single, row(single, engine="fused"))]
    for g in grads:
        for params, optimizer in both:
            for p, part in zip(params, [g] if len(params) == 1 else g, strict=True):
                p.grad = part.clone()
            optimizer.step()
    joined = torch.stack([p.detach() for p in single])
    assert torch.equal(bits(whole[0].detach()), bits(joined))


@over([row for row in EVERY if row.vectors])
def test_any_number_of_threads_gives_the_same_bits(row):
    shapes = ((100_001,), (3,), (300, 401), (65_537, 2))
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            found.append(taken(row, "fused", torch.float32, shapes, steps=2))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        for name, x in found[0].items():
            assert torch.equal(bits(other[name]), bits(x)), name


def summed(p, g, lost=zeros):
    """Kahan 1965: what an addition loses is kept, and added the next time; here 100 times."""
    for _ in range(100):
        more = g - lost
        new = p + more
        p, lost = new, (new - p) - more
    return dict(p=p, lost=lost)


def test_a_compensated_sum_survives_the_compiler():
    """100,000 additions of 1e-9 to 1 in float32, each of which alone is lost."""
    p = torch.nn.Parameter(torch.ones(20))
    optimizer = Optimizer([p], steps=[summed], engine="fused")
    p.grad = torch.full_like(p, 1e-9)
    for _ in range(1000):
        optimizer.step()
    assert p.tolist() == [pytest.approx(1.0001, abs=torch.finfo(torch.float32).eps / 2)] * 20


# --- how tensors are stored --------------------------------------------------------------------


def average_grad(g, exp_avg=zeros, *, beta1):
    exp_avg = lerp(exp_avg, g, 1 - beta1)
    return dict(exp_avg=exp_avg, u=exp_avg)


STORED = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("slot", STORED, ids=str)
@DTYPES
def test_slots_may_have_another_dtype_than_their_parameter(dtype, slot):
    """Slots that exist keep their dtype; here one of the two is replaced after the first step."""

    def replaced(engine):
        p = torch.nn.Parameter(drawn((83,), 1).to(dtype))
        optimizer = steppers.AdamW([p], lr=1e-2, engine=engine)
        for step in range(3):
            p.grad = drawn((83,), step + 2).to(dtype)
            optimizer.step()
            if step == 0:
                state = optimizer.state[p]
                state["exp_avg_sq"] = state["exp_avg_sq"].to(slot)
        return {"p": p.detach(), **optimizer.state[p]}

    computed = torch.float64 if dtype == torch.float64 else torch.float32
    assert_agree(replaced("fused"), replaced("loop"), computed)


def test_parameters_of_all_dtypes_share_a_group_and_a_total():
    def stepped(engine):
        params = [torch.nn.Parameter(drawn((n,), n).to(d)) for n, d in enumerate(STORED * 2, 1)]
        steps = [clip_by_global_norm, average_grad, descend]
        optimizer = Optimizer(params, steps=steps, engine=engine, lr=0.1, beta1=0.9, max_norm=0.5)
        for step in range(3):
            for p in params:
                p.grad = drawn(p.shape, step + p.numel()).to(p.dtype)
            optimizer.step()
        return {f"p{i}": p.detach() for i, p in enumerate(params)}

    assert_agree(stepped("fused"), stepped("loop"), torch.float32)  # most of the total is


# --- products that a sum takes in unrounded ----------------------------------------------------


def test_equal_products_cancel():
    def rule(p, g):
        return dict(p=sqrt(p * p - g * g))

    p = torch.nn.Parameter(torch.linspace(0.1, 3.0, 97))
    p.grad = p.detach().clone()
    Optimizer([p], steps=[rule], engine="fused").step()
    assert p.tolist() == [0.0] * 97


def test_a_product_that_overflows_is_infinite():
    def rule(p, g):
        return dict(p=p - g * g)

    p = torch.nn.Parameter(torch.full((20,), math.inf))
    p.grad = torch.full_like(p, 1e30)  # its square is infinite in float32: inf - inf
    Optimizer([p], steps=[rule], engine="fused").step()
    assert bool(p.isnan().all())
