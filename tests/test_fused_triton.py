"""The Triton kernels of the fused engine: their source, their machine code, and what they compute.

What they compute is tested by interpreted_kernels.py, which runs in a process of its own, and on a
device by test_fused_triton_gpu.py.
"""

import importlib.util
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from compiled_kernels import accesses, composed, machine_code, source

import steppers
from steppers import ops, rules
from steppers.engines import choosing
from steppers.engines.fused import triton_build

HERE = Path(__file__).parent
WITHOUT = importlib.util.find_spec("triton") is None
WITH_TRITON = pytest.mark.skipif(WITHOUT, reason="needs triton")
COMPILING = pytest.mark.skipif(
    WITHOUT or os.environ.get("TRITON_INTERPRET") == "1",
    reason="needs triton, and that it compiles",
)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Triton keeps what it compiles in a folder of its own."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))


def python(*argv, **env):
    """Run Python in a fresh process: its exit code and all that it wrote."""
    done = subprocess.run([sys.executable, *argv], cwd=HERE.parent, capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1", **env})  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@WITH_TRITON
def test_the_kernels_compute_what_the_definition_says():
    code, text = python("-m", "pytest", "-q", "-p", "no:cacheprovider",
                        "tests/interpreted_kernels.py", TRITON_INTERPRET="1")  # fmt: skip
    assert code == 0, text[-4000:]


# --- source ------------------------------------------------------------------------------------

GOLDEN = {"adamw": steppers.AdamW, "lamb": steppers.LAMB}


@pytest.mark.parametrize("name", GOLDEN)
def test_the_source_is_as_it_was(name):
    """After an intended change: write `source(GOLDEN[name])` to the file, and read the diff."""
    assert source(GOLDEN[name]) == (HERE / "golden" / f"triton_{name}.txt").read_text()


def test_the_source_is_the_same_in_every_process():
    script = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "import steppers, compiled_kernels\n"
        "print(compiled_kernels.source(steppers.LAMB), end='')"
    )
    assert python("-c", script, PYTHONHASHSEED="1") == (0, source(steppers.LAMB))


def test_the_source_keeps_the_names_of_rules_slots_and_values():
    text = source(composed(rules.average_grad, rules.average_square, rules.adam, rules.descend,
                           lr=0.1, betas=(0.9, 0.99), eps=1e-8))  # fmt: skip
    for name in ("# average_square", "exp_avg_sq_", "mean_", "u_", "lr_", "eps_", "beta2_"):
        assert name in text


def test_a_condition_on_host_numbers_is_a_branch_of_the_same_kernel():
    text = source(composed(rules.descend, rules.lookahead, lr=0.1, k=3, alpha=0.5))
    assert text.count("def pass0(") == 1
    assert "variant = tl.load(record + 1)" in text
    kept, moved = (text.split(f"def pass0_{case}(")[1].split("@triton.jit")[0] for case in "01")
    assert "slow" not in kept.split("if FULL")[1].split("tl.load", 1)[1].replace("slow_12_at", "")
    assert "tl.store(slow_" in moved


# --- machine code ------------------------------------------------------------------------------

# Loads and stores of a block of 2048 elements by 128 threads: 16 elements a thread and tensor.
WIDTHS = {
    torch.float32: ("v4.b32", 4 * 4, 3 * 4),
    torch.bfloat16: ("v4.b32", 4 * 2, 3 * 2),
    torch.float64: ("v2.b64", 4 * 8, 3 * 8),
}


@COMPILING
@pytest.mark.parametrize("dtype", WIDTHS, ids=str)
def test_full_chunks_are_read_and_written_16_bytes_at_a_time(dtype, cache):
    ptx = machine_code(steppers.AdamW, dtype=dtype)["pass0"]
    width, loads, stores = WIDTHS[dtype]
    found = Counter(accesses(ptx, masked=False))
    assert found.pop(f"ld.global.{width}") == loads
    assert found.pop(f"st.global.{width}") == stores
    assert set(found) <= {"ld.global.b64"}  # addresses, and numbers of the host
    assert not any(".v" in each for each in accesses(ptx, masked=True))


@COMPILING
def test_division_and_roots_are_rounded_correctly(cache):
    ptx = machine_code(steppers.AdamW)["pass0"]
    assert "div.rn.f32" in ptx and "sqrt.rn.f32" in ptx
    assert "div.full" not in ptx and ".approx" not in ptx and ".ftz" not in ptx


