"""The documentation's parts fit together; `make docs` builds it and runs every tutorial."""

import ast
import importlib
import os
import re
import runpy
import subprocess
import sys
from pkgutil import resolve_name

import pytest
import torch
from docs_extension import API, DOCS, loaded

import steppers

TUTORIALS = sorted((DOCS / "tutorials").glob("*.py"))
PAGES = [*sorted(DOCS.glob("*.md")), *sorted((DOCS / "api").glob("*.md"))]
NAMES = [path.stem for path in TUTORIALS]


def read(path):
    return path.read_text(encoding="utf-8")


def toctrees(page):
    """The documents that a page lists."""
    blocks = re.findall(r"```\{toctree\}\n(.*?)```", read(page), re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith(":")]


# --- tutorials -------------------------------------------------------------------------------


def test_tutorials_are_numbered_from_one():
    assert [int(name[:2]) for name in NAMES] == list(range(1, len(NAMES) + 1))
    assert len(NAMES) >= 9


@pytest.mark.parametrize("path", TUTORIALS, ids=NAMES)
def test_a_tutorial_has_a_title_an_end_and_a_way_on(path):
    text, number = read(path), int(path.stem[:2])
    said = ast.get_docstring(ast.parse(text))
    title, line, *_ = said.splitlines()
    assert title.startswith(f"{number} · ") and set(line) == {"="} and len(line) >= len(title)
    end = text.split("# What to take away\n# -----------------\n")
    assert len(end) == 2
    following = NAMES[number] if number < len(NAMES) else "/coming_from"
    assert f":doc:`{following}`" in end[1]


@pytest.mark.parametrize("path", TUTORIALS, ids=NAMES)
def test_a_tutorial_leads_to_pages_that_are_there(path):
    for target in re.findall(r":doc:`([^`]+)`", read(path)):
        there = DOCS / f"{target[1:]}.md" if target[0] == "/" else path.parent / f"{target}.py"
        assert there.exists(), target


@pytest.mark.parametrize("path", TUTORIALS, ids=NAMES)
def test_lines_of_a_tutorial_fit_its_page(path):
    assert max(map(len, read(path).splitlines())) <= 100


@pytest.mark.parametrize("name", NAMES[:2])
def test_a_tutorial_runs_by_itself(name, tmp_path):
    path = DOCS / "tutorials" / f"{name}.py"
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(path)],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert list(tmp_path.iterdir()) == []


# --- pages -----------------------------------------------------------------------------------


def test_the_settings_need_no_sphinx_to_be_read():
    conf = runpy.run_path(str(DOCS / "conf.py"))
    assert conf["release"] == steppers.__version__
    assert conf["sphinx_gallery_conf"]["abort_on_example_error"] is True
    sys.path.remove(str(DOCS / "_ext"))


def test_every_page_is_listed_and_what_is_listed_is_there():
    top, api = toctrees(DOCS / "index.md"), toctrees(DOCS / "api" / "index.md")
    made = {"learn/index"}  # by the build
    pages = [*DOCS.glob("*.md"), *DOCS.glob("systems/*.md")]
    names = {path.relative_to(DOCS).with_suffix("").as_posix() for path in pages}
    assert names - {"index"} == set(top) - made - {"api/index"}
    assert {path.stem for path in (DOCS / "api").glob("*.md")} - {"index"} == set(api)
    assert len(set(top)) == len(top)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#\s]+)", read(page)):
        made = (page.parent / target.replace("learn/", "tutorials/")).with_suffix(".py")
        assert (page.parent / target).exists() or made.exists(), target


def test_every_example_is_shown():
    shown = re.findall(r"\{literalinclude\} \.\./examples/(\w+)\.py", read(DOCS / "examples.md"))
    there = [path.stem for path in (DOCS.parent / "examples").glob("*.py")]
    assert sorted(shown) == sorted(there)


# --- the glossary ----------------------------------------------------------------------------


def terms():
    blocks = re.findall(r"```\{glossary\}\n:sorted:\n(.*?)```", read(DOCS / "glossary.md"), re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith(" ")]


