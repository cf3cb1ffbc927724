"""A file past 400 lines is two ideas, and lines stay narrow enough to read side by side."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = sorted((ROOT / "src" / "steppers").rglob("*.py"))
FOLDERS = ("tests", "examples", "benchmarks")
SOURCES = [
    *PACKAGE,
    *(path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))),
]
LINES, COLUMNS = 400, 100


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PACKAGE, ids=name)
def test_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES


@pytest.mark.parametrize("path", SOURCES, ids=name)
def test_columns(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [i for i, line in enumerate(lines, 1) if len(line) > COLUMNS] == []
