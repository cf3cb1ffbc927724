"""What the fused engine cannot do is found before the first write, and said; auto goes on."""

import subprocess
import sys

import pytest
import torch
from contract_rows import snapshot

import steppers
from steppers import Optimizer
from steppers.engines.fused import cpu
from steppers.ops import norm, zeros


def made(engine="fused", n=2):
    """A momentum optimizer of two groups that has taken a step, and its parameters."""
    params = [torch.nn.Parameter(torch.full((2, 3), 1.0 + i)) for i in range(2 * n)]
    for p in params:
        p.grad = torch.ones_like(p)
    groups = [{"params": params[:n]}, {"params": params[n:]}]
    optimizer = steppers.SGD(groups, lr=0.1, momentum=0.5, engine=engine)
    optimizer.step()
    return params, optimizer


def refused(optimizer, error, text):
    """The step raises, and everything is as it was."""
    before = snapshot(optimizer)
    with pytest.raises(error, match=text):
        optimizer.step()
    assert snapshot(optimizer) == before


def test_a_compiler_that_fails_changes_nothing(monkeypatch):
    def fails(text):
        raise RuntimeError("no compiler today")

    def fresh(p, g, m=zeros, *, lr):
        return dict(m=m + g, p=p - lr * (m + g))

    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    optimizer = Optimizer([p], steps=[fresh], engine="fused", lr=0.1)
    optimizer.init_state()
    monkeypatch.setattr(cpu, "build", fails)
    refused(optimizer, RuntimeError, "no compiler today")
    monkeypatch.undo()
    optimizer.step()
    assert p.tolist() == [pytest.approx(0.9)] * 3


def test_a_sparse_gradient_in_the_last_group_changes_nothing():
    params, optimizer = made()
    for p in params:
        p.grad = torch.ones(2, 3)
    params[-1].grad = torch.ones(2, 3).to_sparse()
    refused(optimizer, RuntimeError, "does not support sparse gradients")


def test_a_first_sparse_gradient_changes_nothing():
    params = [torch.nn.Parameter(torch.ones(2, 3)) for _ in range(2)]
    optimizer = steppers.SGD(params, lr=0.1, engine="fused")
    params[0].grad, params[1].grad = torch.ones(2, 3), torch.ones(2, 3).to_sparse()
    refused(optimizer, RuntimeError, "does not support sparse gradients")


BOOL, WHOLE = torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.int64)
META = torch.zeros(2, 3, device="meta")


@pytest.mark.parametrize("slot", [BOOL, WHOLE], ids=["bool", "int64"])
def test_a_slot_that_no_kernel_reads_is_refused_with_another_engines_name(slot):
    params, optimizer = made()
    optimizer.state[params[-1]]["momentum_buffer"] = slot.clone()
    refused(optimizer, RuntimeError, rf"momentum_buffer is {slot.dtype}; use engine='foreach'")


def test_a_slot_on_another_device_is_refused():
    params, optimizer = made()
    optimizer.state[params[-1]]["momentum_buffer"] = META
    before = [p.tolist() for p in params]
    with pytest.raises(RuntimeError, match="momentum_buffer is on meta"):
        optimizer.step()
    assert [p.tolist() for p in params] == before


@pytest.mark.parametrize("shape", [(3,), (1,), (), (3, 2), (2, 3, 1), (2, 2)], ids=str)
def test_a_slot_of_another_shape_is_refused(shape):
    params, optimizer = made()
    optimizer.state[params[-1]]["momentum_buffer"] = torch.zeros(shape)
    refused(optimizer, (RuntimeError, ValueError), "momentum_buffer|shape|size")


@pytest.mark.parametrize("slot", [BOOL, WHOLE], ids=["bool", "int64"])
def test_auto_takes_foreach_where_a_slot_fits_no_kernel(slot):
    sides = []
    for engine in ("auto", "foreach"):
        params, optimizer = made(engine)
        optimizer.state[params[-1]]["momentum_buffer"] = slot.clone()
        optimizer.step()
        sides.append([p.tolist() for p in params])
    assert sides[0] == sides[1]


def test_auto_returns_to_kernels_when_they_fit_again():
    params, optimizer = made("auto")
    mended = optimizer.state[params[-1]]["momentum_buffer"].clone()
    optimizer.state[params[-1]]["momentum_buffer"] = BOOL.clone()
    optimizer.step()
    assert optimizer.engine.name == "foreach"
    assert "bool" in optimizer.engine.why
    optimizer.state[params[-1]]["momentum_buffer"] = mended
    optimizer.step()
    assert optimizer.engine.name == "fused"


def test_a_parameter_whose_elements_share_memory_changes_nothing():
    first = torch.nn.Parameter(torch.ones(3))
    last = torch.ones(1).expand(3).requires_grad_()
    optimizer = steppers.SGD([first, last], lr=0.1, momentum=0.5, engine="fused")
    optimizer.init_state()
    first.grad, last.grad = torch.ones(3), torch.ones(3)
    refused(optimizer, RuntimeError, "memory")


def unlike(p, g, *, lr):
    return dict(p=p - lr * g.abs().cumsum(0))


def test_what_cannot_be_traced_is_refused_with_the_loops_name():
    p = torch.nn.Parameter(torch.ones(3))
    with pytest.raises(RuntimeError, match=r"fused engine cannot run.*use engine='loop'"):
        Optimizer([p], steps=[unlike], engine="fused", lr=0.1)


