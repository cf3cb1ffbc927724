"""What kernels and the host exchange: numbers, pointers, sums, and how tensors are stored.

The same for every target: a tensor has a record of words, and everything stands at its place there.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ...program import Program
from ...tracing import GLOBAL, HOST, PER_TENSOR, Value
from ..storage import LOW
from .kernel import FLAT, Kernel, full_slot, kernel, variants, walk_of, wanted

LARGEST = ("amax",)
SQUARED = ("norm", "rms")
BYTES = {"f32": 4, "f64": 8, "bf16": 2, "f16": 2}


@dataclass(frozen=True, eq=False)
class Layout:
    """Where each number and each pointer of a program stands, the same for all its kernels."""

    hosts: tuple[Value, ...]  # a row of doubles
    globals: tuple[Value, ...]  # doubles, one each
    known: tuple[Value, ...]  # per-tensor doubles: slots of one number, and reductions
    fields: tuple[Any, ...]  # pointers of a tensor: names of p, g and slots, then values

    @functools.cached_property
    def place(self) -> dict[Any, int]:
        """Where each field stands among the fields, and each known value among these."""
        known = {value: k for k, value in enumerate(self.known)}
        return {**known, **{("field", key): k for k, key in enumerate(self.fields)}}

    def field(self, key: Any) -> int:
        """The word of a tensor's record that holds this pointer."""
        return len(META) + self.place["field", key]


# Words of a tensor's record before its pointers. `row` and `known` are addresses; `first` and
# `last` the chunks that are its own in a flat walk; in a walk by rows `columns` is the length of a
# row, `matrix` the rows of a matrix and `slice` those of one index of the first axis.
META = ("row", "variant", "number", "numel", "first", "last", "known", "columns", "matrix", "slice")


@functools.cache
def layout(program: Program) -> Layout:
    """Everything that some variant of some pass exchanges."""
    kernels = list(all_kernels(program))
    small = dict.fromkeys(v for each in kernels for v in each.small)
    given = dict.fromkeys(v for each in kernels for v in each.given)
    handed = dict.fromkeys((end, i) for each in kernels for end, i, _ in each.handed)
    rows = dict.fromkeys(("row sums", end) for each in kernels for end, _ in each.sums)
    asked = [arg for each in kernels for arg in operands(each)]
    hosts = dict.fromkeys(v for v in asked if v.extent == HOST)
    totals = dict.fromkeys(v for v in asked if v.extent == GLOBAL and v.kind in ("total", "input"))
    ends = (end for each in program.passes for end in each.ends if end.extent == PER_TENSOR)
    scalars = (v for v in program.inputs.values() if v.extent == PER_TENSOR)
    names = ["p", *(["g"] if "g" in program.inputs else [])]
    names += [name for name in program.slots if full_slot(program, name)]
    lows = [low for low in (name + LOW for name in names if name != "g") if low not in names]
    return Layout(
        tuple(hosts),
        tuple(totals),
        tuple(dict.fromkeys([*scalars, *ends])),
        (*names, *lows, *small, *given, *handed, *rows),
    )


def all_kernels(program: Program) -> Iterator[Kernel]:
    """Every variant of every pass, and that in which the device decides all conditions."""
    undecided = (None,) * len(program.conditions)
    for number in range(len(program.passes)):
        for taken in (*variants(program), undecided):
            yield kernel(program, number, taken)


def operands(each: Kernel) -> Iterator[Value]:
    """Every value that something in a kernel asks for."""
    args = [a for step in each.steps for a in wanted(step)]
    args += [a for _, row in each.shared for a in row]
    args += [*(v for _, v in each.stores), *(v for *_, v in each.handed)]
    args += [a for _, row in each.sums for a in row]
    return (a for a in args if isinstance(a, Value))


def pass_names(program: Program, number: int) -> tuple[str, str]:
    """The functions of a pass: its walk, and its finish ('' where there is nothing to do)."""
    kernels = [kernel(program, number, taken) for taken in variants(program)]
    if all(each.idle for each in kernels):
        return "", ""
    finishes = walk_of(program, number) == FLAT and any(each.sums for each in kernels)
    return f"pass{number}", f"finish{number}" if finishes else ""


def record_words(program: Program) -> int:
    """The length of a tensor's record."""
    return len(META) + len(layout(program).fields)


# --- sums --------------------------------------------------------------------------------------


def sums_of(program: Program, number: int) -> list[Value]:
    """The reductions and totals that the kernels of a pass make, in the order of their partials."""
    kernels = (kernel(program, number, taken) for taken in variants(program))
    return list(dict.fromkeys(end for each in kernels for end, _ in each.sums))


def over_rows(end: Value) -> bool:
    """A sum down the rows: one for each column."""
    return end.kind == "reduce" and dict(end.attrs).get("over") == "rows"


# --- storage -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Storage:
    """A format: its dtype (f32, f64, bf16, f16), how it rounds, and the number of its draw.

    `half`: the processor converts float16 itself.
    """

    dtype: str
    rounding: str = "nearest"
    draw: int = 0
    half: bool = False

    @property
    def function(self) -> str:
        """The end of the name of the prelude's conversions."""
        return f"{self.dtype}.half" if self.half and self.dtype == "f16" else self.dtype


@dataclass(frozen=True)
class Signature:
    """What a program is compiled for: the arithmetic and how each tensor is stored."""

    real: str  # float or double
    storage: tuple[tuple[str, Storage], ...]

    def of(self, name: str) -> Storage:
        """How p, g or a slot is stored."""
        return dict(self.storage)[name]

    def exact(self) -> frozenset[str]:
        """Slots that hold what was computed: they may be read again in the same step."""
        plain = "f32" if self.real == "float" else "f64"
        return frozenset(
            name for name, storage in self.storage
            if name not in ("p", "g") and (storage.dtype, storage.rounding) == (plain, "nearest")
        )  # fmt: skip

    def stored(self, key: str) -> Storage:
        """How p, g, a slot, or the low part of one, is stored."""
        known = dict(self.storage)
        return known[key if key in known else key.removesuffix(LOW)]

    def lows(self) -> list[str]:
        """Names of the tensors that have a companion."""
        return [name for name, storage in self.storage if storage.rounding == "kahan"]


@functools.cache
def fields_of(program: Program, number: int, signature: Signature) -> list[Any]:
    """The pointers that some variant of a pass uses, in the layout's order."""
    used: set[Any] = set()
    for taken in variants(program):
        each = kernel(program, number, taken, signature.exact())
        names = {name for name, _ in (*each.reads, *each.stores)}
        used |= names | {n + LOW for n in names & set(signature.lows())}
        used |= {*each.small, *each.given, *((end, i) for end, i, _ in each.handed)}
        if walk_of(program, number) != FLAT:
            used |= {("row sums", end) for end, _ in each.sums}
    return [key for key in layout(program).fields if key in used]
