"""The page on where the systems disagree: all rows, and names and tests that are there."""

import re
from pathlib import Path
from pkgutil import resolve_name

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "systems" / "conflicts.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| \d+ \|", line)]
NAMES = sorted(set(re.findall(r"`(steppers\.[\w.]+)`", PAGE)))


def test_the_rows_are_1_to_38_once_each():
    assert [int(row.split("|")[1]) for row in ROWS] == list(range(1, 39))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_a_row_has_five_cells_and_none_is_empty(row):
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert len(cells) == 5 and all(cells)


@pytest.mark.parametrize("name", NAMES)
def test_every_name_of_ours_is_there(name):
    assert resolve_name(name) is not None


def test_names_of_ours_are_written_whole_and_alone():
    """What the test above sees: a name beside arguments in one code span would escape it."""
    assert len(NAMES) > 80
    spans = set(re.findall(r"`([^`]*steppers\.[^`]*)`", PAGE))
    assert spans - set(NAMES) == {"from steppers.styles import fastai"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_every_test_file_that_is_named_is_there(row):
    named = re.findall(r"`(test_\w+\.py)`", row.strip("|").split("|")[-1])
    assert named
    assert [file for file in named if not (TESTS / file).is_file()] == []


def test_every_page_that_is_linked_is_there():
    links = re.findall(r"\]\(([^)]+)\)", PAGE)
    here = TESTS.parent / "docs" / "systems"
    assert len(links) > 5 and [link for link in links if not (here / link).is_file()] == []
