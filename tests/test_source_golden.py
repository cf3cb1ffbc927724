"""Generated sources as files, so that a change of any of them is read as a diff.

After an intended change: `pytest tests/test_source_golden.py --rewrite-golden`, and read the diff.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from states import parameters

import steppers
from steppers.engines.fused.llvm_text import render
from steppers.engines.fused.tables import signature_of
from steppers.preview import pieces

HERE = Path(__file__).parent

# fmt: off
GOLDEN = {  # what each file holds: a class, its arguments, the dtype of parameters
    "adamw_float32":        (steppers.AdamW, dict(), torch.float32),
    "adamw_bfloat16":       (steppers.AdamW, dict(), torch.bfloat16),
    "lion_float32":         (steppers.Lion, dict(), torch.float32),
    "lamb_float32":         (steppers.LAMB, dict(), torch.float32),
    "sgd_momentum_float32": (steppers.SGD, dict(momentum=0.9), torch.float32),
    "adafactor_float32":    (steppers.Adafactor, dict(), torch.float32),
}
# fmt: on


def rendered(name, **hypers):
    """The source for one matrix, without conversions that only some processors have."""
    make, arguments, dtype = GOLDEN[name]
    optimizer = make(parameters([(4, 3)], dtype), engine="loop", **{**arguments, **hypers})
    (piece,) = pieces(optimizer, optimizer.param_groups[0], "steps", lambda p: True)
    return render(piece.batch.program, signature_of(piece.batch, 0, False))


def file_of(name):
    return HERE / "golden" / f"{name}.ll"


@pytest.mark.parametrize("name", GOLDEN)
def test_the_source_is_as_it_was(name, request):
    if request.config.getoption("--rewrite-golden"):
        file_of(name).write_text(rendered(name), encoding="utf-8")
    assert rendered(name) == file_of(name).read_text(encoding="utf-8"), (
        "if that is intended: pytest tests/test_source_golden.py --rewrite-golden"
    )


def test_no_file_is_left_over():
    assert {path.stem for path in (HERE / "golden").glob("*.ll")} == GOLDEN.keys()


@pytest.mark.parametrize("name", GOLDEN)
def test_the_source_holds_no_value_of_a_hyper(name):
    assert rendered(name, lr=0.0123, weight_decay=0.0456) == rendered(name)


@pytest.mark.parametrize("seed", ["1", "2"])
def test_the_source_is_the_same_in_every_process(seed):
    script = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "import test_source_golden as golden\n"
        "print(*map(golden.rendered, golden.GOLDEN), sep='', end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=HERE.parent, capture_output=True, check=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": seed},
    )  # fmt: skip
    assert done.stdout.decode() == "".join(map(rendered, GOLDEN))


# fmt: off
KEPT = {  # names of rules, slots and values that the papers use, in the code itself
    "adamw_float32": ["; decay", "; adam", "%exp_avg.", "%exp_avg_sq.", "%mean.", "%u."],
    "lion_float32": ["; lion", "%exp_avg.", "%u."],
    "lamb_float32": ["; trust_ratio", "%p_norm.", "%u_norm.", "%ratio."],
    "sgd_momentum_float32": ["; heavy_ball", "%momentum_buffer."],
    "adafactor_float32": ["; factored_square", "%rate.", "%second."],
}
# fmt: on


@pytest.mark.parametrize(("name", "names"), KEPT.items(), ids=KEPT)
def test_names_are_kept(name, names):
    code = rendered(name).partition("\ndefine ")[2]
    assert [each for each in names if each not in code] == []
