"""The ops in LLVM's words: one scalar instruction or a few for each; LLVM makes vectors of them.

There are no fast-math flags, so that infinities, NaN, signed zeros and compensated sums stay what
they are. `contract` too would change more than last bits: a product that overflows would be finite
in a sum, and p * p - g * g not 0 for p = g. It would buy nothing, for steps wait for memory.
`reassoc` stands only where a reduction accumulates, `nsz` at minima and maxima.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

NSZ = "nsz"  # minimum and maximum take several instructions more with it left out
SUFFIX = {"float": "f32", "double": "f64"}
BIT = "i1"


def clean(name: str) -> str:
    """A name as part of an identifier: letters, digits and _ alone, at most 40 of them."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)[:40] or "x"


def literal(x: float, real: str) -> str:
    """A number in LLVM's notation, rounded to `real`."""
    if real == "float":
        x = to_float(x)
    if math.isfinite(x) and abs(x) < 1e6 and float(f"{x:.6f}") == x:
        return f"{x:.6f}"
    return f"0x{struct.unpack('<Q', struct.pack('<d', x))[0]:016X}"


def to_float(x: float) -> float:
    """x rounded to single precision; too large becomes infinite."""
    try:
        return struct.unpack("<f", struct.pack("<f", x))[0]
    except OverflowError:
        return math.copysign(math.inf, x)


class Body:
    """The lines of one function, with a fresh name for each instruction."""

    def __init__(self, real: str) -> None:
        self.real = real
        self.lines: list[str] = []
        self.needs: set[str] = set()  # functions of the prelude, and LLVM's own
        self.bits: set[str] = set()  # names that hold a condition
        self.count = 0

    def let(self, stem: str, text: str) -> str:
        """Name the result of an instruction."""
        self.count += 1
        name = f"%{clean(stem)}.{self.count}"
        self.lines.append(f"  {name} = {text}")
        return name

    def add(self, line: str) -> None:
        """A line that has no result."""
        self.lines.append(f"  {line}")

    def fused(self, stem: str, a: str, b: str, c: str) -> str:
        """a * b + c, rounded once where the processor can."""
        return self.intrinsic(stem, "fmuladd", a, b, c)

    def bit(self, stem: str, text: str) -> str:
        """Name the result of an instruction that gives a condition."""
        name = self.let(stem, text)
        self.bits.add(name)
        return name

    def call(self, stem: str, function: str, *args: str, flags: str = "", result: str = "") -> str:
        """Call a function of the prelude or an intrinsic; args come with their types."""
        self.needs.add(function)
        flags = f"{flags} " if flags else ""
        return self.let(stem, f"call {flags}{result or self.real} @{function}({', '.join(args)})")

    def number(self, x: Any) -> str:
        """An operand of arithmetic: a condition counts as 0 or 1."""
        if isinstance(x, str):
            if x in self.bits:
                return self.let("number", f"uitofp i1 {x} to {self.real}")
            return x
        return literal(float(x), self.real)

    def condition(self, x: Any) -> str:
        """An operand of a choice."""
        if not isinstance(x, str):
            return "true" if x else "false"
        if x in self.bits:
            return x
        return self.bit("true", f"fcmp une {self.real} {x}, {literal(0.0, self.real)}")

    def intrinsic(self, stem: str, word: str, *args: str, flags: str = "") -> str:
        """Call llvm.WORD on numbers."""
        typed = [f"{self.real} {a}" for a in args]
        return self.call(stem, f"llvm.{word}.{SUFFIX[self.real]}", *typed, flags=flags)


Emit: TypeAlias = Callable[[Body, str, Sequence[Any]], str]


def _plain(instruction: str) -> Emit:
    def emit(body: Body, stem: str, args: Sequence[Any]) -> str:
        numbers = ", ".join(body.number(a) for a in args)
        return body.let(stem, f"{instruction} {body.real} {numbers}")

    return emit


def _intrinsic(word: str, flags: str = "") -> Emit:
    def emit(body: Body, stem: str, args: Sequence[Any]) -> str:
        return body.intrinsic(stem, word, *(body.number(a) for a in args), flags=flags)

    return emit


def _prelude(word: str) -> Emit:
    def emit(body: Body, stem: str, args: Sequence[Any]) -> str:
        typed = [f"{body.real} {body.number(a)}" for a in args]
        return body.call(stem, f"steppers.{word}.{SUFFIX[body.real]}", *typed)

    return emit


def _compare(predicate: str) -> Emit:
    def emit(body: Body, stem: str, args: Sequence[Any]) -> str:
        a, b = (body.number(x) for x in args)
        return body.bit(stem, f"fcmp {predicate} {body.real} {a}, {b}")

    return emit