def every_word(p, g, slot=ops.zeros, *, lr):
    """A use of each word on elements."""
    a, b = p % g, p**g + g**2 + g**0.5
    c = ops.sqrt(a) + ops.rsqrt(b) + ops.square(a) + ops.abs(b) + ops.sign(a) + ops.floor(b)
    d = ops.exp(a) + ops.log(b) + ops.tanh(c) + ops.sigmoid(c) + ops.cos(c) + 1 / -g
    e = ops.lerp(a, b, lr) + ops.lerp(a, b, c) + ops.clamp(d, -1.0, lr) + ops.minimum(a, b)
    chosen = ops.where((a < b) & ~(c >= 0.5) | ops.isfinite(d) & (a != c), e, ops.maximum(c, 2.0))
    drawn = ops.uniform(p) + ops.normal(p) + ops.where(ops.coin(p), 1.0, 0.0)
    return dict(p=chosen * (a > b) + drawn + slot, slot=d + e)


def every_sum(p, g, *, lr):
    """A use of each reduction, over each of the axes."""
    x = ops.sum(g) + ops.mean(g) + ops.rms(p) + ops.amax(g) + ops.dot(p, g)
    y = ops.mean(g, over="columns") + ops.amax(g, over="rows") + ops.norm(g, over="matrix")
    return dict(p=p - lr * g * x / ops.global_norm(g) + y)


@COMPILING
def test_the_least_of_what_holds_a_nan_is_nan(cache):
    """The interpreter's minimum and maximum pass NaN on, whatever they are told."""

    def least(p, g, *, lr):
        return dict(p=ops.minimum(p, lr) + ops.maximum(g, lr) + ops.amax(g))

    code = machine_code(composed(least, lr=0.1), block=128)
    assert "min.NaN.f32" in code["pass1"] and "max.NaN.f32" in code["pass1"]
    assert "max.NaN.f32" in code["pass0"] and not re.search(
        r"(min|max)\.f32", "".join(code.values())
    )


def by_slices(p, g, *, lr):
    """A reduction over all but the first axis."""
    return dict(p=p - lr * (g - ops.mean(g, over="rest")))


def undecided(p, g, *, lr):
    """A condition on host numbers."""
    return dict(p=ops.where(lr > 0.1, p - lr * g, p))


COMPILED = {
    "words, float32": (every_word, dict()),
    "words, float64": (every_word, dict(dtype=torch.float64)),
    "words, bfloat16 at random": (every_word, dict(dtype=torch.bfloat16, rounding="stochastic")),
    "words, float16 at random": (every_word, dict(dtype=torch.float16, rounding="stochastic")),
    "words, bfloat16 pairs": (every_word, dict(dtype=torch.bfloat16, rounding="kahan")),
    "words, float32 pairs": (every_word, dict(rounding={"p": "kahan"})),
    "sums, float32": (every_sum, dict()),
    "sums, float64": (every_sum, dict(dtype=torch.float64)),
    "slices": (by_slices, dict()),
    "conditions": (undecided, dict()),
}


@COMPILING
@pytest.mark.parametrize("name", COMPILED)
def test_every_word_compiles_for_a_device(name, cache):
    rule, more = COMPILED[name]
    assert machine_code(composed(rule, lr=0.1), block=128, **more)


# --- which engine ------------------------------------------------------------------------------


def on(device):
    """What a parameter on a device says of itself."""
    where = torch.device(device)
    return SimpleNamespace(device=where, is_cuda=where.type == "cuda", dtype=torch.float32)


ON = {
    ("cuda:0", "cuda:0"): "",
    ("cuda:0", "cuda:1"): "on one CUDA device, parameters are on cuda:0 and cuda:1",
    ("cpu", "cuda:0"): "on one CUDA device, parameters are on cpu and cuda:0",
    ("mps",): "on one CUDA device, parameters are on mps",
}


@pytest.mark.parametrize("devices", ON, ids=str)
def test_triton_takes_parameters_on_one_cuda_device(devices, monkeypatch):
    monkeypatch.setattr(triton_build, "unavailable", lambda: "")
    why = choosing._against_kernels([on(device) for device in devices])
    assert why.endswith(ON[devices]) and bool(why) == bool(ON[devices])


def test_without_triton_its_absence_is_the_reason(monkeypatch):
    monkeypatch.setattr(triton_build.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(triton_build, "unavailable", triton_build.unavailable.__wrapped__)
    why = choosing._against_kernels([on("cuda:0")])
    assert why == "triton is not installed (pip install triton)"


def test_a_step_on_the_cpu_needs_no_triton():
    """torch itself imports it where it can, when an optimizer is made."""
    script = (
        "import sys, torch, steppers\n"
        "assert 'triton' not in sys.modules\n"
        "sys.modules['triton'] = None\n"
        "p = torch.nn.Parameter(torch.ones(3)); p.grad = torch.ones(3)\n"
        "optimizer = steppers.SGD([p], lr=0.5, engine='fused')\n"
        "optimizer.step(); print(p.tolist())"
    )
    assert python("-c", script) == (0, "[0.5, 0.5, 0.5]\n")
