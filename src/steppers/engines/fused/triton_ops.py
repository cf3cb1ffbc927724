"""The ops in Triton's words: an expression or a few lines for each, on blocks and scalars alike.

Nothing is fast but wrong: division and roots are the correctly rounded ones, and exp, log, tanh,
cos, pow and fmod are CUDA's libdevice, whose errors are one or two units in the last place
(CUDA C++ Programming Guide, "Mathematical Functions"), where Triton's own `exp` is approximate.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from .llvm_ops import to_float

REAL = {"float": "tl.float32", "double": "tl.float64"}
INDENT = "    "


def identifier(name: str, number: int) -> str:
    """A name as a Python identifier: the number behind it keeps it from being any word."""
    stem = re.sub(r"[^A-Za-z0-9_]", "_", name)[:40]
    return f"{stem}_{number}" if stem[:1].isalpha() else f"x{stem}_{number}"


def comment(text: str) -> str:
    """Text that a comment can hold: one line of plain characters."""
    return re.sub(r"[^ -~]", "_", text)[:80]


def literal(x: float, real: str) -> str:
    """A number in Python's notation, rounded to `real`."""
    x = to_float(x) if real == "float" else x
    return repr(x) if math.isfinite(x) else f'float("{x}")'


class Body:
    """The lines of one function, with a fresh name for each value."""

    def __init__(self, real: str, shape: str = "[BLOCK]") -> None:
        self.real, self.shape = real, shape
        self.lines: list[str] = []
        self.needs: set[str] = set()  # functions of the prelude
        self.bits: set[str] = set()  # names that hold a condition
        self.depth = 1
        self._count = 0

    def let(self, stem: str, text: str) -> str:
        """Name the value of an expression."""
        name = self.fresh(stem)
        self.add(f"{name} = {text}")
        return name

    def fresh(self, stem: str) -> str:
        """A name that nothing else has."""
        self._count += 1
        return identifier(stem, self._count)

    def add(self, line: str) -> None:
        """A line that gives no value."""
        self.lines.append(INDENT * self.depth + line)

    def bit(self, stem: str, text: str) -> str:
        """Name the value of an expression that is a condition."""
        name = self.let(stem, text)
        self.bits.add(name)
        return name

    def wide(self) -> Body:
        """The same lines in double precision."""
        other = Body("double", self.shape)
        other.__dict__.update({**self.__dict__, "real": "double"})
        return other

    def back(self, other: Body) -> None:
        """Go on counting where `wide` ended."""
        self._count = other._count

    def number(self, x: Any) -> str:
        """An operand of arithmetic: a condition counts as 0 or 1."""
        if isinstance(x, str):
            return f"{x}.to({REAL[self.real]})" if x in self.bits else x
        return literal(float(x), self.real)

    def typed(self, x: Any) -> str:
        """An operand of a function, which would take a bare number for a float32."""
        if isinstance(x, str):
            return self.number(x)
        return f"tl.full((), {self.number(x)}, {REAL[self.real]})"

    def condition(self, x: Any) -> str:
        """An operand of a choice."""
        if not isinstance(x, str):
            return f"tl.full((), {bool(x)}, tl.int1)"
        return x if x in self.bits else self.bit("true", f"{x} != 0.0")


Emit: TypeAlias = Callable[[Body, str, Sequence[Any]], str]


def _infix(sign: str) -> Emit:
    def emit(body: Body, stem: str, args: Sequence[Any]) -> str:
        a, b = args
        left = body.number(a) if isinstance(b, str) else body.typed(a)
        return body.let(stem, f"{left} {sign} {body.number(b)}")

    return emit


def _call(function: str, more: str = "") -> Emit:
    def emit(body: Body, stem: str, args: Sequence[Any]) -> str:
        return body.let(stem, f"{function}({', '.join(map(body.typed, args))}{more})")

    return emit


def _divide(body: Body, stem: str, args: Sequence[Any]) -> str:
    """`/` on float32 is div.full, which may be 2 units off."""
    if body.real == "double":
        return _infix("/")(body, stem, args)
    return _call("tl.div_rn")(body, stem, args)


def _root(body: Body, stem: str, args: Sequence[Any]) -> str:
    function = "tl.sqrt" if body.real == "double" else "tl.sqrt_rn"
    return _call(function)(body, stem, args)


def _rsqrt(body: Body, stem: str, args: Sequence[Any]) -> str:
    return _divide(body, stem, (1.0, _root(body, "root", args)))


def _sigmoid(body: Body, stem: str, args: Sequence[Any]) -> str:
    decayed = body.let("decayed", f"libdevice.exp({body.typed(args[0])} * -1.0)")
    return _divide(body, stem, (1.0, body.let("more", f"{decayed} + 1.0")))


