"""Bytes that a step moves: counted by hand, and in the generated code."""

import re
from collections import Counter

import pytest
import torch
from rows import ROWS
from states import advance, parameters

import steppers
from steppers import bandwidth, ops, rules
from steppers.bench import bounds
from steppers.engines.fused import llvm_build

every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
F32, F64, BF16 = torch.float32, torch.float64, torch.bfloat16
PAIR = [(4, 3), (4, 6)]
CLIPPED = [rules.clip_by_global_norm, rules.decay, rules.average_grad, rules.average_square,
           rules.adam, rules.descend]  # fmt: skip


def only(optimizer, **asked):
    """The explanation of the first group."""
    return optimizer.explain(**asked).groups[0]


def clipped(params, **options):
    return steppers.Optimizer(params, steps=CLIPPED, lr=1e-3, betas=(0.9, 0.99), eps=1e-8,
                              max_norm=1.0, **options)  # fmt: skip


# fmt: off
BYTES = (  # optimizer, arguments, dtype, steps taken; bytes a parameter: read + stored, by pass
    (steppers.SGD, dict(), F32, 0, 8 + 4),
    (steppers.SGD, dict(momentum=0.9), F32, 0, 8 + 8),  # the first step does not read its buffer
    (steppers.SGD, dict(momentum=0.9), F32, 1, 12 + 8),
    (steppers.Lion, dict(), F32, 0, 12 + 8),
    (steppers.AdamW, dict(), F32, 0, 16 + 12),
    (steppers.AdamW, dict(), F64, 1, 32 + 24),
    (steppers.AdamW, dict(), BF16, 1, 8 + 6),
    (steppers.AdamW, dict(state_dtype=F32), BF16, 0, 2 + 2 + 8 + 2 + 8),
    (steppers.AdamW, dict(state_dtype={"exp_avg_sq": BF16}), F32, 1, 14 + 10),
    (steppers.AdamW, dict(rounding="stochastic"), BF16, 0, 8 + 6),
    (steppers.AdamW, dict(rounding={"p": "kahan"}), BF16, 0, 10 + 8),
    (steppers.AdamW, dict(rounding="kahan"), BF16, 1, 14 + 12),
    (steppers.AdamW, dict(amsgrad=True), F32, 0, 20 + 16),
    (steppers.AdamW, dict(), torch.complex64, 0, 32 + 24),
    (steppers.LAMB, dict(), F32, 0, (16 + 8) + (12 + 4)),  # averages are stored, then read again
    (clipped, dict(), F32, 1, 4 + 16 + 12),
    (steppers.Muon, dict(), F32, 0, 8 + 8 + 8 + 4),  # u goes to torch and comes back
    # by pass: p and g; 8 rows; g, 8 rows, 9 columns; p and g, 8 rows, 9 columns, all but g stored
    (steppers.Adafactor, dict(), F32, 0, 24 + 4 * (8 + (8 + 9) + 2 * (8 + 9)) / 36),
)
# fmt: on


@pytest.mark.parametrize("engine", ["auto", "foreach", "loop"])
@pytest.mark.parametrize(("make", "arguments", "dtype", "steps", "wanted"), BYTES)
def test_bytes_of_a_step(make, arguments, dtype, steps, wanted, engine):
    optimizer = advance(make(parameters(PAIR, dtype), **arguments, engine=engine), steps)
    found = only(optimizer)
    assert found.bytes_per_parameter == pytest.approx(wanted)
    assert found.bytes_per_step == pytest.approx(wanted * 36)
    assert sum(walk.bytes for walk in found.walks) == found.bytes_per_step
    assert found.at_least is (found.engine != "fused")


@pytest.mark.skipif(not hasattr(torch.Tensor, "grad_dtype"), reason="gradients have p's dtype")
def test_the_dtype_of_gradients_counts():
    params = parameters(PAIR)
    for p in params:
        p.grad_dtype = None  # any
        p.grad = torch.zeros_like(p, dtype=F64)
    assert only(steppers.SGD(params)).bytes_per_parameter == 4 + 8 + 4


def test_frozen_parameters_move_nothing():
    first, second = parameters(PAIR)
    optimizer = steppers.SGD([first, second.requires_grad_(False)])
    assert only(optimizer).bytes_per_step == 12 * 12
    assert only(steppers.SGD([second])).bytes_per_step == 0


