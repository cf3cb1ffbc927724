"""Conditions in generated kernels: of two sides that the host decides between, one is run."""

import ctypes
import mmap

import pytest
import torch
from apart import apart, can_fork, forks

from steppers import Optimizer
from steppers.engines.fused import cpu, llvm_build
from steppers.engines.fused.kernel import kernel, variants
from steppers.ops import exp, norm, where, zeros

pytestmark = [forks, can_fork]


def parameter(n=83):
    p = torch.nn.Parameter(torch.linspace(-1, 1, n))
    p.grad = torch.linspace(0.5, 1.5, n)
    return p


def late(p, g, slow=zeros, *, t, lr):
    """`slow` is read and written at each third step."""
    fast = p - lr * g
    joined = 0.5 * (slow + fast)
    return dict(p=where(t % 3 == 0, joined, fast), slow=where(t % 3 == 0, joined, slow))


def program_of(optimizer, ndim=1):
    recipe, key, _ = optimizer.reading(optimizer.param_groups[0])
    return recipe.programs(key, ndim).programs["steps"]


def test_each_side_is_a_variant_with_its_own_reads_and_stores():
    program = program_of(Optimizer([parameter()], steps=[late], engine="fused", lr=0.1))
    sides = {taken: kernel(program, 0, taken) for taken in variants(program)}
    found = {
        taken[0]: ({n for n, _ in k.reads}, {n for n, _ in k.stores}) for taken, k in sides.items()
    }
    assert found == {False: ({"p", "g"}, {"p"}), True: ({"p", "g", "slow"}, {"p", "slow"})}


def test_what_the_other_side_needs_is_not_read():
    """NaN in the slot stays there, and goes nowhere, until the step that reads it."""
    p = parameter()
    optimizer = Optimizer([p], steps=[late], engine="fused", lr=0.1)
    optimizer.init_state()
    slow = optimizer.state[p]["slow"].fill_(float("nan"))
    for t in (1, 2):
        optimizer.step()
        assert bool(p.isfinite().all()), t
        assert bool(slow.isnan().all()), t
    optimizer.step()
    assert bool(p.isnan().all())


def protected(size):
    """A float32 tensor of one page that the process may neither read nor write."""
    page = mmap.mmap(-1, mmap.PAGESIZE)
    x = torch.frombuffer(page, dtype=torch.float32, count=size)
    library = ctypes.CDLL(None, use_errno=True)
    library.mprotect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    assert library.mprotect(x.data_ptr(), mmap.PAGESIZE, 0) == 0
    return x


def test_memory_of_the_other_side_is_not_touched():
    """Where neither reading nor writing is allowed, a touch ends the process."""

    def run(steps):
        p = parameter()
        optimizer = Optimizer([p], steps=[late], engine="fused", lr=0.1)
        optimizer.init_state()
        optimizer.state[p]["slow"] = protected(83)
        for _ in range(steps):
            optimizer.step()

    apart(lambda: run(2))
    with pytest.raises(AssertionError, match=r"status (11|139|7)$"):
        apart(lambda: run(3))


def test_a_reduction_of_the_other_side_is_not_made():
    """A norm of what is infinite would be, and multiplies the step by it."""

    def rule(p, g, m=zeros, *, t, lr):
        return dict(p=where(t > 1, p - lr * g / norm(m), p - lr * g), m=where(t > 1, m, m + g))

    p = parameter()
    optimizer = Optimizer([p], steps=[rule], engine="fused", lr=0.1)
    optimizer.init_state()
    optimizer.state[p]["m"].fill_(float("inf"))
    before = p.detach().clone()
    optimizer.step()
    torch.testing.assert_close(p.detach(), before - 0.1 * p.grad)
    optimizer.step()
    torch.testing.assert_close(p.detach(), before - 0.1 * p.grad)  # divided by infinity


def test_flipping_builds_nothing(monkeypatch):
    def rule(p, g, *, t, a=0.0, b=0.0):
        x = where(a > 0, exp(g), g)
        x = where(b > 0, x + 1, x)
        return dict(p=where(t % 2 == 0, p - x, p + x))

    p = parameter()
    optimizer = Optimizer([p], steps=[rule], engine="fused")
    optimizer.step()
    fails = lambda *a: pytest.fail("a kernel was built")  # noqa: E731
    monkeypatch.setattr(cpu, "build", fails)
    monkeypatch.setattr(cpu, "render", fails)
    monkeypatch.setattr(llvm_build, "build", fails)
    for a, b in ((1.0, 0.0), (1.0, 1.0), (0.0, 1.0), (0.0, 0.0)):
        optimizer.set_hyper("a", a)
        optimizer.set_hyper("b", b)
        before, t = p.detach().double(), float(optimizer.state[p]["step"]) + 1
        optimizer.step()
        x = (p.grad.double().exp() if a else p.grad.double()) + b
        torch.testing.assert_close(p.detach(), (before + (-x if t % 2 == 0 else x)).float())


def test_more_conditions_than_choose_between_variants():
    """Five: the last ones are chosen element by element, to the same numbers."""
    names = "abcde"

    def rule(p, g, *, a=0.0, b=0.0, c=0.0, d=0.0, e=0.0):
        for k, flag in enumerate((a, b, c, d, e)):
            g = where(flag > 0, 2 * g + k, g)
        return dict(p=g)

    p = parameter(5)
    optimizer = Optimizer([p], steps=[rule], engine="fused")
    for chosen in range(32):
        flags = [chosen >> k & 1 for k in range(5)]
        for name, flag in zip(names, flags, strict=True):
            optimizer.set_hyper(name, float(flag))
        optimizer.step()
        expected = p.grad.clone()
        for k, flag in enumerate(flags):
            expected = 2 * expected + k if flag else expected
        assert p.tolist() == expected.tolist()


def test_parameters_of_one_kernel_take_different_sides():
    """Counts differ, so in one launch some take the one side and some the other."""
    params = [parameter(n) for n in (5, 40_000, 83)]
    optimizer = Optimizer(params, steps=[late], engine="fused", lr=0.5)
    params[1].grad = None
    optimizer.step()
    optimizer.step()
    params[1].grad = torch.ones(40_000)
    start = [p.detach().clone() for p in params]
    optimizer.step()  # the third step of two, the first of one
    for k in (0, 2):
        torch.testing.assert_close(params[k].detach(), 0.5 * (start[k] - 0.5 * params[k].grad))
    torch.testing.assert_close(params[1].detach(), start[1] - 0.5)
    assert not optimizer.state[params[1]]["slow"].any()
