"""Every Python block of the README and of docs/ runs as it stands, and prints what is shown."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
BLOCKS = BLOCK.findall(README)


PAGES = [(page.name, i, block) for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
         for i, block in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")))]  # fmt: skip


@pytest.mark.parametrize(("page", "number", "block"), PAGES, ids=[f"{p}-{i}" for p, i, _ in PAGES])
def test_block_runs(page, number, block):
    exec(compile(block, f"{page} block {number}", "exec"), {"__name__": "readme"})


# What depends on the machine: the speed of its memory, and whether kernels can be generated.
MEASURED = re.compile(r"that takes \S+ \S+ at \S+ GB/s")


def test_printed_explanation_is_the_one_shown(capsys):
    pytest.importorskip("llvmlite", reason="the engine that is shown needs llvmlite")
    block = next(b for b in BLOCKS if "class Lion" in b)
    exec(compile(block, "README", "exec"), {"__name__": "readme"})
    shown = re.search(r"```text\n(Lion\n.*?)```", README, re.DOTALL)
    assert shown is not None
    printed = capsys.readouterr().out
    assert MEASURED.search(printed) and MEASURED.search(shown.group(1))
    assert MEASURED.sub("", printed) == MEASURED.sub("", shown.group(1))


def test_errors_are_the_ones_shown():
    import steppers
    from steppers.rules import adam, average_grad, descend

    for steps in ((average_grad, descend), (average_grad, adam, descend)):
        with pytest.raises(TypeError) as caught:
            type("Mine", (steppers.Optimizer,), {"steps": steps, "defaults": {"lr": 1e-3}})
        assert f"TypeError: {caught.value}" in README
