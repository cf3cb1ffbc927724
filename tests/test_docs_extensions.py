"""What docs/_ext does with docstrings, pictures and the catalogue."""

from types import SimpleNamespace

import pytest
import torch
from docs_extension import loaded


@pytest.fixture(scope="module")
def docstrings():
    return loaded("docstrings")


@pytest.mark.parametrize(
    ("plain", "marked"),
    [
        ("the norm |w| of w", r"the norm \|w\| of w"),
        ("a * b, `a * b`", r"a \* b, `a * b`"),
        ("events after_ and before_x", r"events after\_ and before_x"),
        ("``**kwargs`` and **kwargs", r"``**kwargs`` and \*\*kwargs"),
    ],
)
def test_text_outside_of_code_means_nothing_special(docstrings, plain, marked):
    assert docstrings.safe([plain]) == [marked]


def test_code_that_goes_over_the_end_of_a_line_stays_code(docstrings):
    lines = ["Call `f(*args,", "**more)` at will * 2."]
    assert docstrings.safe(lines) == ["Call `f(*args,", r"**more)` at will \* 2."]


def test_literal_blocks_and_examples_stay_as_they_are(docstrings):
    lines = ["Drawn::", "", "    a |b| * c", "", "After it *", ">>> f(*x)", "[|1|]", "", "* end"]
    expected = [*lines[:4], r"After it \*", *lines[5:8], r"\* end"]
    assert docstrings.safe(lines) == expected


def test_a_list_gets_the_empty_line_that_it_needs(docstrings):
    assert docstrings.safe(["Kinds:", "- one", "- two"]) == ["Kinds:", "", "- one", "- two"]
    assert docstrings.safe(["Kinds:", "", "- one", "  more"]) == ["Kinds:", "", "- one", "  more"]


def test_what_a_word_takes_has_one_name_in_signatures(docstrings):
    union = "~steppers.optable.Operators | ~torch.Tensor | float | int | bool"
    told = docstrings.short(None, "function", "", None, None, f"(x: {union}, n: int)", union)
    assert told == ("(x: Operand, n: int)", "Operand")
    assert docstrings.short(None, "class", "", None, None, None, None) == (None, None)


def test_new_figures_are_saved_once(tmp_path):
    pictures = loaded("pictures")
    pytest.importorskip("sphinx_gallery.scrapers", reason="needs the docs extra")
    from matplotlib.figure import Figure

    paths = (tmp_path / f"{i}.png" for i in range(9))
    names = {"figure": Figure(), "number": 3}
    given = {"example_globals": names, "image_path_iterator": paths}
    conf = {"src_dir": str(tmp_path)}
    first = pictures.save_figures(SimpleNamespace(), given, conf)
    again = pictures.save_figures(SimpleNamespace(), given, conf)
    names["other"] = Figure()
    third = pictures.save_figures(SimpleNamespace(), given, conf)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "1.png"]
    assert ("0.png" in first, again, "1.png" in third) == (True, "", True)


def test_every_tutorial_starts_from_the_same_random_numbers():
    pictures = loaded("pictures")
    drawn = []
    for _ in range(2):
        pictures.repeatable({}, "")
        drawn.append(torch.rand(3))
    assert torch.equal(*drawn)


def test_a_row_of_the_catalogue():
    catalogue = loaded("catalogue")
    assert catalogue.described("Lion") == [
        "[Lion](#steppers.Lion)",
        "the sign of an interpolated momentum (Chen et al. 2023, arXiv:2302.06675).",
        "`lr=0.0001`, `betas=(0.9, 0.99)`, `weight_decay=0`",
        "`exp_avg`",
    ]
    assert catalogue.described("SGD")[3] == "none"


def test_the_reference_finds_where_names_are_defined():
    found = loaded("reference").offered("steppers.rules")
    assert "clip_adaptively" in found["steppers.rules.gradients"]
    assert found["steppers.rules.schedule_decay"] == ["decay_by_schedule", "decay_corrected"]


def test_objects_without_a_docstring_of_their_own_take_it_from_the_source():
    from steppers.ops import zeros_rows
    from steppers.rules import clip_adaptively

    said = loaded("reference").said_of
    (line, *_) = said("steppers.rules.gradients", "clip_adaptively", clip_adaptively)
    assert line.startswith("Adaptive clipping for any model")
    shape = said("steppers.ops", "zeros_rows", zeros_rows)
    assert shape == ["How a slot starts: a number for each row (…, n, 1), filled with 0."]
