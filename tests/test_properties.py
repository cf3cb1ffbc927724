"""What holds for every row whatever the numbers are, on inputs that hypothesis finds."""

import engine_names
import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from rows import ROWS
from trials import close, numpy

import steppers

EVERY = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
CHEAP = settings(
    max_examples=5,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],  # a failure is not made smaller, which would take minutes
)
ENGINES = st.sampled_from(engine_names.ENGINES)


@st.composite
def lists(draw, matrices=False, least=1):
    """(parameters, gradients of some steps), as float64 arrays."""
    side = st.integers(1, 4)
    count = draw(st.integers(least, 4))
    ranks = [draw(st.integers(2 if matrices else 0, 3)) for _ in range(count)]
    shapes = [tuple(draw(side) for _ in range(rank)) for rank in ranks]
    seed = draw(st.integers(0, 2**32 - 1))
    random = np.random.default_rng(seed)
    scale = draw(st.sampled_from([1e-4, 1.0, 1e4]))

    def some(scale=1.0):
        found = [np.asarray(scale * random.standard_normal(shape)) for shape in shapes]
        return [np.where(random.random(x.shape) < 0.1, 0.0, x) for x in found]

    return some(), [some(scale) for _ in range(draw(st.integers(1, 3)))]


def steps(row, engine, values, grads, dtype=torch.float64, **more):
    """The parameters after the steps, and the optimizer."""
    params = [torch.nn.Parameter(torch.tensor(x, dtype=dtype)) for x in values]
    optimizer = row.build(params, engine=engine, **more)
    for gs in grads:
        for p, g in zip(params, gs, strict=True):
            p.grad = torch.tensor(g, dtype=dtype)
        optimizer.step()
    return params, optimizer


@EVERY
@CHEAP
@given(data=st.data())
def test_the_order_of_parameters_is_irrelevant(row, data):
    values, grads = data.draw(lists(row.matrices, least=2))
    order = data.draw(st.permutations(range(len(values))))
    engine = data.draw(ENGINES)
    straight, _ = steps(row, engine, values, grads)
    turned, _ = steps(row, engine, [values[i] for i in order],
                      [[gs[i] for i in order] for gs in grads])  # fmt: skip
    for k, i in enumerate(order):
        if row.summed or row.matrices:  # sums, and stacked matrices, are rounded in another order
            assert close(turned[k], numpy(straight[i]), torch.float64, 100 * row.loose)
        else:
            assert torch.equal(turned[k], straight[i])


@pytest.mark.parametrize("row", [row for row in ROWS if row.elementwise], ids=lambda row: row.name)
@CHEAP
@given(data=st.data())
def test_splitting_a_tensor_changes_nothing(row, data):
    values, grads = data.draw(lists())
    engine = data.draw(ENGINES)
    whole, _ = steps(row, engine, values, grads)
    pieces, _ = steps(
        row,
        engine,
        [np.asarray(e) for x in values for e in x.ravel()],
        [[np.asarray(e) for g in gs for e in g.ravel()] for gs in grads],
    )
    joined = torch.stack([p.detach() for p in pieces])
    assert torch.equal(joined, torch.cat([p.detach().reshape(-1) for p in whole]))


@CHEAP
@given(lists(), ENGINES, st.integers(-60, 60))
def test_lion_ignores_the_scale_of_gradients(inputs, engine, power):
    row = next(row for row in ROWS if row.make is steppers.Lion)
    values, grads = inputs
    scaled = [[g * 2.0**power for g in gs] for gs in grads]  # exact: a power of two
    a, _ = steps(row, engine, values, grads)
    b, _ = steps(row, engine, values, scaled)
    assert all(torch.equal(p, q) for p, q in zip(a, b, strict=True))


@EVERY
@CHEAP
@given(data=st.data())
def test_rate_zero_moves_nothing(row, data):
    values, grads = data.draw(lists(row.matrices))
    if "step_sizes" in row.hypers:
        return  # its steps have a size of their own, and lr is only where they start
    params, _ = steps(row, data.draw(ENGINES), values, grads, lr=0.0)
    for p, x in zip(params, values, strict=True):
        assert torch.equal(p, torch.tensor(x))


@EVERY
@CHEAP
@given(data=st.data())
def test_gradients_are_never_modified(row, data):
    values, grads = data.draw(lists(row.matrices))
    params, optimizer = steps(row, data.draw(ENGINES), values, grads)
    given = [p.grad for p in params]
    before = [(g.clone(), g._version) for g in given]
    optimizer.step()
    assert all(p.grad is g for p, g in zip(params, given, strict=True))
    for g, (value, version) in zip(given, before, strict=True):
        assert torch.equal(g, value)
        assert g._version == version


@EVERY
@CHEAP
@given(data=st.data())
def test_both_engines_agree(row, data):
    values, grads = data.draw(lists(row.matrices))
    a, one = steps(row, "loop", values, grads)
    b, other = steps(row, "foreach", values, grads)
    for p, q in zip(a, b, strict=True):
        assert close(q, numpy(p), torch.float64, row.loose)
        for name, x in one.state[p].items():
            assert close(other.state[q][name], numpy(x), torch.float64, row.loose)


@EVERY
@CHEAP
@given(data=st.data())
def test_a_twin_in_the_list_is_stepped_as_its_twin(row, data):
    """Equal parameters with equal gradients stay equal: nothing leaks from one to the next."""
    values, grads = data.draw(lists(row.matrices))
    params, _ = steps(row, data.draw(ENGINES), [*values, *values], [[*gs, *gs] for gs in grads])
    for p, q in zip(params[: len(values)], params[len(values) :], strict=True):
        assert torch.equal(p, q)
