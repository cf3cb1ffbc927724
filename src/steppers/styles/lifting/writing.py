"""A lifted rule as source: a plain function in the words of steppers.ops, to run and to read."""

from __future__ import annotations

import ast
import hashlib
import itertools
import keyword
import linecache
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ... import ops
from ...chain import REQUIRED
from ...optable import OPS
from ...tracing import Value
from .recording import Raw

_WIDTH, _LONG = 96, 64
_BINARY: dict[str, ast.operator] = {
    "add": ast.Add(), "sub": ast.Sub(), "mul": ast.Mult(), "div": ast.Div(), "mod": ast.Mod(),
    "pow": ast.Pow(), "and": ast.BitAnd(), "or": ast.BitOr(), "matmul": ast.MatMult(),
}  # fmt: skip
_COMPARE: dict[str, ast.cmpop] = {
    "lt": ast.Lt(), "le": ast.LtE(), "gt": ast.Gt(), "ge": ast.GtE(), "eq": ast.Eq(),
    "ne": ast.NotEq(),
}  # fmt: skip
_UNARY: dict[str, ast.unaryop] = {"neg": ast.USub(), "not": ast.Invert()}


class Writer:
    """The text of one rule. `slots` have initialisers, `hypers` defaults; other inputs are read."""

    def __init__(
        self,
        name: str,
        outputs: Mapping[str, Raw],
        slots: Mapping[str, str],
        hypers: Mapping[str, Any],
        rename: Mapping[str, str],
    ) -> None:
        self.name, self.outputs, self.slots = name, outputs, slots
        self.rename = rename
        self.values = list(_ordered(outputs.values()))
        self.inputs = [v.name for v in self.values if v.is_input]
        self.hypers = {n: d for n, d in hypers.items() if n in self.inputs}
        self.words: set[str] = set(slots.values())
        self.names: dict[Value, str] = {}
        self.lines: list[str] = []

    def source(self) -> str:
        """The module text: the words that it imports, and the function."""
        self._name_values()
        for value in self.values:
            if value in self.names and not value.is_input:
                self.lines.append(f"{self.names[value]} = {self._text(value, top=True)}")
        given = {self._called(n): self._text(v) for n, v in self.outputs.items()}
        result = _call_text("return dict", (f"{n}={text}" for n, text in given.items()))
        body = [f'"""{self.name}, lifted."""', *self.lines, *result]
        head = _call_text(f"def {self.name}", self._arguments(), ":")
        imports = _import_text(sorted(self.words - {"ops"}))
        if "ops" in self.words:
            imports = ["from steppers import ops", *(imports or ["", ""])]
        return "\n".join([*imports, *head, *(f"    {line}" for line in body)]) + "\n"

    def _called(self, name: str) -> str:
        return self.rename.get(name, name)

    def _arguments(self) -> Iterator[str]:
        plain = [n for n in self.inputs if n not in self.hypers and n != "t"]
        order = [n for n in ("p", "g") if n in plain or (n == "p" and self._asks_shape())]
        order += [n for n in plain if n not in order and n not in self.slots]
        yield from map(self._called, order)
        yield from (f"{self._called(n)}={init}" for n, init in self.slots.items())
        keywords = ["t"] if "t" in self.inputs else []
        keywords += [
            self._called(n) if d is REQUIRED else f"{self._called(n)}={ast.unparse(_number(d))}"
            for n, d in self.hypers.items()
        ]
        if keywords:
            yield from ("*", *keywords)

    def _asks_shape(self) -> bool:
        return any(v.kind == "shape" for v in self.values)

    # --- names ----------------------------------------------------------------------------------

    def _name_values(self) -> None:
        """Inputs keep their names; what is used twice, or had a name, or is long, gets a line."""
        taken = {*ops.__all__, *keyword.kwlist, "dict", "ops", "p", *map(self._called, self.inputs)}
        self.names = {v: self._called(v.name) for v in self.values if v.is_input}
        uses: dict[Value, int] = {}
        for value in self.values:
            for arg in value.operands():
                uses[arg] = uses.get(arg, 0) + 1
        targets: dict[Value, str] = {}
        for name, raw in self.outputs.items():
            if isinstance(raw, Value):
                uses[raw] = uses.get(raw, 0) + 1
                targets.setdefault(raw, self._called(name))
        spare = (f"x{i}" for i in itertools.count(1))

        def give(value: Value) -> None:
            wanted = targets.get(value) or value.name
            self.names[value] = _free(wanted or next(spare), taken)

        for value in self.values:
            if value.is_input:
                continue
            while (inner := self._too_long(value)) is not None:
                give(inner)
            if uses[value] > 1 or (value.name and value not in targets and value.op != "neg"):
                give(value)

    def _too_long(self, value: Value) -> Value | None:
        """The longest operand of a line that is too long, to get a line of its own."""
        if len(self._text(value, top=True)) <= _LONG:
            return None
        plain = [arg for arg in value.operands() if arg not in self.names]
        return max(plain, key=lambda arg: len(self._text(arg)), default=None)

    # --- expressions ----------------------------------------------------------------------------

    def _text(self, raw: Raw, top: bool = False) -> str:
        return ast.unparse(self._tree(raw, top))

    def _tree(self, raw: Any, top: bool = False) -> ast.expr:
        if not isinstance(raw, Value):
            return _number(raw)
        if raw in self.names and not top:
            return ast.Name(self.names[raw])
        if raw.kind == "shape":
            return ast.Call(self._word(raw.op), [ast.Name("p")], [])
        args = [self._tree(arg) for arg in raw.args]
        if raw.op in _BINARY:
            return ast.BinOp(args[0], _BINARY[raw.op], args[1])
        if raw.op in _COMPARE:
            return ast.Compare(args[0], [_COMPARE[raw.op]], [args[1]])
        if raw.op in _UNARY:
            return ast.UnaryOp(_UNARY[raw.op], args[0])
        over = dict(raw.attrs).get("over")
        more = [ast.keyword("over", ast.Constant(over))] if over else []
        return ast.Call(self._word(OPS[raw.op].text), args, more)

    def _word(self, word: str) -> ast.expr:
        """A word by its name, or as one of ops where an argument has that name."""
        if word in map(self._called, self.inputs):
            self.words.add("ops")
            return ast.Attribute(ast.Name("ops"), word)
        self.words.add(word)
        return ast.Name(word)


