"""One variant of a pass over one chunk, as a Triton function: a block of elements, or of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...program import Program
from ...tracing import FIRST, FULL, HOST, PER_TENSOR, Value
from ..storage import LOW
from .exchange import (
    LARGEST,
    SQUARED,
    Signature,
    fields_of,
    layout,
    operands,
    over_rows,
    sums_of,
)
from .kernel import FLAT, REST, Taken, kernel, walk_of
from .triton_ops import OPS, REAL, Body, comment, identifier, literal
from .triton_storage import load, store

BLOCK = 2048  # elements that one program of the grid walks: 16 for each of 128 threads
ROWS, COLUMNS = 32, 64  # the block of a walk by rows: 256 bytes of each are neighbours
NUMBERS = (  # what a kernel finds out about a chunk
    "start", "count", "number", "columns", "matrix", "slice", "ordinal",
    "hosts", "known", "partials",
)  # fmt: skip


def pointer(program: Program, key: Any) -> str:
    """The name of the pointer of a field: unlike a value's, it does not end in its number."""
    stem = key if isinstance(key, str) else "field"
    return f"{identifier(stem, layout(program).field(key))}_at"


def global_names(program: Program) -> dict[Any, str]:
    """The arguments that point to global numbers."""
    return {v: f"{identifier(v.name or v.op, k)}_at" for k, v in enumerate(layout(program).globals)}