def test_a_side_that_is_not_taken_moves_nothing():
    def look_back(p, u, slow=ops.copy_of_p, *, lr, t):
        p = p - lr * u
        slow = ops.where(t % 2 == 0, (slow + p) / 2, slow)
        return dict(p=ops.where(t % 2 == 0, slow, p), slow=slow)

    optimizer = steppers.Optimizer(parameters(PAIR), steps=[look_back], lr=0.1)
    assert only(optimizer).bytes_per_parameter == 8 + 4
    advance(optimizer, 1)
    assert only(optimizer).bytes_per_parameter == 12 + 8
    advance(optimizer, 1)
    assert only(optimizer).bytes_per_parameter == 8 + 4


def test_parameters_at_different_steps_are_told_apart():
    first, second = parameters(PAIR)
    optimizer = steppers.SGD([first, second], momentum=0.9)
    first.grad = torch.zeros_like(first)
    optimizer.step()
    assert only(optimizer).bytes_per_step == 12 * 20 + 24 * 16


def test_the_benchmarks_count_the_same():
    optimizer = advance(steppers.AdamW([{"params": parameters(PAIR)}, {"params": parameters()}]), 1)
    assert bounds.bytes_per_step(optimizer) == bounds.counted(optimizer) == 28 * (36 + 29)


# --- in the generated code ---------------------------------------------------------------------

SIZES = {"float": 4, "double": 8, "i16": 2}
PLACE = re.compile(r"(%at\.\d+) = getelementptr inbounds (\w+), ptr %[\w]+\.ptr\d+, i64 %i$")


def bytes_of_code(source):
    """Loads and stores of elements of each pass's only variant, a parameter."""
    functions = re.findall(r"^define internal void @(pass\d+)\.\d+\(.*?^}", source, re.M | re.S)
    assert not [name for name, count in Counter(functions).items() if count > 1]
    size, types = 0, dict[str, str]()
    for line in map(str.strip, source.splitlines()):
        if found := PLACE.fullmatch(line):
            types[found[1]] = found[2]
        elif used := re.search(r"\b(?:load|store) .*ptr (%at\.\d+)$", line):
            size += SIZES[types.pop(used[1])] if used[1] in types else 0
    return size


@pytest.mark.parametrize("dtype", [F32, F64, BF16], ids=str)
@pytest.mark.parametrize(
    "name", ["AdamW", "Lion", "LAMB", "Adagrad", "RMSprop", "Adadelta", "Muon"]
)
def test_the_code_loads_and_stores_these_bytes(name, dtype):
    pytest.importorskip("llvmlite", reason="kernels for the CPU need llvmlite")
    optimizer = getattr(steppers, name)(parameters(PAIR, dtype))
    assert bytes_of_code(optimizer.source()) == only(optimizer).bytes_per_parameter


@every_row
def test_the_kernels_that_are_said_are_started(row, monkeypatch):
    pytest.importorskip("llvmlite", reason="kernels for the CPU need llvmlite")
    shapes = [(4, 3), (2, 2, 3)] if row.matrices else [(4, 3), (5,)]
    optimizer = advance(row.build(parameters(shapes)), 1)
    started, function = [], llvm_build.Module.function

    def counting(module, name, arguments):
        started.append(name)
        return function(module, name, arguments)

    monkeypatch.setattr(llvm_build.Module, "function", counting)
    said = only(optimizer).launches
    advance(optimizer, 1)
    assert said == len(started) > 0


@every_row
def test_bytes_said_before_the_first_step_are_those_after_it(row):
    shapes = [(4, 3), (2, 2, 3)] if row.matrices else [(4, 3), (5,)]
    optimizer, other = (row.build(parameters(shapes)) for _ in range(2))
    other.init_state()
    assert only(optimizer).walks == only(other).walks
    assert only(optimizer).bytes_per_step > 0


# --- time --------------------------------------------------------------------------------------


def test_the_time_is_that_of_the_bytes(monkeypatch):
    monkeypatch.setattr(bandwidth, "measured", lambda device: 2.8e9)
    found = only(steppers.AdamW([torch.nn.Parameter(torch.zeros(1000, 1000))]))
    assert (found.bandwidth, found.seconds) == (2.8e9, pytest.approx(28e6 / 2.8e9))
    text = str(steppers.AdamW([torch.nn.Parameter(torch.zeros(1000, 1000))]).explain())
    assert "that takes 10 ms at 2.8 GB/s (x.add_(y) here)" in text


def test_nothing_is_measured_unless_asked(monkeypatch):
    monkeypatch.delattr(bandwidth, "measured")
    found = only(steppers.AdamW(parameters()), measure=False)
    assert (found.bandwidth, found.seconds) == (None, None)


def test_a_speed_that_is_not_known_is_left_out(monkeypatch):
    monkeypatch.setattr(bandwidth, "measured", lambda device: None)
    explanation = steppers.AdamW(parameters()).explain()
    assert explanation.groups[0].seconds is None
    assert "GB/s" not in str(explanation)
