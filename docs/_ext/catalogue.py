"""The table of the optimizers, from the registry and the classes themselves."""

import inspect
from typing import Any

import torch
from docutils import nodes
from sphinx.util.docutils import SphinxDirective

import steppers
from steppers.rules import descend


def described(name: str) -> list[str]:
    """A row: the class, what it is, its defaults, its slots."""
    cls = steppers.get_class(name)
    said = (inspect.getdoc(cls) or "").splitlines()[0]
    own = {key: value for key, value in arguments(cls).items() if key not in COMMON}
    fields = ", ".join(f"`{key}={shown(value)}`" for key, value in own.items())
    link = f"[{name}](#steppers.{name})"
    return [link, said.removeprefix(f"{name}: "), fields, slots(cls)]


def arguments(cls: type[steppers.Optimizer]) -> dict[str, Any]:
    """The constructor's arguments with their defaults."""
    parameters = inspect.signature(cls).parameters.values()
    return {each.name: each.default for each in parameters if each.name != "params"}


class Plain(steppers.Optimizer):
    """What every optimizer has."""

    steps = (descend,)
    defaults = dict(lr=1e-3)


COMMON = arguments(Plain).keys() - {"lr"}


def slots(cls: type[steppers.Optimizer]) -> str:
    """The slots that a matrix has with the defaults, asked of a real one."""
    weight = torch.nn.Parameter(torch.ones(4, 3))
    optimizer = cls([weight])
    optimizer.init_state()
    held = [key for key in optimizer.state[weight] if key != "step"]
    return ", ".join(f"`{key}`" for key in held) or "none"


def shown(value: Any) -> str:
    """A default, short."""
    if isinstance(value, tuple):
        return f"({', '.join(map(shown, value))})"
    return f"{value:g}" if isinstance(value, float) else repr(value)


class Optimizers(SphinxDirective):
    """The table of all optimizers of the registry."""

    def run(self) -> list[nodes.Node]:
        """The nodes of the table."""
        head = ["class", "what it is", "hyper-parameters and options", "state of a matrix"]
        rows = [described(name) for name in steppers.list_optimizers()]
        lines = [head, ["---"] * len(head), *rows]
        text = "\n".join("| " + " | ".join(row) + " |" for row in lines)
        return self.parse_text_to_nodes(text)