def compiled(name: str, source: str, module: str) -> Callable[..., Any]:
    """The function that the source defines; inspect.getsource shows the source."""
    digest = hashlib.sha256(source.encode()).hexdigest()[:12]
    file = f"<lifted {name} {digest}>"
    space: dict[str, Any] = {"__name__": module}
    exec(compile(source, file, "exec"), space)
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    return space[name]


def _ordered(roots: Iterable[Raw]) -> Iterator[Value]:
    """Everything that the roots are computed from, operands first; inputs in order of use."""
    seen: set[Value] = set()
    stack: list[tuple[Value, bool]] = [(r, False) for r in roots if isinstance(r, Value)][::-1]
    while stack:
        value, done = stack.pop()
        if done:
            yield value
        elif value not in seen:
            seen.add(value)
            stack.append((value, True))
            if value.kind != "shape":
                stack.extend((arg, False) for arg in [*value.operands()][::-1])


def _number(number: Any) -> ast.expr:
    if isinstance(number, float) and (number != number or abs(number) == float("inf")):
        return ast.Call(ast.Name("float"), [ast.Constant(str(number))], [])
    if not isinstance(number, bool) and number < 0:
        return ast.UnaryOp(ast.USub(), ast.Constant(-number))
    return ast.Constant(number)


def _free(wanted: str, taken: set[str]) -> str:
    """A name that is not taken, taken from now on."""
    name = wanted if wanted.isidentifier() else "x"
    if name in taken:
        name = f"new_{name}"
    base, count = name, 2
    while name in taken:
        name, count = f"{base}_{count}", count + 1
    taken.add(name)
    return name


def _call_text(what: str, args: Iterable[str], end: str = "") -> list[str]:
    """A call on one line if it fits, else one line for each argument."""
    listed = list(args)
    line = f"{what}({', '.join(listed)}){end}"
    if len(line) <= _WIDTH:
        return [line]
    return [f"{what}(", *(f"    {arg}," for arg in listed), f"){end}"]


def _import_text(words: list[str]) -> list[str]:
    if not words:
        return []
    line = f"from steppers.ops import {', '.join(words)}"
    if len(line) <= _WIDTH:
        return [line, "", ""]
    return ["from steppers.ops import (", *(f"    {word}," for word in words), ")", "", ""]
