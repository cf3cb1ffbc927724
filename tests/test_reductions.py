"""Reductions and matrix words equal NumPy's, over every axis, by hand and in a step."""

import re

import numpy as np
import pytest
import torch
from closeness import assert_close

from steppers import Optimizer, by_shape, ops
from steppers.ops import numel

DTYPES = [torch.float64, torch.float32]
ENGINES = ["loop", "foreach", "fused"]
SHAPES = [(4, 3), (2, 4, 3), (2, 3, 4, 5)]
WIDE, TALL = (3, 5), (5, 3)

# fmt: off
REDUCTIONS = {
    "sum": np.sum, "mean": np.mean, "amax": np.max,
    "norm": lambda x, **kw: np.sqrt(np.sum(x * x, **kw)),
    "rms": lambda x, **kw: np.sqrt(np.mean(x * x, **kw)),
}
OVER = {  # the axes of each `over`, for a tensor of that many dimensions
    None: lambda ndim: None, "columns": lambda ndim: (-1,), "rows": lambda ndim: (-2,),
    "matrix": lambda ndim: (-2, -1), "rest": lambda ndim: tuple(range(1, ndim)),
}
# fmt: on


def sample(shape, dtype=torch.float64):
    return torch.randn(shape, dtype=torch.float64).to(dtype)


def reduced(numpys, x, over):
    """A reduction by NumPy, whose dims are kept where `over` names axes."""
    axes = OVER[over](x.ndim)
    return numpys(x) if axes is None else numpys(x, axis=axes, keepdims=True)


def stepped(make, g, engine):
    """What a rule `make(g)` leaves in p, by one step."""
    w = torch.zeros_like(g).requires_grad_()
    w.grad = g.clone()
    Optimizer([w], steps=[lambda p, g: dict(p=make(g))], engine=engine).step()
    return w


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("word", REDUCTIONS)
def test_a_reduction_of_a_tensor_is_numpys(word, over, shape, dtype):
    x = sample(shape, dtype)
    found = getattr(ops, word)(x, over=over)
    assert_close(found, reduced(REDUCTIONS[word], x.double().numpy(), over))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("word", REDUCTIONS)
def test_a_reduction_in_a_step_is_numpys(word, over, shape, engine):
    g = sample(shape, torch.float32)
    found = stepped(lambda g: g * getattr(ops, word)(g, over=over), g, engine)
    x = g.double().numpy()
    assert_close(found, x * reduced(REDUCTIONS[word], x, over))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("over", OVER)
def test_dot_is_the_sum_of_products(over, shape):
    a, b = sample(shape), sample(shape)
    assert_close(ops.dot(a, b, over=over), reduced(np.sum, a.numpy() * b.numpy(), over))


@pytest.mark.parametrize("word", REDUCTIONS)
def test_a_reduction_of_one_number_is_of_that_number(word):
    x = torch.tensor(3.0)
    assert_close(getattr(ops, word)(x), REDUCTIONS[word](np.float64(3.0)))


@pytest.mark.parametrize("word", REDUCTIONS)
@pytest.mark.parametrize("over", OVER)
def test_a_reduction_heeds_no_memory_layout(word, over):
    x = sample((5, 4, 3)).permute(2, 0, 1)
    found = getattr(ops, word)(x, over=over)
    assert_close(found, reduced(REDUCTIONS[word], x.numpy(), over))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("word", REDUCTIONS)
