"""Random words: sound statistics, and the same bits however the work is split."""

import math

import pytest
import torch

from steppers import Optimizer
from steppers.ops import coin, normal, uniform, where, zeros

ENGINES = ["loop", "foreach", "fused"]
N = 1 << 16
SIGMAS = 5  # the draws are fixed, so a bound is passed or not; chance passes 5 sigma surely enough


def drawn(word, shape=(N,), engine="loop", seed=0, steps=1, before=(), dtype=torch.float32):
    """One parameter's numbers after some steps; `before` are shapes of parameters ahead of it."""

    def rule(p):
        return dict(p=where(word(p), 1.0, 0.0) if word is coin else word(p))

    ws = [torch.zeros(s, dtype=dtype, requires_grad=True) for s in (*before, shape)]
    for w in ws:
        w.grad = torch.zeros_like(w)
    optimizer = Optimizer(ws, steps=[rule], engine=engine, seed=seed)
    for _ in range(steps):
        optimizer.step()
    return ws[-1].detach()


def correlation(a, b):
    a, b = (x.double() - x.double().mean() for x in (a, b))
    return (a @ b / (a.norm() * b.norm())).item()


# --- statistics --------------------------------------------------------------------------------

# fmt: off
MOMENTS = [  # word, order, the moment about the mean, the variance of one such power
    (uniform, 1, 0.5, 1 / 12), (uniform, 2, 1 / 12, 1 / 180),
    (coin, 1, 0.5, 1 / 4),
    (normal, 1, 0.0, 1.0), (normal, 2, 1.0, 2.0), (normal, 3, 0.0, 15.0), (normal, 4, 3.0, 96.0),
]
# fmt: on


@pytest.mark.parametrize(
    ("word", "order", "moment", "variance"),
    MOMENTS,
    ids=[f"{word.__name__}-{order}" for word, order, *_ in MOMENTS],
)
@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_moments_are_those_of_the_distribution(word, order, moment, variance, seed):
    x = drawn(word, seed=seed).double()
    mean = 0.5 if word is not normal and order > 1 else 0.0
    found = ((x - mean) ** order).mean().item()
    assert abs(found - moment) < SIGMAS * math.sqrt(variance / N)


@pytest.mark.parametrize("seed", [0, 7])
def test_uniform_fills_its_interval_evenly(seed):
    x, bins = drawn(uniform, seed=seed), 64
    counts = torch.histc(x, bins, 0.0, 1.0).double()
    chi2 = ((counts - N / bins) ** 2 / (N / bins)).sum().item()
    assert abs(chi2 - (bins - 1)) < SIGMAS * math.sqrt(2 * (bins - 1))


def test_uniform_is_at_least_zero_and_below_one():
    x = drawn(uniform, (1 << 20,))
    assert x.min() >= 0
    assert x.max() < 1


def test_each_of_the_24_bits_of_a_uniform_is_even():
    bits = (drawn(uniform).double() * 2**24).long()
    means = torch.stack([((bits >> k) & 1).double().mean() for k in range(24)])
    assert (means - 0.5).abs().max() < SIGMAS * 0.5 / math.sqrt(N)


def test_normal_has_the_normal_distribution():
    """Kolmogorov-Smirnov: the distance exceeds 1.95 / sqrt(N) once in 1000."""
    x = drawn(normal).double().sort().values
    wanted = 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    steps = torch.arange(1, N + 1, dtype=torch.float64) / N
    assert (wanted - steps).abs().max() < 1.95 / math.sqrt(N)


@pytest.mark.parametrize("lag", [1, 2, 256, 4096])
def test_neighbouring_elements_are_uncorrelated(lag):
    x = drawn(normal)
    assert abs(correlation(x[lag:], x[:-lag])) < SIGMAS / math.sqrt(N)


# fmt: off
OTHERS = {  # what must change the draw, as arguments beside those of the first draw
    "seed": dict(seed=1), "a far seed": dict(seed=2**31), "step": dict(steps=2),
    "parameter": dict(before=[()]), "seed and step": dict(seed=1, steps=2),
}
# fmt: on


@pytest.mark.parametrize("word", [uniform, normal, coin])
@pytest.mark.parametrize("other", OTHERS)
def test_another_place_draws_other_numbers(word, other):
    found = correlation(drawn(word), drawn(word, **OTHERS[other]))
    assert abs(found) < SIGMAS / math.sqrt(N)


@pytest.mark.parametrize("word", [uniform, normal, coin])
def test_two_draws_in_one_rule_differ(word):
    def rule(p, first=zeros):
        a, b = ((where(x, 1.0, 0.0) if word is coin else x) for x in (word(p), word(p)))
        return dict(first=a, p=b + 0 * first)

    w = torch.zeros(N, requires_grad=True)
    w.grad = torch.zeros_like(w)
    optimizer = Optimizer([w], steps=[rule])
    optimizer.step()
    found = correlation(w.detach(), optimizer.state[w]["first"])
    assert abs(found) < SIGMAS / math.sqrt(N)


