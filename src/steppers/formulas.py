"""A program as formulas in the rules' own names, for people and for the comments of its source."""

from __future__ import annotations

from typing import Any, cast

from .program import Program
from .tracing import Value

# fmt: off
_TIGHT = {  # how tightly an operator binds, as in Python
    "lt": 1, "le": 1, "gt": 1, "ge": 1, "eq": 1, "ne": 1, "or": 2, "and": 3, "add": 5, "sub": 5,
    "mul": 6, "div": 6, "mod": 6, "matmul": 6, "neg": 7, "not": 7, "pow": 8,
}
# fmt: on
_COMPARISONS = ("lt", "le", "gt", "ge", "eq", "ne")  # Python chains these: a < b == c
_HIDDEN = ("draw", "site")  # attributes of a value that are no arguments of its word
_DEEP = 20  # operations in one line; what is nested deeper gets lines of its own
_LONGEST = 400  # characters of a line in a comment


def formula_lines(program: Program) -> list[str]:
    """The update as assignments in the rules' own names, each followed by its rule's name."""
    lines = _Formulas(program).lines()
    width = max((len(text) for text, _ in lines), default=0)
    return [f"{text:<{min(width, 64)}}  # {rule}" for text, rule in lines]


def header(program: Program) -> list[str]:
    """The name of the chain and its formulas, as lines that a comment can hold."""
    lines = (f"  {line}" for line in formula_lines(program))
    return [comment_text(line) for line in (f"{program.name}:", *lines)]


def comment_text(text: str) -> str:
    """Text in which nothing ends a comment: a rule may have any string as its name."""
    text = "".join(c if c.isprintable() else "_" for c in text[: _LONGEST + 1])
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def number_text(value: Any) -> str:
    """A number, or a tuple of numbers, as short as it can be without loss."""
    if isinstance(value, tuple):
        return f"({', '.join(map(number_text, cast('tuple[Any, ...]', value)))})"
    if not isinstance(value, float):
        return str(value)
    short = f"{value:g}"
    return short if float(short) == value or value != value else repr(value)


def count_text(count: int, what: str) -> str:
    """1 tensor, 2 tensors."""
    return f"{count:,} {what}" + "s" * (count != 1)


class _Formulas:
    """Writes values as text: a named value is one line, an unnamed one stands where it is used."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.uses: dict[Value, int] = {}
        for value in program.values:
            for arg in value.operands():
                self.uses[arg] = self.uses.get(arg, 0) + 1
        self.targets: dict[Value, str] = {}  # the first output that takes a value
        for name, value in program.outputs.items():
            self.targets.setdefault(value, name)
        self.names = self._give_names()

    def _give_names(self) -> dict[Value, str]:
        """A name for each value with a line of its own; a name used again gets a prime."""
        names = {v: v.name for v in self.program.values if v.is_input}
        taken = set(names.values())
        depth: dict[Value, int] = {}
        for value in self.program.values:
            within = (depth.get(a, 0) for a in value.operands() if a not in names)
            depth[value] = 1 + max(within, default=0)
            shared = self.uses.get(value, 0) > 1 and value.op not in ("const", "neg")
            wanted = value.name or shared or value in self.targets or depth[value] > _DEEP
            if value.is_input or not wanted:
                continue
            name = self.targets.get(value) or value.name or f"x{value.index}"
            while name in taken:
                name += "'"
            names[value] = name
            taken.add(name)
        return names

    def lines(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for value in self.program.values:
            if not value.is_input and value in self.names:
                found.append((f"{self.names[value]} = {self.text(value, top=True)}", value.rule))
        for name, value in self.program.outputs.items():
            written = value.name if value.is_input else self.targets[value]
            if written != name:  # it takes an input as it is, or another output's new value
                rule = self.program.returned_by[name]
                found.append((f"{name}' = {self.names[value]}", rule))
        return found

    def text(self, value: Any, top: bool = False, around: int = 0) -> str:
        """A value as an operand of what binds as tightly as `around`, or as a line (`top`)."""
        if not isinstance(value, Value):
            return _operand(value, around)
        if value in self.names and not top:
            return self.names[value]
        if value.op == "const":
            return _operand(value.attrs[0], around)
        pattern = value.word.text
        if "{" not in pattern:
            return f"{pattern}({', '.join([*map(self.text, value.args), *_constants(value)])})"
        args = [
            self.text(a, around=side) for a, side in zip(value.args, _sides(value), strict=False)
        ]
        made = pattern.format(*args)
        return f"({made})" if _TIGHT[value.op] < around else made


def _operand(number: Any, around: int) -> str:
    """A number; the base of a power needs parentheses around its sign."""
    text = number_text(number)
    return f"({text})" if text.startswith("-") and around > _TIGHT["pow"] else text


def _constants(value: Value) -> list[str]:
    """The constants of a word that is a function: over="rows", ns_steps=5."""
    shown = {k: v for k, v in value.attrs if k not in _HIDDEN and v is not None}
    return [
        f'{k}="{v}"' if isinstance(v, str) else f"{k}={number_text(v)}" for k, v in shown.items()
    ]


def _sides(value: Value) -> tuple[int, int]:
    """How tightly the operands left and right must bind to stand without parentheses."""
    level = _TIGHT[value.op]
    if value.op == "pow":
        return level + 1, _TIGHT["neg"]  # from right to left, and 2 ** -t is 2 ** (-t)
    if value.op in _COMPARISONS:
        return level + 1, level + 1
    if value.op in ("sub", "div", "mod", "matmul"):
        return level, level + 1
    if value.op == "mul" and getattr(value.args[1], "op", "") in ("mod", "matmul"):
        return level, level + 1  # a * (b % c) is not (a * b) % c
    return level, level
