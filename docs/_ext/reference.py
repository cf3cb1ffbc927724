"""The API reference, read from the package: `api` documents what a module offers.

    ```{api} steppers.schedules
    ```

documents every name of `__all__`, under the module that defines it, with that module's docstring
as a heading. Of a module that states no `__all__` it takes the public classes and functions that
are defined there. `optimizers` is the table of the catalogue.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

from docstrings import safe
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

from steppers.slots import Initialiser

SHAPES = {  # of slots, in words
    "p": "shaped as p",
    "rows": "a number for each row (…, n, 1)",
    "columns": "a number for each column (…, 1, m)",
    "left": "a matrix of the rows (…, n, n)",
    "right": "a matrix of the columns (…, m, m)",
    "scalar": "one number",
}


def own_names(name: str) -> list[str]:
    """Public classes and functions that a module defines itself."""
    found = vars(importlib.import_module(name)).items()
    return [
        key
        for key, value in found
        if not key.startswith("_")
        and (inspect.isclass(value) or inspect.isfunction(value))
        and value.__module__ == name
    ]


def offered(name: str) -> dict[str, list[str]]:
    """The public names of a module, by the module where each is defined."""
    module = importlib.import_module(name)
    homes: dict[str, list[str]] = {}
    for key in getattr(module, "__all__", own_names(name)):
        if not key.startswith("_") and not inspect.ismodule(getattr(module, key)):
            homes.setdefault(home(name, key), []).append(key)
    return homes


def home(name: str, key: str) -> str:
    """The module that defines a public name; instances do not say, so they are looked for."""
    module = importlib.import_module(name)
    value = getattr(module, key)
    if inspect.isclass(value) or inspect.isfunction(value):
        return value.__module__
    found = pkgutil.iter_modules(getattr(module, "__path__", []))
    inside = [f"{name}.{each.name}" for each in found if not each.name.startswith("_")]
    held = [each for each in inside if vars(importlib.import_module(each)).get(key) is value]
    return held[0] if held else name


def kind(value: Any) -> str:
    """Which of autodoc's directives documents an object."""
    if inspect.isclass(value):
        return "class"
    return "function" if inspect.isfunction(value) else "data"


def entries(module: str, keys: list[str], where: str) -> Iterator[str]:
    """The directives for some names of one module; `where` is whence users import them."""
    source = importlib.import_module(where)
    for key in keys:
        value = getattr(source, key)
        which = kind(value)
        if which == "data":
            yield f".. py:data:: {where}.{key}"
            yield from ("", *(f"   {line}" for line in said_of(module, key, value)))
        else:
            yield f".. auto{which}:: {where}.{key}"
            yield "   :members:" if which == "class" else ""
            yield "   :show-inheritance:" if which == "class" and has_bases(value) else ""
        yield ""


def has_bases(value: type) -> bool:
    """Whether a class is made of others that are worth naming."""
    return any(base.__module__ not in ("builtins", "typing") for base in value.__bases__)


def said_of(module: str, key: str, value: Any) -> list[str]:
    """What stands in the source below an object that is neither class nor function."""
    found = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", key), [])
    if not found and isinstance(value, Mapping):
        found = [", ".join(f"`{each}`" for each in value)]
    if not found and isinstance(value, Initialiser):
        start = f"filled with {value.fill:g}" if isinstance(value.fill, float) else "a copy of p"
        found = [f"How a slot starts: {SHAPES[value.shape]}, {start}."]
    if not found and callable(value):
        found = (inspect.getdoc(value) or "").splitlines()
    return safe(found)


class Api(SphinxDirective):
    """Document what a module offers, or the part of it that certain modules define."""

    required_arguments = 1
    option_spec = {
        "as": directives.unchanged,  # whence users import the names, if from elsewhere
        "within": str.split,  # only names that are defined in these packages
        "without": str.split,  # no names that are defined in these
        "flat": directives.flag,  # no headings
    }

    def run(self) -> list[nodes.Node]:
        """The nodes of all entries."""
        name, lines = self.arguments[0], list[str]()
        self.env.note_dependency(str(importlib.import_module(name).__file__))
        found = {module: keys for module, keys in offered(name).items() if self.wanted(module)}
        where = self.options.get("as", name)
        flat = "flat" in self.options
        parts = list(found.items())
        if flat:
            parts = sorted(
                [(m, [key]) for m, keys in parts for key in keys], key=lambda part: part[1]
            )
        for module, keys in parts:
            lines += self.heading(module) if len(found) > 1 and not flat else []
            lines += entries(module, keys, where)
        return self.parse_text_to_nodes("\n".join(rest(lines)), allow_section_headings=True)

    def wanted(self, module: str) -> bool:
        """Whether the options leave what a module defines."""
        inside = any(part in module for part in self.options.get("within", [""]))
        return inside and not any(part in module for part in self.options.get("without", []))

    def heading(self, module: str) -> list[str]:
        """The first line of a module's docstring, in bold, above its names."""
        said = inspect.getdoc(importlib.import_module(module)) or module
        return [f".. rubric:: {said.splitlines()[0]}", ""]


def rest(lines: list[str]) -> list[str]:
    """reStructuredText inside of whatever the page is written in."""
    return ["```{eval-rst}", *lines, "```"]


def setup(app: Any) -> dict[str, bool]:
    """Register the directives."""
    from catalogue import Optimizers

    app.add_directive("api", Api)
    app.add_directive("optimizers", Optimizers)
    return {"parallel_read_safe": True}
