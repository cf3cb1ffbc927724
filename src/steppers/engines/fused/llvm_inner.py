"""One variant of a pass as an LLVM function over one chunk, whose pointers cannot alias.

A chunk is a run of elements, or of rows where a pass has values of other shapes than p's. Sums are
kept in registers and stored at the end of the chunk or row; sums down the rows are kept in memory.
"""

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
from .kernel import FLAT, REST, kernel, walk_of, wanted
from .llvm_ops import OPS, SUFFIX, Body, clean, literal
from .llvm_storage import load, store

ACCUMULATE = "reassoc nsz"
LANES = "!LANES"  # stands for a loop's own metadata, which `llvm_text` numbers


def pointer_name(shape: Any, key: Any) -> str:
    """The name of the pointer of a field: by name and number."""
    stem = clean(key) if isinstance(key, str) else "field"
    return f"{stem}.ptr{shape.field(key)}"


class Inner:
    """The function of one variant of a pass, over one chunk."""

    def __init__(
        self, program: Program, number: int, taken: tuple[bool | None, ...], signature: Signature
    ) -> None:
        self.program, self.number, self.signature = program, number, signature
        self.kernel = kernel(program, number, taken, signature.exact())
        self.walk = walk_of(program, number)
        self.layout = layout(program)
        self.sums = sums_of(program, number)
        self.body = Body(signature.real)
        self.env: dict[Any, Any] = {}
        self.rule = ""

    @property
    def real(self) -> str:
        return self.signature.real

    def text(self) -> str:
        args = [f"ptr noalias {self._pointer(key)}" for key in self.fields()]
        head = (
            "define internal void @VARIANT(i64 %start, i64 %count, i64 %number, i64 %columns, "
            "i64 %matrix, i64 %slice, ptr %hosts, ptr %globals, ptr %known, ptr noalias %partials"
            f"{''.join(', ' + a for a in args)}) {{"
        )
        self.body.lines += [head, "entry:"]
        self._prologue()
        if self.walk == FLAT:
            self._flat()
        else:
            self._by_rows()
        self.body.lines += ["  ret void", "}"]
        return "\n".join(self.body.lines)

    def fields(self) -> list[Any]:
        """The pointers that the pass takes, in the layout's order; the same for each variant."""
        return fields_of(self.program, self.number, self.signature)

    # numbers

    def _prologue(self) -> None:
        """Host scalars, global and per-tensor values: once a chunk."""
        each, body = self.kernel, self.body
        wide: dict[Any, str] = {}
        steps = [s for s in each.steps if s.value.extent == PER_TENSOR]
        rest = [s for s in each.steps if s.value.extent != PER_TENSOR]
        asked = dict.fromkeys(operands(self.kernel))
        for table, values in (("hosts", self.layout.hosts), ("globals", self.layout.globals),
                              ("known", self.layout.known)):  # fmt: skip
            for place, value in enumerate(values):
                if value in asked:
                    wide[value] = self._wide(table, place, value)
        double = Body("double")
        double.lines, double.needs, double.count = body.lines, body.needs, 10_000
        for value, args in each.shared:
            wide[value] = self._op(double, value, [wide.get(a, a) for a in args], args)
        body.bits |= double.bits
        for value, name in wide.items():
            self.env[value] = self._narrow(name, value)
        self._keys(rest, wide)
        self._steps(steps)

    def _wide(self, table: str, place: int, value: Value) -> str:
        at = self.body.let("at", f"getelementptr inbounds double, ptr %{table}, i64 {place}")
        return self.body.let(value.name or value.op, f"load double, ptr {at}")

    def _narrow(self, name: str, value: Value) -> str:
        if self.real == "double" or name in self.body.bits:
            return name
        return self.body.let(value.name or value.op, f"fptrunc double {name} to float")

    def _keys(self, steps: Sequence[Any], wide: dict[Any, str]) -> None:
        """The keys of random draws: hashed once a chunk from seed, t, the tensor and the draw."""
        for step in steps:
            if step.value.kind == "random":
                draw = int(dict(step.value.attrs)["draw"])
                draws = (draw, draw + 0x10000) if step.value.op == "normal" else (draw,)
                words = [self._word(wide[v]) for v in step.args[1:3]]
                self.env["keys", step.value] = ", ".join(
                    f"i32 {self._key(words, each)}" for each in draws
                )
        for name in [n for n, _ in self.kernel.stores]:
            storage = self.signature.of(name)
            if storage.rounding == "stochastic":
                words = [self._word(self._meta_double(k)) for k in ("seed", "t")]
                self.env["keys", name] = self._key(words, storage.draw)

    def _meta_double(self, which: str) -> str:
        """The seed or t of a row, which stand behind its host scalars."""
        place = len(self.layout.hosts) + ("seed", "t").index(which)
        at = self.body.let("at", f"getelementptr inbounds double, ptr %hosts, i64 {place}")
        return self.body.let(which, f"load double, ptr {at}")

    def _word(self, double: str) -> str:
        whole = self.body.let("whole", f"fptosi double {double} to i64")
        return self.body.let("word", f"trunc i64 {whole} to i32")

    def _key(self, words: list[str], draw: int) -> str:
        number = self.body.let("number", "trunc i64 %number to i32")
        signed = draw - (1 << 32) if draw >= 1 << 31 else draw
        args = [f"i32 {w}" for w in (*words, number, signed)]
        return self.body.call("key", "steppers.key", *args, result="i32")

    # the walks

    def _flat(self) -> None:
        body = self.body
        body.lines += ["  br label %loop", "loop:"]
        body.add("%i = phi i64 [ 0, %entry ], [ %i.next, %loop ]")
        sums = self._accumulators("loop", "entry")
        body.add("%index = add i64 %start, %i")
        self._element("%i")
        self._accumulate(sums)
        body.add("%i.next = add nuw nsw i64 %i, 1")
        body.add("%more = icmp slt i64 %i.next, %count")
        body.lines += [f"  br i1 %more, label %loop, label %done{self._lanes()}", "done:"]
        mine = {end for end, _ in self.kernel.sums}
        for n, end in enumerate(self.sums):
            if end in mine:
                self._store_sum(end, "%partials", str(n))
            else:  # the other side of a condition asked for it
                at = body.let("at", f"getelementptr inbounds double, ptr %partials, i64 {n}")
                body.add(f"store double 0.0, ptr {at}")

    def _by_rows(self) -> None:
        body = self.body
        self._clear_columns()
        before = body.lines[-1][:-1] if body.lines[-1].endswith(":") else "entry"
        body.lines += ["  br label %rows", "rows:"]
        body.add(f"%k = phi i64 [ 0, %{before} ], [ %k.next, %rows.next ]")
        body.add("%r = add i64 %start, %k")
        body.add("%offset = mul i64 %r, %columns")
        body.add("%b = udiv i64 %r, %matrix")
        body.add("%f = udiv i64 %r, %slice")
        self._row_numbers()
        body.lines += ["  br label %loop", "loop:"]
        body.add("%j = phi i64 [ 0, %rows ], [ %j.next, %loop ]")
        sums = self._accumulators("loop", "rows")
        body.add("%i = add i64 %offset, %j")
        body.add("%index = add i64 %i, 0")
        self._element("%i")
        self._accumulate(sums)
        body.add("%j.next = add nuw nsw i64 %j, 1")
        body.add("%more = icmp slt i64 %j.next, %columns")
        body.lines += [
            f"  br i1 %more, label %loop, label %rows.next{self._lanes()}", "rows.next:"
        ]  # fmt: skip
        for end, _ in self.kernel.sums:
            if not over_rows(end):
                self._store_sum(end, self._pointer(("row sums", end)), "%r")
        body.add("%k.next = add nuw nsw i64 %k, 1")
        body.add("%rows.more = icmp slt i64 %k.next, %count")
        body.lines += ["  br i1 %rows.more, label %rows, label %done", "done:"]

    def _clear_columns(self) -> None:
        """Sums over rows are kept in memory, one for each column, and start from nothing."""
        body = self.body
        for n, end in enumerate(e for e, _ in self.kernel.sums if over_rows(e)):
            pointer = self._pointer(("row sums", end))
            before = body.lines[-1][:-1] if body.lines[-1].endswith(":") else "entry"
            body.lines += [f"  br label %clear{n}", f"clear{n}:"]
            body.add(f"%c{n} = phi i64 [ 0, %{before} ], [ %c{n}.next, %clear{n} ]")
            at = body.let("at", f"getelementptr inbounds {self.real}, ptr {pointer}, i64 %c{n}")
            body.add(f"store {self.real} {self._nothing(end)}, ptr {at}")
            body.add(f"%c{n}.next = add nuw nsw i64 %c{n}, 1")
            body.add(f"%c{n}.more = icmp slt i64 %c{n}.next, %columns")
            body.lines += [
                f"  br i1 %c{n}.more, label %clear{n}, label %cleared{n}", f"cleared{n}:"
            ]  # fmt: skip

    def _row_numbers(self) -> None:
        """Small values that are one number in a row."""
        places = {("n", "1"): "%r", ("1", "1"): "%b", FIRST: "%f"}
        for value in self.kernel.small:
            if value.extent in places:
                index = "%r" if self.walk == REST else places[value.extent]
                self.env[value] = self._read_small(value, index)

    def _read_small(self, value: Value, index: str) -> str:
        pointer = self._pointer(value)
        at = self.body.let("at", f"getelementptr inbounds {self.real}, ptr {pointer}, i64 {index}")
        return self.body.let(value.name or value.op, f"load {self.real}, ptr {at}")

    def _lanes(self) -> str:
        """Where a sum is made, how many parts it is made in is not left to LLVM."""
        return f", !llvm.loop {LANES}" if self.kernel.sums else ""

    # an element

    def _element(self, i: str) -> None:
        each, body = self.kernel, self.body
        for name, value in each.reads:
            storage, at = self.signature.of(name), self._pointer(name)
            self.env[value] = load(body, storage, name, at, self._low(name), i)
        for value in each.given:
            self.env[value] = self._read_small(value, i)
        across = [v for v in each.small if v.extent == ("1", "m")]
        if across:
            row = body.let("row", "mul i64 %b, %columns")
            column = body.let("column", f"add i64 {row}, %j")
            for value in across:
                self.env[value] = self._read_small(value, column)
        self._steps([s for s in each.steps if s.value.extent == FULL])
        for end, position, value in each.handed:
            pointer = self._pointer((end, position))
            at = body.let("at", f"getelementptr inbounds {self.real}, ptr {pointer}, i64 {i}")
            body.add(f"store {self.real} {body.number(self._operand(value))}, ptr {at}")
        new = [(name, body.number(self._operand(value))) for name, value in each.stores]
        for name, value in new:
            storage, key = self.signature.of(name), self.env.get(("keys", name), "")
            store(body, storage, self._pointer(name), self._low(name), i, value, key)

    def _pointer(self, key: Any) -> str:
        return f"%{pointer_name(self.layout, key)}"

    def _low(self, name: str) -> str:
        kahan = self.signature.of(name).rounding == "kahan"
        return self._pointer(name + LOW) if kahan else ""

    def _steps(self, steps: Sequence[Any]) -> None:
        for step in steps:
            if step.value.rule != self.rule:
                self.rule = step.value.rule
                self.body.lines.append(f"  ; {clean(self.rule)}")
            if step.value.kind == "random":
                self.env[step.value] = self._draw(step.value)
            else:
                args = [self._operand(a) for a in wanted(step)]
                self.env[step.value] = self._op(self.body, step.value, args, step.args)

    def _op(self, body: Body, value: Value, args: list[Any], operands: Sequence[Any]) -> str:
        op = value.op
        if op == "lerp" and (not isinstance(operands[2], Value) or operands[2].extent == HOST):
            op = "lerp by number"
        return OPS[op](body, value.name or op, args)

    def _draw(self, value: Value) -> str:
        index = self.body.let("element", "trunc i64 %index to i32")
        keys = self.env["keys", value]
        function = f"steppers.{value.op}" + ("" if value.op == "coin" else f".{SUFFIX[self.real]}")
        result = "i1" if value.op == "coin" else self.real
        name = self.body.call(value.name or value.op, function, f"i32 {index}", keys, result=result)
        if value.op == "coin":
            self.body.bits.add(name)
        return name

    def _operand(self, x: Any) -> Any:
        if isinstance(x, Value) and x.op == "const" and x not in self.env:
            return x.attrs[0]
        return self.env[x] if isinstance(x, Value) else x

    # sums

    def _nothing(self, end: Value) -> str:
        return literal(float("-inf") if end.op in LARGEST else 0.0, self.real)

    def _accumulators(self, loop: str, before: str) -> dict[Value, str]:
        found: dict[Value, str] = {}
        for n, (end, _) in enumerate(self.kernel.sums):
            if not over_rows(end):
                found[end] = f"%sum{n}"
                start = self._nothing(end)
                self.body.add(
                    f"%sum{n} = phi {self.real} [ {start}, %{before} ], [ %sum{n}.next, %{loop} ]"
                )
        return found

    def _accumulate(self, sums: dict[Value, str]) -> None:
        for end, args in self.kernel.sums:
            body = self.body
            x = body.number(self._operand(args[0]))
            if end.op in SQUARED or end.op == "dot":
                other = x if end.op in SQUARED else body.number(self._operand(args[1]))
                x = body.let("product", f"fmul {self.real} {x}, {other}")
            if end in sums:
                body.add(f"{sums[end]}.next = {self._joined(end, sums[end], x)}")
            else:
                pointer = self._pointer(("row sums", end))
                at = body.let("at", f"getelementptr inbounds {self.real}, ptr {pointer}, i64 %j")
                old = body.let("old", f"load {self.real}, ptr {at}")
                new = body.let("new", self._joined(end, old, x))
                body.add(f"store {self.real} {new}, ptr {at}")

    def _joined(self, end: Value, old: str, x: str) -> str:
        if end.op in LARGEST:
            self.body.needs.add(f"llvm.maximum.{SUFFIX[self.real]}")
            word = f"@llvm.maximum.{SUFFIX[self.real]}"
            return f"call {self.real} {word}({self.real} {old}, {self.real} {x})"
        return f"fadd {ACCUMULATE} {self.real} {old}, {x}"

    def _store_sum(self, end: Value, pointer: str, index: str) -> None:
        n = {e: k for k, (e, _) in enumerate(self.kernel.sums)}[end]
        body, wide = self.body, f"%sum{n}.next"
        if self.real == "float":
            wide = body.let("sum", f"fpext float {wide} to double")
        at = body.let("at", f"getelementptr inbounds double, ptr {pointer}, i64 {index}")
        body.add(f"store double {wide}, ptr {at}")
