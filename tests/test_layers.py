"""Imports go down one table, and importing steppers loads torch alone.

A unit is a file or a folder directly in the package. A unit may import itself. Imports inside
functions and under TYPE_CHECKING count too.
"""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "steppers"
EVERYTHING = "everything"

# fmt: off
MAY_IMPORT = {
    "noise":      "",
    "slots":      "",
    "optable":    "noise",
    "ops":        "optable slots",
    "chain":      "slots",
    "rules":      "ops chain",
    "binding":    "chain names",
    "tracing":    "ops optable slots",
    "passes":     "optable tracing",
    "skipping":   "tracing passes",
    "program":    "ops optable slots tracing passes chain binding skipping",
    "formulas":   "tracing program",
    "engines":    "noise ops optable slots tracing passes chain program formulas",
    "names":      "",
    "spread":     "",
    "shell":      "optable slots tracing chain program engines names spread rules",
    "bandwidth":  "",
    "preview":    "slots engines shell",
    "traffic":    "engines shell",
    "source":     "chain program formulas engines shell preview",
    "explain":    "slots formulas engines shell bandwidth preview traffic",
    "optimizer":  "chain program engines names shell explain source",
    "functional": "slots tracing program engines names shell optimizer",
    "catalogue":  "ops rules chain optimizer",
    "groups":     "spread",
    "registry":   "chain optimizer catalogue groups",
    "wrappers":   "optimizer",
    "hypers":     "names spread",
    "rng":        "",
    "colours":    "",
    "schedules":  "names spread hypers colours",
    "lr_find":    "spread hypers rng",
    "train":      "colours names spread hypers rng ops rules optimizer groups schedules lr_find "
                  "catalogue registry",
    "styles":     "tracing optable ops slots rules chain binding program formulas names "
                  "spread hypers rng colours engines shell optimizer functional catalogue "
                  "registry groups schedules lr_find train",
    "bench":      "rules engines optimizer registry train",
    "cli":        EVERYTHING,
    "__main__":   "cli",
    "__init__":   EVERYTHING,
}
# fmt: on

FILES = sorted(PACKAGE.rglob("*.py"))
# What a module may import as it loads. Optional packages are imported inside functions.
AT_LOAD = sys.stdlib_module_names | {"torch", "steppers"}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def imports(tree: ast.Module, module: str) -> list[tuple[int, str]]:
    """Every imported name with its line, as an absolute dotted path."""
    package = module.split(".")[:-1]  # __init__ is written steppers.__init__ here
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base = [*base, *(node.module.split(".") if node.module else [])]
            found += [(node.lineno, ".".join([*base, alias.name])) for alias in node.names]
    return found


def unit(dotted: str) -> str | None:
    """The unit that a dotted path leads to: None outside steppers."""
    top, *rest = dotted.split(".")
    if top != "steppers":
        return None
    name = rest[0] if rest else "__init__"
    return name if name in MAY_IMPORT or is_unit(name) else "__init__"


def is_unit(name: str) -> bool:
    return (PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir()


def violations(source: str, module: str) -> list[str]:
    """The imports of one module that point up or sideways."""
    here = module.split(".")[1]
    if here not in MAY_IMPORT:
        return [f"{here} is not in the table of tests/test_layers.py"]
    allowed = MAY_IMPORT[here]
    found = [(line, unit(name), name) for line, name in imports(ast.parse(source), module)]
    return [
        f"{module}:{line}: {here} may not import {name}"
        for line, to, name in found
        if to not in (None, here, *allowed.split()) and allowed != EVERYTHING
    ]


def loaded(source: str) -> set[str]:
    """The top-level packages that are imported as a module loads."""
    found, nodes = set(), list(ast.parse(source).body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            nodes += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).split(".")[0])
        nodes += ast.iter_child_nodes(node)
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_down(path):
    assert violations(path.read_text(encoding="utf-8"), module_name(path)) == []


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_loading_needs_only_torch(path):
    assert loaded(path.read_text(encoding="utf-8")) <= AT_LOAD


def test_the_table_has_no_cycle():
    """The units can be listed so that each imports only earlier ones."""
    above_all = {"cli", "__main__", "__init__"}
    left = {name: set(to.split()) for name, to in MAY_IMPORT.items() if name not in above_all}
    while lowest := {name for name, to in left.items() if to.isdisjoint(left)}:
        left = {name: to for name, to in left.items() if name not in lowest}
    assert left == {}


def test_contributing_shows_this_table():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| ([^|]*) \|$", text, re.MULTILINE))
    shown = {name: " ".join(re.findall(r"`(\w+)`", to)) or to for name, to in rows.items()}
    assert shown == {name: to or "nothing" for name, to in MAY_IMPORT.items()}


@pytest.mark.parametrize(
    ("module", "source", "bad"),
    [
        ("steppers.chain", "import math", False),
        ("steppers.chain", "from . import ops", True),
        ("steppers.chain", "from .ops import sqrt", True),
        ("steppers.chain", "import steppers.ops", True),
        ("steppers.chain", "from steppers import AdamW", True),
        ("steppers.chain", "def f():\n    from . import ops", True),
        ("steppers.chain", "if TYPE_CHECKING:\n    from .ops import Tensor", True),
        ("steppers.program", "from .chain import Chain", False),
        ("steppers.engines.loop", "from . import foreach", False),
        ("steppers.engines.loop", "from ..program import Program", False),
        ("steppers.engines.loop", "from .. import optimizer", True),
        ("steppers.engines.__init__", "from .loop import run", False),
        ("steppers.engines.__init__", "from ..optimizer import Optimizer", True),
        ("steppers.__init__", "from .optimizer import Optimizer", False),
        ("steppers.nowhere", "", True),
    ],
)
def test_the_reader_of_imports(module, source, bad):
    assert bool(violations(source, module)) is bad


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import numpy.random", {"numpy"}),
        ("try:\n    import llvmlite\nexcept ImportError:\n    pass", {"llvmlite"}),
        ("class A:\n    from tqdm import tqdm", {"tqdm"}),
        ("def f():\n    import sklearn", set()),
        ("if TYPE_CHECKING:\n    from matplotlib.figure import Figure", set()),
        ("from . import ops", set()),
    ],
)
def test_the_reader_of_loads(source, names):
    assert loaded(source) == names
