"""The repository agrees with itself and names no machine."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

import steppers

ROOT = Path(__file__).parents[1]
KEPT_HIDDEN = {".ci", ".gitignore", ".github"}
PRODUCTS = {"__pycache__", "build", "dist", "runs", "_build", "learn"}
# Written in pieces, so that this file passes its own test.
MACHINE = ["/" + name + "/" for name in ("work", "root", "farm", "home")]
REGISTRIES = ["pypi" + ".org", "python" + "hosted", "download." + "pytorch"]


def kept(path: Path) -> bool:
    parts = path.relative_to(ROOT).parts
    if path.suffix == ".log":
        return False
    return not any(p in PRODUCTS or (p[0] == "." and p not in KEPT_HIDDEN) for p in parts)


def text_files():
    for path in sorted(ROOT.iterdir()):
        inside = sorted(path.rglob("*")) if path.is_dir() and kept(path) else [path]
        for file in inside:
            if file.is_file() and kept(file) and b"\0" not in file.read_bytes():
                yield file


FILES = list(text_files())


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_names_a_machine_or_a_registry(path):
    text = path.read_text(encoding="utf-8")
    assert [name for name in (*MACHINE, *REGISTRIES) if name in text] == []


def test_the_walk_sees_the_repository():
    names = {str(path.relative_to(ROOT)) for path in FILES}
    assert {"Makefile", ".ci/run", "pyproject.toml", "src/steppers/__init__.py"} <= names


def test_one_version():
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (stated,) = re.findall(r'^version = "(.+)"$', pyproject, re.MULTILINE)
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert steppers.__version__ == version("steppers") == stated
    assert f"## [{stated}]" in changelog