class Chunk:
    """The function of one variant of a pass."""

    def __init__(self, program: Program, number: int, taken: Taken, signature: Signature) -> None:
        self.program, self.signature = program, signature
        self.kernel = kernel(program, number, taken, signature.exact())
        self.walk = walk_of(program, number)
        self.layout = layout(program)
        self.sums = sums_of(program, number)
        self.fields = fields_of(program, number, signature)
        self.body = Body(signature.real, "[BLOCK]" if self.walk == FLAT else "[ROWS, COLUMNS]")
        self.env: dict[Any, str] = {}
        self.rule = ""

    @property
    def real(self) -> str:
        """The dtype of the arithmetic."""
        return REAL[self.signature.real]

    def lines(self) -> list[str]:
        """The body of the function."""
        self._prologue()
        if self.walk == FLAT:
            self._flat()
        else:
            self._by_rows()
        return self.body.lines

    # --- numbers --------------------------------------------------------------------------------

    def _prologue(self) -> None:
        """Host scalars, global and per-tensor values: once a chunk."""
        each, body = self.kernel, self.body
        drawn = [s for s in each.steps if s.value.kind == "random"]
        shared = [arg for _, args in each.shared for arg in args]
        wide = self._scalars([*shared, *(arg for s in drawn for arg in s.args[1:3])])
        double = body.wide()
        for value, args in each.shared:
            wide[value] = self._op(double, value, [wide.get(a, a) for a in args], args)
        body.back(double)
        for value, name in wide.items():
            self.env[value] = self._narrow(name, value)
        steps = [s for s in each.steps if s.value.extent == PER_TENSOR]
        self._keys(drawn, wide)
        self._steps(steps)

    def _scalars(self, in_double: Sequence[Any]) -> dict[Any, str]:
        """Read the numbers that the host, other passes and reductions left; some as doubles."""
        asked = dict.fromkeys(operands(self.kernel))
        stays = dict.fromkeys(v for v in in_double if isinstance(v, Value))
        named = global_names(self.program)
        places = {v: f"hosts + {k}" for k, v in enumerate(self.layout.hosts)}
        places |= {v: named[v] for v in self.layout.globals}
        places |= {v: f"known + {k}" for k, v in enumerate(self.layout.known)}
        wide: dict[Any, str] = {}
        for value, at in places.items():
            if value in stays or (value in asked and self.signature.real == "double"):
                wide[value] = self.body.let(value.name or value.op, f"tl.load({at})")
            elif value in asked:
                narrow = f"tl.load({at}).to(tl.float32)"
                self.env[value] = self.body.let(value.name or value.op, narrow)
        return wide

    def _narrow(self, name: str, value: Value) -> str:
        if self.signature.real == "double" or name in self.body.bits:
            return name
        return self.body.let(value.name or value.op, f"{name}.to(tl.float32)")

    def _keys(self, steps: Sequence[Any], wide: dict[Any, str]) -> None:
        """The keys of random draws: hashed once a chunk from seed, t, the tensor and the draw."""
        for step in steps:
            draw = int(dict(step.value.attrs)["draw"])
            draws = (draw, draw + 0x10000) if step.value.op == "normal" else (draw,)
            words = [wide[v] for v in step.args[1:3]]
            self.env["keys", step.value] = ", ".join(self._key(words, each) for each in draws)
        for name, _ in self.kernel.stores:
            storage = self.signature.of(name)
            if storage.rounding == "stochastic":
                behind = len(self.layout.hosts)  # the host scalars: the seed, then t
                words = [self.body.let(stem, f"tl.load(hosts + {behind + k})")
                         for k, stem in enumerate(("seed", "t"))]  # fmt: skip
                self.env["keys", name] = self._key(words, storage.draw)

    def _key(self, words: Sequence[str], draw: int) -> str:
        self.body.needs.add("key")
        seed, t = (f"{word}.to(tl.int64).to(tl.uint32)" for word in words)
        drawn = f"{draw & 0xFFFFFFFF}"
        return self.body.let("key", f"key({seed}, {t}, number.to(tl.uint32), {drawn})")

    # --- the walks ------------------------------------------------------------------------------

    def _flat(self) -> None:
        """A block of elements; where it is full and aligned, in accesses of 16 bytes."""
        body = self.body
        body.add("lane = tl.arange(0, BLOCK)")
        if "key" in body.needs:
            body.add("index = start + lane")
        pointers = [pointer(self.program, key) for key in self.fields]
        for name in pointers:
            body.add(f"{name} = {name} + lane")
        body.add("if FULL:")
        body.add("    inside = None")
        for name in pointers:
            body.add(f"    {name} = tl.max_contiguous(tl.multiple_of({name}, 16), BLOCK)")
        body.add("else:")
        body.add("    inside = lane < count")
        self._element(", mask=inside", "")
        made = {end: self._operand_of_sum(end, args) for end, args in self.kernel.sums}
        for k, end in enumerate(self.sums):
            total = self._of_block(end, made[end]) if end in made else "0.0"
            body.add(f"tl.store(partials + {k}, {total})")

    def _of_block(self, end: Value, x: str) -> str:
        """The sum or the largest of a block, in double precision."""
        body = self.body
        body.add("if not FULL:")
        body.add(f"    {x} = tl.where(inside, {x}, {self._nothing(end)})")
        return body.let("sum", f"{self._reduced(end, x, 0)}.to(tl.float64)")

    def _by_rows(self) -> None:
        """Whole rows, a block of columns at a time."""
        body = self.body
        body.add("row = start + tl.arange(0, ROWS)[:, None]")
        body.add("some = tl.arange(0, ROWS)[:, None] < count")
        body.add("lane = tl.arange(0, COLUMNS)[None, :]")
        self._row_numbers()
        across = [end for end, _ in self.kernel.sums if not over_rows(end)]
        sums = {end: body.fresh("sum") for end in across}
        for end, name in sums.items():
            body.add(f"{name} = tl.full([ROWS, COLUMNS], {self._start(end)}, {self.real})")
        body.add("for first in range(0, columns, COLUMNS):")
        body.depth += 1
        body.add("column = first + lane")
        body.add("inside = some & (column < columns)")
        body.add("index = row * columns + column")
        self._element(", mask=inside", " + index")
        for end, args in self.kernel.sums:
            self._accumulate(end, self._operand_of_sum(end, args), sums)
        body.depth -= 1
        for end, name in sums.items():
            at = pointer(self.program, ("row sums", end))
            made = body.let("made", f"{self._reduced(end, name, 1)}.to(tl.float64)[:, None]")
            body.add(f"tl.store({at} + row, {made}, mask=some)")
        if not (sums or self.kernel.sums or self.kernel.stores or self.kernel.handed):
            body.add("pass")

    def _accumulate(self, end: Value, x: str, sums: dict[Value, str]) -> None:
        """Join a block to the sums of its rows, or store those of its columns."""
        body = self.body
        x = body.let("counted", f"tl.where(inside, {x}, {self._nothing(end)})")
        if end not in sums:
            at = pointer(self.program, ("row sums", end))
            made = body.let("made", f"{self._reduced(end, x, 0)}[None, :]")
            body.add(f"tl.store({at} + ordinal * columns + column, {made}, mask=column < columns)")
        elif end.op in LARGEST:
            self.body.needs.add("larger")
            body.add(f"{sums[end]} = larger({sums[end]}, {x})")
        else:
            body.add(f"{sums[end]} = {sums[end]} + {x}")

    def _start(self, end: Value) -> str:
        return literal(float("-inf") if end.op in LARGEST else 0.0, "double")

    def _nothing(self, end: Value) -> str:
        return f"tl.full((), {self._start(end)}, {self.real})"

    def _reduced(self, end: Value, x: str, axis: int) -> str:
        if end.op in LARGEST:
            self.body.needs.add("largest")
            return f"largest({x}, {axis})"
        return f"tl.sum({x}, axis={axis})"

    def _operand_of_sum(self, end: Value, args: Sequence[Any]) -> str:
        body = self.body
        x = body.typed(self._operand(args[0]))
        if end.op in SQUARED or end.op == "dot":
            other = x if end.op in SQUARED else body.typed(self._operand(args[1]))
            return body.let("product", f"{x} * {other}")
        return body.let("part", x)

    # --- an element -----------------------------------------------------------------------------

    def _row_numbers(self) -> None:
        """Small values that are one number in a row."""
        places = {("n", "1"): "row", ("1", "1"): "row // matrix", FIRST: "row // slice"}
        for value in self.kernel.small:
            if value.extent in places:
                index = "row" if self.walk == REST else places[value.extent]
                self.env[value] = self._read_small(value, index, "some")

    def _read_small(self, value: Value, index: str, mask: str) -> str:
        at = pointer(self.program, value)
        return self.body.let(value.name or value.op, f"tl.load({at} + {index}, mask={mask})")

    def _element(self, mask: str, index: str) -> None:
        each, body = self.kernel, self.body
        for name, value in each.reads:
            storage = self.signature.of(name)
            at, low = pointer(self.program, name) + index, self._low(name) + index
            self.env[value] = load(body, storage, name, at, low, mask)
        for value in each.given:
            at = pointer(self.program, value) + index
            self.env[value] = body.let(value.name or value.op, f"tl.load({at}{mask})")
        for value in each.small:
            if value.extent == ("1", "m"):
                place = "(row // matrix) * columns + column"
                self.env[value] = self._read_small(value, place, "inside")
        self._steps([s for s in each.steps if s.value.extent == FULL])
        for end, position, value in each.handed:
            at = pointer(self.program, (end, position)) + index
            body.add(f"tl.store({at}, {body.typed(self._operand(value))}{mask})")
        new = [(name, body.typed(self._operand(value))) for name, value in each.stores]
        for name, value in new:
            at, low = pointer(self.program, name) + index, self._low(name) + index
            key = self.env.get(("keys", name), "")
            store(body, self.signature.of(name), at, low, value, mask, key)

    def _low(self, name: str) -> str:
        kahan = self.signature.of(name).rounding == "kahan"
        return pointer(self.program, name + LOW) if kahan else ""

    def _steps(self, steps: Sequence[Any]) -> None:
        for step in steps:
            if step.value.rule != self.rule:
                self.rule = step.value.rule
                self.body.add(f"# {comment(self.rule)}")
            if step.value.kind == "random":
                self.env[step.value] = self._draw(step.value)
            else:
                args = [
                    self._operand(a) for a in step.args[: 1 if step.value.op == "spread" else 9]
                ]
                self.env[step.value] = self._op(self.body, step.value, args, step.args)

    def _op(self, body: Body, value: Value, args: list[Any], operands: Sequence[Any]) -> str:
        op = value.op
        if op in ("and", "or") and value.extent == FULL:
            args = [self._spread(a, x) for a, x in zip(args, operands, strict=True)]
        if op == "lerp" and (not isinstance(operands[2], Value) or operands[2].extent == HOST):
            op = "lerp by number"
        return OPS[op](body, value.name or op, args)

    def _spread(self, name: Any, x: Any) -> Any:
        """A smaller condition as a block of numbers: the interpreter spreads no bare one."""
        if not isinstance(name, str) or not isinstance(x, Value) or x.extent == FULL:
            return name
        number = self.body.number(name)
        return self.body.let("spread", f"tl.broadcast_to({number}, {self.body.shape})")

    def _draw(self, value: Value) -> str:
        keys, double = self.env["keys", value], self.signature.real == "double"
        function = "normal_f64" if value.op == "normal" and double else value.op
        self.body.needs.add(function)
        more = f", {self.real}" if value.op == "uniform" else ""
        drawn = self.body.let(value.name or value.op, f"{function}(index, {keys}{more})")
        if value.op == "coin":
            self.body.bits.add(drawn)
        return drawn

    def _operand(self, x: Any) -> Any:
        if isinstance(x, Value) and x.op == "const" and x not in self.env:
            return x.attrs[0]
        return self.env[x] if isinstance(x, Value) else x
