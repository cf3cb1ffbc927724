"""Random chains in the fused engine: the loop engine's numbers in every dtype and many sizes."""

import pytest
import torch
from hypothesis import given, settings
from random_rules import chains
from test_random_rules import SOME, build, feed

FEW = settings(SOME, max_examples=25)  # test_random_rules takes more of them
DTYPES = pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str
)
SHAPES = ((), (1,), (15,), (17,), (64,), (65,), (0,), (3, 43), (2, 3, 4))
MATRICES = ((1, 1), (1, 17), (16, 1), (33, 31), (5, 4, 3))
# What rounding one product more or less does after steep functions and differences, as a share of
# the largest element; in 16 bits also two roundings at the store.
SHARE = {
    torch.float64: 1e-10, torch.float32: 1e-3, torch.bfloat16: 2.0**-6, torch.float16: 2.0**-8,
}  # fmt: skip


def stepped(made, engine, shapes, dtype):
    """Parameters and slots after two steps, by name, and the kept scalar."""
    params, optimizer = build(made, engine, shapes, dtype)
    for step in (1, 2):
        feed(params, step)
        optimizer.step()
    found = {(i, name): x for i, p in enumerate(params) for name, x in optimizer.state[p].items()}
    kept = torch.as_tensor(optimizer.param_groups[0]["d"], dtype=torch.float64)
    return {**found, **{(i, "p"): p.detach() for i, p in enumerate(params)}, "d": kept}


def assert_near(actual, expected, share):
    for name, wanted in expected.items():
        x, y = actual[name].double(), wanted.double()
        scale = float(y.abs().max()) if y.numel() else 0.0
        torch.testing.assert_close(x, y, rtol=0, atol=share * max(1.0, scale), msg=str(name))


@DTYPES
@FEW
@given(made=chains())
def test_a_random_chain_agrees_with_the_loop(made, dtype):
    sides = (stepped(made, engine, SHAPES, dtype) for engine in ("fused", "loop"))
    assert_near(*sides, SHARE[dtype])


@DTYPES
@FEW
@given(made=chains(matrices=True))
def test_a_random_chain_on_matrices_agrees_with_the_loop(made, dtype):
    sides = (stepped(made, engine, MATRICES, dtype) for engine in ("fused", "loop"))
    assert_near(*sides, SHARE[dtype])