def test_an_empty_parameter_goes_through_every_reduction(word, engine):
    """A rule divides by its reduction; the parameter with elements moves, the empty one is left."""
    reduce = getattr(ops, word)
    full, empty = (torch.zeros(shape, requires_grad=True) for shape in [(2, 3), (0, 3)])
    full.grad, empty.grad = torch.ones(2, 3), torch.ones(0, 3)

    def rule(p, g):
        return dict(p=p - g / reduce(g))

    Optimizer([full, empty], steps=[rule], engine=engine).step()
    assert_close(full, -np.ones((2, 3)) / REDUCTIONS[word](np.ones((2, 3))))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_total_is_over_all_tensors_of_all_groups(engine):
    shapes = [(), (3,), (2, 4), (0, 3)]
    ws = [torch.zeros(shape, requires_grad=True) for shape in shapes]
    for w in ws:
        w.grad = sample(w.shape, torch.float32)

    def rule(p, g):
        return dict(p=p + ops.total(g * g))

    Optimizer([{"params": ws[:2]}, {"params": ws[2:]}], steps=[rule], engine=engine).step()
    wanted = sum(float(np.sum(w.grad.double().numpy() ** 2)) for w in ws)
    for w in ws:
        assert_close(w, np.full(w.shape, wanted))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_global_norm_leaves_out_what_has_no_gradient(engine):
    ws = [torch.zeros(2, requires_grad=True) for _ in range(3)]
    ws[0].grad, ws[2].grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])

    def rule(p, g):
        return dict(p=p + ops.global_norm(g))

    Optimizer(ws, steps=[rule], engine=engine).step()
    assert [w.tolist() for w in ws] == [[5.0, 5.0], [0.0, 0.0], [5.0, 5.0]]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("number", "wanted"),
    [(lambda p, g: ops.sum(g), 7.0), (lambda p, g: ops.amax(g), 2.0), (lambda p, g: numel(p), 7.0)],
    ids=["sum", "amax", "numel"],
)
def test_a_total_counts_a_number_of_each_tensor_once(number, wanted, engine):
    """As Prodigy adds up dot products; the two tensors have 3 and 4 elements, all 1."""
    ws = [torch.zeros(shape, requires_grad=True) for shape in [(3,), (2, 2)]]
    for w in ws:
        w.grad = torch.ones_like(w)

    def rule(p, g):
        return dict(p=p + ops.total(number(p, g)))

    Optimizer(ws, steps=[rule], engine=engine).step()
    assert [w.unique().tolist() for w in ws] == [[wanted], [wanted]]


@pytest.mark.parametrize("engine", ENGINES)
def test_rules_of_one_name_in_two_chains_sum_apart(engine):
    def of_gradient():
        def scale(p, g):
            return dict(p=p + ops.total(g))

        return scale

    def of_parameter():
        def scale(p, g):
            return dict(p=p + ops.total(p))

        return scale

    a, b = (torch.ones(2, requires_grad=True) for _ in range(2))
    a.grad, b.grad = torch.full((2,), 3.0), torch.full((2,), 5.0)
    Optimizer(
        [{"params": [a], "chain": "a"}, {"params": [b], "chain": "b"}],
        chains={"a": (of_gradient(),), "b": (of_parameter(),)},
        engine=engine,
    ).step()
    assert (a.tolist(), b.tolist()) == ([7.0, 7.0], [3.0, 3.0])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_total_is_over_both_sides_of_a_choice_by_shape(engine):
    def halved(g):
        return dict(g=g / 2)

    def rule(p, g):
        return dict(p=p + ops.total(g))

    matrix, vector = (torch.zeros(shape, requires_grad=True) for shape in [(2, 2), (3,)])
    matrix.grad, vector.grad = torch.full((2, 2), 3.0), torch.ones(3)
    steps = [by_shape(matrices=[halved], others=[]), rule]
    Optimizer([matrix, vector], steps=steps, engine=engine).step()
    assert (matrix.unique().tolist(), vector.unique().tolist()) == ([9.0], [9.0])


def test_chains_that_wait_for_each_others_totals_are_refused_before_a_step():
    """Each chain's second total needs its first, which is the other's second."""

    def scale(g):
        return dict(g=g / ops.total(g * g))

    def shift(g):
        return dict(g=g - ops.total(g))

    def move(p, g):
        return dict(p=p - g)

    ws = [torch.zeros(2, requires_grad=True) for _ in range(2)]
    groups = [{"params": [w], "chain": name} for w, name in zip(ws, "ab", strict=True)]
    chains = {"a": (scale, shift, move), "b": (shift, scale, move)}
    with pytest.raises(TypeError, match=r"wait for each other's"):
        Optimizer(groups, chains=chains)


# --- matrix words ------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matmul_and_transpose_are_numpys(shape):
    x = sample(shape)
    found = ops.matmul(x, ops.transpose(x))
    assert_close(found, x.numpy() @ np.swapaxes(x.numpy(), -1, -2))


