"""How the prelude's functions are written: names, numbers and polynomials as LLVM IR text.

A function's text is its whole definition. Everything is a scalar and nothing branches, so that a
loop over elements that calls it still becomes vector code. No fast-math flag stands anywhere:
NaN, infinities and signed zeros come out as IEEE 754 has them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass

_NAME = re.compile(r"@([\w.]+)")


@dataclass(frozen=True)
class Function:
    """One function of the prelude.

    `name` is without the "@", `text` the definition, `needs` the names that it calls: functions
    of the prelude ("steppers…") and LLVM's own ("llvm…").
    """

    name: str
    text: str
    needs: tuple[str, ...]


def define(result: str, name: str, arguments: str, body: str) -> Function:
    """The function of that result type, name, arguments and body; `needs` is read from the body."""
    lines = "\n".join(f"  {line.strip()}" for line in body.strip().splitlines() if line.strip())
    head = f"define internal {result} @{name}({arguments}) alwaysinline nounwind willreturn"
    needs = tuple(dict.fromkeys(_NAME.findall(body)))
    return Function(name, f"{head} memory(none) {{\n{lines}\n}}\n", needs)


def declaration(name: str) -> str:
    """The `declare` line of one of LLVM's own functions, as "llvm.fmuladd.f32"."""
    kind = {"f32": "float", "f64": "double"}[name.rpartition(".")[2]]
    return f"declare {kind} @{name}({', '.join([kind] * _ARGUMENTS[name.split('.')[1]])})\n"


# fmt: off
_ARGUMENTS = dict(
    fmuladd=3, fma=3, pow=2, copysign=2, minimum=2, maximum=2, fabs=1, floor=1, sqrt=1, exp=1,
    log=1, tanh=1, cos=1,
)
# fmt: on


def single(value: float) -> str:
    """A float32 constant: IR spells it as the double of the same value, in hexadecimal."""
    return double(struct.unpack("<f", struct.pack("<f", value))[0])


def double(value: float) -> str:
    """A float64 constant, in hexadecimal."""
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def polynomial(kind: str, out: str, x: str, coefficients: Sequence[float]) -> str:
    """Lines that set %out to c0 + x (c1 + x (c2 + …)), by Horner's rule."""
    constant, suffix = (single, "f32") if kind == "float" else (double, "f64")
    *rest, value = map(constant, coefficients)
    lines: list[str] = []
    for i, c in reversed(list(enumerate(rest))):
        to = f"%{out}.{i}" if i else f"%{out}"
        call = f"call {kind} @llvm.fmuladd.{suffix}({kind} {value}, {kind} {x}, {kind} {c})"
        lines.append(f"{to} = {call}")
        value = to
    return "\n".join(lines)
