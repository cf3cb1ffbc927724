"""The page on fastai's optimizers: its code runs, and the tests that it names are there."""

import re
from pathlib import Path

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / "docs" / "systems" / "fastai.md").read_text(encoding="utf-8")


def test_the_code_runs_from_top_to_bottom(capsys):
    blocks, names = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL), {}
    for block in blocks:
        exec(block, names)
        if "optimizer" in names:
            loss = names["model"](names["torch"].randn(8, 4)).square().mean()
            names["optimizer"].zero_grad()
            loss.backward()
            names["optimizer"].step()
    assert len(blocks) == 4
    assert capsys.readouterr().out == "0.95\n"


def test_the_tests_that_it_names_are_there():
    named = re.findall(r"\| `(base\w*|fastai\w*)`: ([^|]+) \|", PAGE)
    assert len(named) > 110
    for file, title in named:
        text = (TESTS / f"test_styles_{file}.py").read_text(encoding="utf-8")
        name = re.sub(r"\W+", "_", title.replace("'s", "s").replace("s'", "s")).strip("_")
        assert f"def test_{name}" in text, (file, title)