@pytest.mark.parametrize("shape", [(4, 3), (2, 4, 3), (2, 2, 3, 3)], ids=str)
def test_qr_gives_an_orthogonal_factor(shape):
    x = sample(shape)
    q = ops.qr(x).numpy()
    gram = np.swapaxes(q, -1, -2) @ q
    assert_close(torch.from_numpy(gram), np.broadcast_to(np.eye(shape[-1]), gram.shape))
    assert_close(torch.from_numpy(q @ np.swapaxes(q, -1, -2) @ x.numpy()), x.numpy())
    triangle = np.swapaxes(q, -1, -2) @ x.numpy()
    assert_close(torch.from_numpy(np.tril(triangle, -1)), np.zeros_like(triangle))


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)], ids=str)
def test_solve_undoes_a_product(batch):
    a = sample((*batch, 3, 3)) + 5 * torch.eye(3, dtype=torch.float64)  # well conditioned
    x = sample((*batch, 3, 4))
    assert_close(ops.solve(a, a @ x), x.numpy())


def newton_schulz(x, steps):
    """X <- aX + (bA + cA^2)X with A = X X^T (https://kellerjordan.github.io/posts/muon)."""
    a, b, c = 3.4445, -4.7750, 2.0315
    y = np.swapaxes(x, -1, -2) if x.shape[-2] > x.shape[-1] else x
    y = y / (np.sqrt(np.sum(y * y, axis=(-2, -1), keepdims=True)) + 1e-7)
    for _ in range(steps):
        gram = y @ np.swapaxes(y, -1, -2)
        y = a * y + (b * gram + c * gram @ gram) @ y
    return np.swapaxes(y, -1, -2) if x.shape[-2] > x.shape[-1] else y


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("shape", [WIDE, TALL, (2, *WIDE), (2, 3, *TALL)], ids=str)
def test_orthogonalise_is_newton_schulz(shape, steps):
    x = sample(shape)
    found = ops.orthogonalise(x, steps)
    # dividing by max(norm, eps), not by norm + eps, differs by 1e-7 of the whole
    torch.testing.assert_close(found, torch.from_numpy(newton_schulz(x.numpy(), steps)), atol=2e-6,
                               rtol=0)  # fmt: skip


@pytest.mark.parametrize("shape", [WIDE, TALL], ids=str)
def test_orthogonalise_brings_singular_values_near_one(shape):
    """The interval that the post states for five steps, [0.7, 1.2] about."""
    values = np.linalg.svd(ops.orthogonalise(sample(shape)).numpy(), compute_uv=False)
    assert values.min() > 0.65
    assert values.max() < 1.25


def test_orthogonalise_of_zeros_is_zero():
    assert ops.orthogonalise(torch.zeros(2, 3)).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize("engine", ENGINES)
def test_matrix_words_in_a_step_are_batched_but_apart(engine):
    """Matrices of one shape are stacked into one call; each gets its own result back."""
    ws = [torch.zeros(shape, requires_grad=True) for shape in (WIDE, TALL, WIDE, (2, *WIDE))]
    for w in ws:
        w.grad = sample(w.shape, torch.float32)

    def rule(p, g):
        return dict(p=p + g @ ops.transpose(g) @ g)

    Optimizer(ws, steps=[rule], engine=engine).step()
    for w in ws:
        g = w.grad.double().numpy()
        assert_close(w, g @ np.swapaxes(g, -1, -2) @ g)


MATRIX_ONLY = {
    "transpose": lambda g: ops.transpose(ops.transpose(g)),
    'mean(over="rest")': lambda g: g - ops.mean(g, over="rest"),
    'norm(over="rows")': lambda g: g * ops.norm(g, over="rows"),
    "orthogonalise": lambda g: ops.orthogonalise(g),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("word", MATRIX_ONLY)
def test_a_matrix_word_refuses_a_vector_when_it_is_added(word, engine):
    def rule(p, g):
        return dict(p=p + MATRIX_ONLY[word](g))

    text = (
        f"Optimizer uses {word}, which needs a matrix, got a parameter of shape (3,); "
        "choose by shape with by_shape(matrices=…, others=…)"
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        Optimizer([torch.zeros(3, requires_grad=True)], steps=[rule], engine=engine)