# --- backward and gradients --------------------------------------------------------------------


def test_a_backward_through_a_parameter_that_moved_raises():
    p = torch.nn.Parameter(torch.ones(3))
    optimizer = steppers.AdamW([p], engine="fused")
    for _ in range(3):  # tables that are made, and tables that are kept
        loss = (p * p).sum()
        p.grad = torch.ones(3)
        version = p._version
        optimizer.step()
        assert p._version > version
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()


def test_a_view_that_a_parameter_was_made_from_moves_its_version():
    base = torch.ones(4, 3)
    p = torch.nn.Parameter(base[1:])
    p.grad = torch.ones(3, 3)
    version = base._version
    steppers.AdamW([p], engine="fused").step()
    assert base._version > version


# --- processors and packages -------------------------------------------------------------------

UNKNOWN = """
import llvmlite.binding as llvm, torch, steppers
{change}
for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
    found = []
    for engine in ("fused", "loop"):
        p = torch.nn.Parameter(torch.linspace(-2, 2, 83).to(dtype))
        optimizer = steppers.LAMB([p], engine=engine)
        for k in range(3):
            p.grad = torch.linspace(-1, 1 + k, 83).to(dtype)
            optimizer.step()
        found.append(p.detach())
    torch.testing.assert_close(*found)
print("all agree")
"""
CHANGES = {
    "a name": "llvm.get_host_cpu_name = lambda: 'nonsense-cpu'",
    "a feature": "llvm.get_host_cpu_features = lambda: llvm.FeatureMap({'nonsense': True})",
    "both": "llvm.get_host_cpu_name = lambda: 'nonsense-cpu'\n"
    "llvm.get_host_cpu_features = lambda: llvm.FeatureMap({})",
    "an error": "def fails(): raise RuntimeError('unknown')\nllvm.get_host_cpu_features = fails",
}


def python(code):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=100
    )


@pytest.mark.parametrize("change", CHANGES)
def test_a_processor_that_llvm_does_not_know_gets_a_generic_target(change):
    done = python(UNKNOWN.format(change=CHANGES[change]))
    assert done.stdout == "all agree\n", done.stderr


WITHOUT = """
import sys, warnings, torch
sys.modules["llvmlite"] = None
import steppers
made = []
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    for _ in range(3):
        p = torch.nn.Parameter(torch.ones(3))
        p.grad = torch.ones(3)
        made.append(steppers.AdamW([p]))
        made[-1].step()
print([str(w.message) for w in said if issubclass(w.category, UserWarning)])
print({optimizer.engine.name for optimizer in made}, "llvmlite" in made[0].engine.why)
try:
    steppers.AdamW([p], engine="fused")
except RuntimeError as error:
    print(error)
"""


def test_without_llvmlite_auto_takes_foreach_and_says_so_once():
    done = python(WITHOUT)
    said, engine, error = done.stdout.splitlines()
    assert said.count("llvmlite is not installed") == 1, done.stderr
    assert engine == "{'foreach'} True"
    assert "llvmlite is not installed" in error
    assert "use engine='foreach'" in error


# --- names -------------------------------------------------------------------------------------

INJECTED = 'x"\r\n}\ndefine void @injected() { ret void }\n; !0 = !{} %s {0} \\22'
NAMES = ["float", "define", "br", "ret", INJECTED, "%0", "数", "é" * 10_000, "!llvm.loop", ""]
SLOTS = ["float", "define", "br", "ret", "ptr", "double", "i1", "entry", "loop", "done", "start",
         "count", "hosts", "known", "partials", "globals", "number", "index", "i", "k", "sum0",
         "数", "é", "x" * 10_000, "p_low", "m_low", "pass0", "at"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_rule_may_have_any_name(name, monkeypatch):
    texts = []
    build = cpu.build
    monkeypatch.setattr(cpu, "build", lambda text: texts.append(text) or build(text))

    def rule(p, g, *, lr):
        return dict(p=p - lr * g)

    rule.__name__ = rule.__qualname__ = name
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.ones(3)
    Optimizer([p], steps=[rule], engine="fused", lr=0.5).step()
    assert p.tolist() == [0.5] * 3
    assert len(texts) == 1
    assert not any(line.startswith("define void @injected") for line in texts[0].splitlines())
    assert max(map(len, texts[0].splitlines())) < 1000


@pytest.mark.parametrize("slot", SLOTS, ids=range(len(SLOTS)))
def test_a_slot_and_a_hyper_may_be_named_like_the_kernels_own_words(slot):
    sources = dict(zeros=zeros, norm=norm)
    exec(
        f"def rule(p, g, {slot}=zeros, m=zeros, *, label=0.5):\n"
        f"    void = {slot} + g\n"
        f"    return dict(p=p - label * void / norm(void + m), {slot}=void, m=m + g)\n",
        sources,
    )
    p = torch.nn.Parameter(torch.ones(4))
    p.grad = torch.ones(4)
    optimizer = Optimizer([p], steps=[sources["rule"]], engine="fused")
    optimizer.step()
    assert p.tolist() == [0.75] * 4  # 1 - 0.5 * 1 / |(1, 1, 1, 1)|
    assert optimizer.state[p][slot].tolist() == [1.0] * 4