def test_a_term_is_explained_once():
    found = terms()
    assert sorted(found) == sorted(set(found))


def test_the_glossary_has_what_the_code_is_full_of():
    reserved = {"p", "g", "u", "t", "betas"}
    words = {"rule", "slot", "chain", "program", "pass", "engine", "hyper", "kept scalar"}
    training = {"round", "epoch", "fit", "batch", "callback", "event", "operation"}
    assert reserved | words | training <= set(terms())


@pytest.mark.parametrize("name", ["AdamW", "SGD", "LAMB", "Lion"])
def test_the_glossary_has_the_slots_and_hypers_of_common_optimizers(name):
    weight = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = steppers.get_class(name)([weight])
    optimizer.init_state()
    slots = set(optimizer.state[weight]) - {"step"}
    assert slots | {"lr", "weight_decay"} <= set(terms())


# --- names of other libraries ----------------------------------------------------------------


def known():
    from steppers.train import Learner
    from steppers.train.callbacks.recorder import Recorder

    modules = ("", ".rules", ".groups", ".schedules", ".train", ".ops")
    found = {n for m in modules for n in dir(importlib.import_module(f"steppers{m}"))}
    return found | set(dir(Learner)) | set(dir(Recorder)) | set(dir(steppers.Optimizer))


WORDS = {  # hypers, events, attributes and options, which no module lists
    "alpha", "after_round", "batch", "before_backward", "before_epoch", "before_round",
    "before_step", "beta1", "beta2", "floor", "k", "lr", "momentum", "preds", "loss", "warmup",
    "training", "weight_decay",
}  # fmt: skip


def test_names_on_our_side_of_the_tables_exist():
    rows = re.findall(r"^\| .* \| (.*) \|$", read(DOCS / "coming_from.md"), re.MULTILINE)
    code = [each for row in rows for each in re.findall(r"`([^`]+)`", row)]
    names = [re.sub(r"\(.*", "", each) for each in code]
    assert all(resolve_name(name) is not None for name in names if name.startswith("steppers."))
    names = [name for name in names if not name.startswith("steppers.")]
    plain = [name.split(".")[-1] for name in names if re.fullmatch(r"[A-Za-z_][\w.]*", name)]
    assert len(plain) > 60
    assert {name for name in plain if name not in known() | WORDS} == set()


# --- the reference ---------------------------------------------------------------------------


def documented():
    """Every name that a page of the reference documents, with the module whence it comes."""
    reference, found = loaded("reference"), set[str]()
    for page in sorted((DOCS / "api").glob("*.md")):
        for module, options in API.findall(read(page)):
            keys = dict(re.findall(r"^:(\w+): ?(.*)$", options, re.MULTILINE))
            within, without = (
                keys.get("within", "").split() or [""],
                keys.get("without", "").split(),
            )
            for home, names in reference.offered(module).items():
                wanted = any(part in home for part in within)
                if wanted and not any(part in home for part in without):
                    found |= {f"{module}.{name}" for name in names}
        found |= set(re.findall(r"^\.\. auto\w+:: (\S+)$", read(page), re.MULTILINE))
    return found


PUBLIC = [
    "steppers", "steppers.ops", "steppers.rules", "steppers.groups", "steppers.schedules",
    "steppers.lr_find", "steppers.train", "steppers.train.data", "steppers.train.experiments",
    "steppers.styles",
]  # fmt: skip


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_in_the_reference(module):
    found = documented()
    held = importlib.import_module(module)
    names = [name for name in held.__all__ if not name.startswith("_")]
    inner = {name for name in names if isinstance(getattr(held, name), type(importlib))}
    assert {f"{module}.{name}" for name in inner} <= set(PUBLIC)
    missing = [name for name in names if name not in inner and f"{module}.{name}" not in found]
    # the Learner's data sets stand on their own page, under the module that they are from
    assert [name for name in missing if f"{module}.data.{name}" not in found] == []
