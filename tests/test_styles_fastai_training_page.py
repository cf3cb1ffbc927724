"""The page on fastai's training: its code runs, the tests and names that it has are there."""

import re
from pathlib import Path

from steppers.styles.fastai import training

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "systems" / "fastai_training.md").read_text(encoding="utf-8")


def test_the_code_runs_from_top_to_bottom(capsys):
    blocks, names = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL), {}
    for block in blocks:
        exec(block, names)
    assert len(blocks) == 4 and 1e-6 < names["suggested"] < 10
    printed = [line for line in capsys.readouterr().out.splitlines() if "_loss" not in line]
    told = [line.split("# ")[1] for line in "".join(blocks).splitlines() if line[:5] == "print"]
    told = [line.split(":")[0] for line in told]
    assert len(told) == 4 and [line for line in told if line not in printed] == []


def test_the_tests_that_it_names_are_there():
    named = re.findall(r"`(training\w*)`: ([^|]+) \|", PAGE)
    assert len(named) > 75
    for file, title in named:
        text = (TESTS / f"test_styles_fastai_{file}.py").read_text(encoding="utf-8")
        name = re.sub(r"\W+", "_", title).strip("_")
        assert f"def test_{name}" in text, (file, title)


def test_every_row_of_its_tables_names_a_test_or_the_other_position():
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(rows) > 85
    assert [
        row for row in rows if not all(cell.strip() for cell in row.strip("|").split("|"))
    ] == []


def test_every_public_name_is_on_it():
    missing = [name for name in training.__all__ if not re.search(rf"\b{name}\b", PAGE)]
    assert missing == ["RegModel"]