def test_two_rules_draw_different_numbers():
    def first(p, kept=zeros):
        return dict(kept=uniform(p) + 0 * kept)

    def second(p, kept):
        return dict(p=uniform(p) + 0 * kept)

    w = torch.zeros(N, requires_grad=True)
    w.grad = torch.zeros_like(w)
    optimizer = Optimizer([w], steps=[first, second])
    optimizer.step()
    found = correlation(w.detach(), optimizer.state[w]["kept"])
    assert abs(found) < SIGMAS / math.sqrt(N)


def test_a_further_chain_draws_other_numbers_than_the_step_before_it():
    def probe(p, kept=zeros):
        return dict(kept=uniform(p))

    def noisy(p, kept):
        return dict(p=uniform(p) + 0 * kept)

    w = torch.zeros(N, requires_grad=True)
    w.grad = torch.zeros_like(w)
    optimizer = Optimizer([w], steps=[noisy], further={"probe": (probe,)})
    optimizer.step()
    optimizer.run("probe")
    found = correlation(w.detach(), optimizer.state[w]["kept"])
    assert abs(found) < SIGMAS / math.sqrt(N)


# --- the same bits -----------------------------------------------------------------------------

# fmt: off
SAME = {  # what must not change the draw
    "again": {}, "foreach": dict(engine="foreach"), "as a matrix": dict(shape=(256, N // 256)),
}
# fmt: on


@pytest.mark.parametrize("word", [uniform, normal, coin])
@pytest.mark.parametrize("same", SAME)
def test_the_same_place_draws_the_same_bits(word, same):
    assert torch.equal(drawn(word, steps=3, **SAME[same]).flatten(), drawn(word, steps=3))


@pytest.mark.parametrize("word", [uniform, normal, coin])
def test_blocks_of_the_foreach_engine_draw_what_whole_tensors_do(word):
    """The first parameter is larger than a block, so the list is cut."""
    args = dict(shape=(1 << 18,), before=[(3,), (1 << 18,), (5,)])
    assert torch.equal(drawn(word, engine="foreach", **args), drawn(word, engine="loop", **args))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_part_of_a_large_draw_is_the_draw_of_a_small_tensor(engine):
    """An element's number is its index in the tensor, whatever the size."""
    assert torch.equal(drawn(uniform, (1000,), engine)[:10], drawn(uniform, (10,), engine))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_number_of_threads_changes_no_bit(engine):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = drawn(normal, engine=engine)
        torch.set_num_threads(2)
        assert torch.equal(one, drawn(normal, engine=engine))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_memory_layout_changes_no_bit(engine):
    def rule(p):
        return dict(p=uniform(p))

    w = torch.zeros(7, 5).t().requires_grad_()
    w.grad = torch.zeros_like(w)
    Optimizer([w], steps=[rule], engine=engine, seed=0).step()
    assert torch.equal(w.detach(), drawn(uniform, (5, 7)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_parameter_gets_the_same_numbers_rounded(dtype, engine):
    found = drawn(uniform, engine=engine, dtype=dtype)
    assert torch.equal(found, drawn(uniform).to(dtype))


def three(split, engine="loop", grads=(True, True, True), seed=5, names=None):
    """Three parameters' draws, in groups of these sizes."""

    def rule(p):
        return dict(p=uniform(p))

    ws = [torch.zeros(4, requires_grad=True) for _ in range(3)]
    for w, has in zip(ws, grads, strict=True):
        w.grad = torch.zeros_like(w) if has else None
    items = iter(zip(names, ws, strict=True) if names else ws)
    groups = [{"params": [next(items) for _ in range(size)]} for size in split]
    given = {} if seed is None else {"seed": seed}
    Optimizer(groups, steps=[rule], engine=engine, **given).step()
    return [w.tolist() for w in ws]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("split", [(1, 2), (2, 1), (1, 1, 1)], ids=str)
def test_groups_change_no_bit(split, engine):
    assert three(split, engine) == three((3,))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_missing_gradient_elsewhere_changes_no_bit(engine):
    assert three((3,), engine, grads=(False, True, True))[1:] == three((3,))[1:]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_named_parameter_draws_by_its_name(engine):
    """DESIGN section 2: the parameter's number, or its name where named."""
    ab, ba = (three((3,), engine, names=names) for names in (["a", "b", "c"], ["b", "a", "c"]))
    assert (ab[0], ab[1]) == (ba[1], ba[0])


def test_resuming_draws_what_would_have_come():
    def rule(p):
        return dict(p=uniform(p))

    def made(seed):
        w = torch.zeros(4, requires_grad=True)
        w.grad = torch.zeros_like(w)
        return w, Optimizer([w], steps=[rule], seed=seed)

    (w, first), (v, second) = made(3), made(8)
    first.step()
    second.load_state_dict(first.state_dict())
    first.step()
    second.step()
    assert torch.equal(w, v)


def test_without_a_seed_torchs_global_seed_decides():
    def drawn_after(seed):
        torch.manual_seed(seed)
        return three((3,), seed=None)

    assert drawn_after(1) == drawn_after(1) != drawn_after(2)


def test_drawing_leaves_torchs_generator_alone():
    before = torch.get_rng_state()
    drawn(normal)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_host_scalar_has_no_shape_to_draw_for():
    def rule(p, *, lr):
        return dict(p=p + uniform(lr))

    with pytest.raises(TypeError, match=r"^rule: uniform .*tensor.* host"):
        Optimizer([torch.zeros(2, requires_grad=True)], steps=[rule], lr=1.0)