def _compare(sign: str) -> Emit:
    def emit(body: Body, stem: str, args: Sequence[Any]) -> str:
        name = _infix(sign)(body, stem, args)
        body.bits.add(name)
        return name

    return emit


def _logic(sign: str) -> Emit:
    def emit(body: Body, stem: str, args: Sequence[Any]) -> str:
        a, b = (body.condition(x) for x in args)
        return body.bit(stem, f"{a} {sign} {b}")

    return emit


def _not(body: Body, stem: str, args: Sequence[Any]) -> str:
    return body.bit(stem, f"{body.condition(args[0])} == 0")


def _negative(body: Body, stem: str, args: Sequence[Any]) -> str:
    """Triton's own is 0 - x, which loses the sign of zero."""
    return body.let(stem, f"{body.typed(args[0])} * -1.0")


def _square(body: Body, stem: str, args: Sequence[Any]) -> str:
    x = body.typed(args[0])
    return body.let(stem, f"{x} * {x}")


def _sign(body: Body, stem: str, args: Sequence[Any]) -> str:
    """0 for NaN, as torch.sign has it."""
    x, real = body.typed(args[0]), REAL[body.real]
    return body.let(stem, f"({x} > 0.0).to({real}) - ({x} < 0.0).to({real})")


def _isfinite(body: Body, stem: str, args: Sequence[Any]) -> str:
    return body.bit(stem, f'tl.abs({body.typed(args[0])}) < float("inf")')


def _where(body: Body, stem: str, args: Sequence[Any]) -> str:
    condition = body.condition(args[0])
    return body.let(stem, f"tl.where({condition}, {body.typed(args[1])}, {body.typed(args[2])})")


def _lerp(body: Body, stem: str, args: Sequence[Any]) -> str:
    a, b, w = map(body.typed, args)
    return body.let(stem, f"{a} + {w} * ({b} - {a})")


def _lerp_by_number(body: Body, stem: str, args: Sequence[Any]) -> str:
    """As torch: a weight of at least 1/2 counts from b, so that a weight of 1 gives b exactly."""
    a, b, w = map(body.typed, args)
    near = body.let("near", f"{w} < 0.5")
    weight = body.let("weight", f"tl.where({near}, {w}, {w} - 1.0)")
    base = body.let("base", f"tl.where({near}, {a}, {b})")
    return body.let(stem, f"{base} + {weight} * ({b} - {a})")


def _pow(body: Body, stem: str, args: Sequence[Any]) -> str:
    if args[1] in (1, 2, 3) and not isinstance(args[1], str):
        x = body.typed(args[0])
        return body.let(stem, " * ".join([x] * int(args[1])))
    return _call("libdevice.pow")(body, stem, args)


def _mod(body: Body, stem: str, args: Sequence[Any]) -> str:
    """torch.remainder: the sign is the divisor's."""
    a, b = map(body.typed, args)
    rest = body.let("rest", f"libdevice.fmod({a}, {b})")
    wrong = body.let("wrong", f"({rest} != 0.0) & (({rest} < 0.0) != ({b} < 0.0))")
    return body.let(stem, f"tl.where({wrong}, {rest} + {b}, {rest})")


def _spread(body: Body, stem: str, args: Sequence[Any]) -> str:
    name = body.let(stem, f"tl.broadcast_to({body.typed(args[0])}, {body.shape})")
    if isinstance(args[0], str) and args[0] in body.bits:
        return body.bit(stem, f"{name} != 0.0")
    return name


_PROPAGATE = ", propagate_nan=tl.PropagateNan.ALL"

# fmt: off
OPS: dict[str, Emit] = {
    "add": _infix("+"), "sub": _infix("-"), "mul": _infix("*"), "div": _divide,
    "neg": _negative, "mod": _mod, "pow": _pow,
    "sqrt": _root, "rsqrt": _rsqrt, "square": _square, "abs": _call("tl.abs"),
    "sign": _sign, "exp": _call("libdevice.exp"), "log": _call("libdevice.log"),
    "tanh": _call("libdevice.tanh"), "sigmoid": _sigmoid, "floor": _call("tl.floor"),
    "cos": _call("libdevice.cos"), "lerp": _lerp, "lerp by number": _lerp_by_number,
    "minimum": _call("tl.minimum", _PROPAGATE), "maximum": _call("tl.maximum", _PROPAGATE),
    "where": _where, "spread": _spread,
    "lt": _compare("<"), "le": _compare("<="), "gt": _compare(">"), "ge": _compare(">="),
    "eq": _compare("=="), "ne": _compare("!="),
    "and": _logic("&"), "or": _logic("|"), "not": _not, "isfinite": _isfinite,
}
# fmt: on
