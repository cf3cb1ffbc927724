"""The pages on the course and on miniai: their code runs, the tests that they name are there."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGES = TESTS.parent / "docs" / "systems"
NAMED = re.compile(r"`(course\w*|miniai\w*)`: ([^|;]+?) *(?=[|;])")


@pytest.mark.parametrize(("page", "count", "last"), [("course", 6, "True 32"),
                                                     ("miniai", 6, "48 3")])  # fmt: skip
def test_the_code_runs_from_top_to_bottom(page, count, last, capsys):
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    blocks, names = re.findall(r"```python\n(.*?)```", text, re.DOTALL), {}
    for block in blocks:
        exec(block, names)
        if "opt" in names:
            names["opt"].zero_grad()
            names["model"](names["torch"].randn(8, 4)).square().mean().backward()
            names["opt"].step()
    assert len(blocks) == count
    assert last in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(("page", "least"), [("course", 45), ("miniai", 45)])
def test_the_tests_that_it_names_are_there(page, least):
    named = NAMED.findall((PAGES / f"{page}.md").read_text(encoding="utf-8"))
    assert len(named) >= least
    for file, title in named:
        text = (TESTS / f"test_styles_{file}.py").read_text(encoding="utf-8")
        name = re.sub(r"\W+", "_", title.strip())
        assert re.search(rf"def test_\w*{name}", text), (file, title)


@pytest.mark.parametrize("page", ["course", "miniai"])
def test_every_public_name_of_the_style_is_on_its_page(page):
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    source = TESTS.parent / "src" / "steppers" / "styles" / page / "__init__.py"
    names = re.findall(r"import \w+ as (\w+)", source.read_text(encoding="utf-8"))
    assert len(names) > 40 and [n for n in names if not re.search(rf"\b{n}\b", text)] == []