def _logic(instruction: str) -> Emit:
    def emit(body: Body, stem: str, args: Sequence[Any]) -> str:
        a, b = (body.condition(x) for x in args)
        return body.bit(stem, f"{instruction} i1 {a}, {b}")

    return emit


def _not(body: Body, stem: str, args: Sequence[Any]) -> str:
    return body.bit(stem, f"xor i1 {body.condition(args[0])}, true")


def _square(body: Body, stem: str, args: Sequence[Any]) -> str:
    x = body.number(args[0])
    return body.let(stem, f"fmul {body.real} {x}, {x}")


def _rsqrt(body: Body, stem: str, args: Sequence[Any]) -> str:
    root = body.intrinsic("root", "sqrt", body.number(args[0]))
    return body.let(stem, f"fdiv {body.real} {literal(1.0, body.real)}, {root}")


def _sign(body: Body, stem: str, args: Sequence[Any]) -> str:
    """0 for NaN, as torch.sign has it."""
    x, zero, real = body.number(args[0]), literal(0.0, body.real), body.real
    above = body.let("above", f"fcmp ogt {real} {x}, {zero}")
    below = body.let("below", f"fcmp olt {real} {x}, {zero}")
    one, minus = literal(1.0, real), literal(-1.0, real)
    other = body.let("negative", f"select i1 {below}, {real} {minus}, {real} {zero}")
    return body.let(stem, f"select i1 {above}, {real} {one}, {real} {other}")


def _isfinite(body: Body, stem: str, args: Sequence[Any]) -> str:
    size = body.intrinsic("size", "fabs", body.number(args[0]))
    return body.bit(stem, f"fcmp olt {body.real} {size}, {literal(math.inf, body.real)}")


def _where(body: Body, stem: str, args: Sequence[Any]) -> str:
    condition = body.condition(args[0])
    a, b = (body.number(x) for x in args[1:])
    return body.let(stem, f"select i1 {condition}, {body.real} {a}, {body.real} {b}")


def _lerp(body: Body, stem: str, args: Sequence[Any]) -> str:
    a, b, w = (body.number(x) for x in args)
    difference = body.let("difference", f"fsub {body.real} {b}, {a}")
    scaled = body.let("scaled", f"fmul {body.real} {w}, {difference}")
    return body.let(stem, f"fadd {body.real} {a}, {scaled}")


def _lerp_by_number(body: Body, stem: str, args: Sequence[Any]) -> str:
    """As torch.lerp, fused as there: a weight of 1/2 or more counts from b, so that 1 gives b."""
    a, b, w = (body.number(x) for x in args)
    real, half = body.real, literal(0.5, body.real)
    near = body.let("near", f"fcmp olt {real} {w}, {half}")
    less = body.let("less", f"fsub {real} {w}, {literal(1.0, real)}")
    weight = body.let("weight", f"select i1 {near}, {real} {w}, {real} {less}")
    base = body.let("base", f"select i1 {near}, {real} {a}, {real} {b}")
    difference = body.let("difference", f"fsub {real} {b}, {a}")
    return body.fused(stem, weight, difference, base)


def _pow(body: Body, stem: str, args: Sequence[Any]) -> str:
    if args[1] in (1, 2, 3) and not isinstance(args[1], str):
        x = power = body.number(args[0])
        for _ in range(int(args[1]) - 1):
            power = body.let(stem, f"fmul {body.real} {power}, {x}")
        return power
    return _prelude("pow")(body, stem, args)


def _spread(body: Body, stem: str, args: Sequence[Any]) -> str:
    return args[0] if isinstance(args[0], str) else body.number(args[0])


# fmt: off
OPS: dict[str, Emit] = {
    "add": _plain("fadd"), "sub": _plain("fsub"), "mul": _plain("fmul"), "div": _plain("fdiv"),
    "neg": _plain("fneg"), "mod": _prelude("mod"), "pow": _pow,
    "sqrt": _intrinsic("sqrt"), "rsqrt": _rsqrt, "square": _square, "abs": _intrinsic("fabs"),
    "sign": _sign, "exp": _prelude("exp"), "log": _prelude("log"), "tanh": _prelude("tanh"),
    "sigmoid": _prelude("sigmoid"), "floor": _intrinsic("floor"), "cos": _prelude("cos"),
    "lerp": _lerp, "lerp by number": _lerp_by_number, "minimum": _intrinsic("minimum", NSZ),
    "maximum": _intrinsic("maximum", NSZ),
    "where": _where, "spread": _spread,
    "lt": _compare("olt"), "le": _compare("ole"), "gt": _compare("ogt"), "ge": _compare("oge"),
    "eq": _compare("oeq"), "ne": _compare("une"),
    "and": _logic("and"), "or": _logic("or"), "not": _not, "isfinite": _isfinite,
}
# fmt: on
