"""A program as LLVM IR: for each pass a function that walks the chunks of all tensors.

It takes chunks from an atomic counter until none is left, so any number of threads may run it at
once. After the chunks, a `finish` function combines their sums in the order of the chunks.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

from ... import formulas
from ...program import Program
from ...tracing import Value
from . import prelude
from .exchange import (
    BYTES,
    LARGEST,
    META,
    SQUARED,
    Signature,
    fields_of,
    layout,
    over_rows,
    pass_names,
    record_words,
    sums_of,
)
from .kernel import FLAT, variants, walk_of
from .llvm_inner import LANES, Inner
from .llvm_ops import Body, literal


@functools.cache
def render(program: Program, signature: Signature) -> str:
    """The whole module; the same text for the same program, in any process."""
    functions: list[str] = []
    needs: set[str] = set()
    for number in range(len(program.passes)):
        for text, needed in _pass(program, number, signature):
            functions.append(text)
            needs |= needed
    text = "\n\n".join([prelude.text(sorted(needs)), *functions]) + "\n"
    text = _with_lanes(text, 16 if signature.real == "float" else 8)
    return f"{header(program, signature)}\n{text.lstrip()}"


def header(program: Program, signature: Signature, mark: str = "; ") -> str:
    """Comments that say what a source computes and how its tensors are stored."""
    rounded = {name: "" if storage.rounding == "nearest" else f" {storage.rounding}"
               for name, storage in signature.storage}  # fmt: skip
    stored = (f"{name} {storage.dtype}{rounded[name]}" for name, storage in signature.storage)
    last = formulas.comment_text(f"stored as {', '.join(stored)}; computed in {signature.real}")
    lines = [*formulas.header(program), last]
    return "".join(f"{mark}{line}".rstrip() + "\n" for line in lines)


def _with_lanes(text: str, width: int) -> str:
    """Give each loop that sums its metadata: 4 vectors of so many lanes, on any processor.

    So the bits of a sum depend neither on what else the loop computes nor on the processor.
    """
    loops = text.count(LANES)
    for loop in range(loops):
        text = text.replace(LANES, f"!{loop + 3}", 1)
    if not loops:
        return text
    text += '\n!0 = !{!"llvm.loop.vectorize.enable", i1 true}\n'
    text += f'!1 = !{{!"llvm.loop.vectorize.width", i32 {width}}}\n'
    text += '!2 = !{!"llvm.loop.interleave.count", i32 4}\n'
    nodes = (f"!{n} = distinct !{{!{n}, !0, !1, !2}}\n" for n in range(3, loops + 3))
    return text + "".join(nodes)


def _pass(program: Program, number: int, signature: Signature) -> Iterator[tuple[str, set[str]]]:
    walk, finish = pass_names(program, number)
    if not walk:
        return
    inner: dict[str, int] = {}  # text of a variant: its number
    cases: list[int] = []
    for taken in variants(program):
        made = Inner(program, number, taken, signature)
        text = made.text()
        if text not in inner:
            inner[text] = len(inner)
            yield text.replace("@VARIANT", f"@{walk}.{len(inner) - 1}"), made.body.needs
        cases.append(inner[text])
    yield _walk(program, number, cases, walk, signature), set()
    yield _shared(walk), set()
    if finish:
        yield _finish(program, number, finish), {"llvm.sqrt.f64", "llvm.maximum.f64"}


def _bytes(key: Any, signature: Signature) -> int:
    """The size of an element of a field."""
    if isinstance(key, str):
        return BYTES[signature.stored(key).dtype]
    return 4 if signature.real == "float" else 8


def _walk(
    program: Program, number: int, cases: Sequence[int], name: str, signature: Signature
) -> str:
    """Take chunks until none is left, find their pointers and call the variant's function."""
    body, flat = Body(signature.real), walk_of(program, number) == FLAT
    body.lines += [
        f"define void @{name}(ptr %counter, i64 %chunks, ptr %table, ptr %records, ptr %globals, "
        "ptr %partials) {",
        "entry:", "  br label %next", "next:",
    ]  # fmt: skip
    body.add("%chunk = atomicrmw add ptr %counter, i64 1 monotonic")
    body.add("%some = icmp slt i64 %chunk, %chunks")
    body.lines += ["  br i1 %some, label %work, label %done", "work:"]
    place = body.let("place", "mul i64 %chunk, 4")
    tensor, start, count, ordinal = (_entry(body, place, k) for k in range(4))
    record = body.let("record", f"mul i64 {tensor}, {record_words(program)}")
    words = {key: _word_of(body, record, k) for k, key in enumerate(META) if key in META_PASSED}
    hosts = body.let("hosts", f"inttoptr i64 {words['row']} to ptr")
    known = body.let("known", f"inttoptr i64 {words['known']} to ptr")
    shift = body.let("shift", f"mul i64 %chunk, {len(sums_of(program, number))}")
    mine = body.let("mine", f"getelementptr double, ptr %partials, i64 {shift}")
    args = [f"i64 {start}", f"i64 {count}", *(f"i64 {words[k]}" for k in META_COUNTS)]
    args += [f"ptr {hosts}", "ptr %globals", f"ptr {known}", f"ptr {mine}"]
    for key in fields_of(program, number, signature):
        address = _word_of(body, record, layout(program).field(key))
        size = _bytes(key, signature)
        if flat:
            offset = body.let("offset", f"mul i64 {start}, {size}")
            address = body.let("address", f"add i64 {address}, {offset}")
        elif isinstance(key, tuple) and isinstance(key[0], str) and over_rows(key[1]):
            behind = body.let("behind", f"mul i64 {ordinal}, {words['columns']}")
            offset = body.let("offset", f"mul i64 {behind}, {size}")
            address = body.let("address", f"add i64 {address}, {offset}")
        args.append("ptr " + body.let("pointer", f"inttoptr i64 {address} to ptr"))
    called = f"({', '.join(args)})"
    if len(set(cases)) == 1:
        body.lines += [f"  call void @{name}.{cases[0]}{called}", "  br label %next"]
    else:
        labels = " ".join(f"i64 {k}, label %case{case}" for k, case in enumerate(cases))
        body.add(f"switch i64 {words['variant']}, label %case{cases[0]} [ {labels} ]")
        for case in sorted(set(cases)):
            body.lines += [f"case{case}:", f"  call void @{name}.{case}{called}"]
            body.lines.append("  br label %next")
    body.lines += ["done:", "  ret void", "}"]
    return "\n".join(body.lines)


META_COUNTS = ("number", "columns", "matrix", "slice")
META_PASSED = ("row", "variant", "known", *META_COUNTS)


def _shared(name: str) -> str:
    """The walk as a function of one pointer, to its arguments: how thread libraries call."""
    body = Body("double")
    body.lines += [f"define void @{name}.shared(ptr %words) {{", "entry:"]
    words: list[str] = []
    for k in range(6):
        at = body.let("at", f"getelementptr i64, ptr %words, i64 {k}")
        words.append(body.let("word", f"load i64, ptr {at}"))
    kinds = ("ptr", "i64", "ptr", "ptr", "ptr", "ptr")
    args = [
        f"i64 {word}"
        if kind == "i64"
        else "ptr " + body.let("argument", f"inttoptr i64 {word} to ptr")
        for kind, word in zip(kinds, words, strict=True)
    ]
    body.lines += [f"  call void @{name}({', '.join(args)})", "  ret void", "}"]
    return "\n".join(body.lines)


def _entry(body: Body, place: str, k: int) -> str:
    at = body.let("at", f"add i64 {place}, {k}")
    pointer = body.let("at", f"getelementptr i64, ptr %table, i64 {at}")
    return body.let("entry", f"load i64, ptr {pointer}")


def _word_of(body: Body, record: str, k: int) -> str:
    at = body.let("at", f"add i64 {record}, {k}")
    pointer = body.let("at", f"getelementptr i64, ptr %records, i64 {at}")
    return body.let("word", f"load i64, ptr {pointer}")


def _finish(program: Program, number: int, name: str) -> str:
    """Combine the chunks' sums in order, in double precision, for each tensor and for all."""
    body, sums, known = Body("double"), sums_of(program, number), layout(program).place
    body.lines += [
        f"define void @{name}(i64 %tensors, ptr %records, ptr %partials, ptr %totals) {{",
        "entry:", "  br label %tensor", "tensor:",
    ]  # fmt: skip
    body.add("%t = phi i64 [ 0, %entry ], [ %t.next, %tensor.next ]")
    for n, end in enumerate(sums):
        if end.kind == "total":
            body.add(f"%all{n} = phi double [ 0.0, %entry ], [ %all{n}.next, %tensor.next ]")
    record = body.let("record", f"mul i64 %t, {record_words(program)}")
    words = {key: _word_of(body, record, META.index(key))
             for key in ("first", "last", "numel", "known")}  # fmt: skip
    count = body.let("count", f"sitofp i64 {words['numel']} to double")
    to = body.let("known", f"inttoptr i64 {words['known']} to ptr")
    body.add(f"%none = icmp sge i64 {words['first']}, {words['last']}")
    body.lines += ["  br i1 %none, label %tensor.next, label %chunk", "chunk:"]
    body.add(f"%c = phi i64 [ {words['first']}, %tensor ], [ %c.next, %chunk ]")
    starts = [literal(float("-inf") if end.op in LARGEST else 0.0, "double") for end in sums]
    for n in range(len(sums)):
        body.add(f"%sum{n} = phi double [ {starts[n]}, %tensor ], [ %sum{n}.next, %chunk ]")
    base = body.let("base", f"mul i64 %c, {len(sums)}")
    for n, end in enumerate(sums):
        at = body.let("at", f"add i64 {base}, {n}")
        pointer = body.let("at", f"getelementptr double, ptr %partials, i64 {at}")
        part = body.let("part", f"load double, ptr {pointer}")
        if end.op in LARGEST:
            body.needs.add("llvm.maximum.f64")
            joined = f"call double @llvm.maximum.f64(double %sum{n}, double {part})"
        else:
            joined = f"fadd double %sum{n}, {part}"
        body.add(f"%sum{n}.next = {joined}")
    body.add("%c.next = add nuw nsw i64 %c, 1")
    body.add(f"%c.more = icmp slt i64 %c.next, {words['last']}")
    body.lines += ["  br i1 %c.more, label %chunk, label %tensor.next", "tensor.next:"]
    for n in range(len(sums)):
        body.add(f"%total{n} = phi double [ {starts[n]}, %tensor ], [ %sum{n}.next, %chunk ]")
    for n, end in enumerate(sums):
        if end.kind == "total":
            body.add(f"%all{n}.next = fadd double %all{n}, %total{n}")
            pointer = body.let("at", f"getelementptr double, ptr %totals, i64 {n}")
            body.add(f"store double %all{n}.next, ptr {pointer}")
        else:
            value = finished(body, end, f"%total{n}", count)
            pointer = body.let("at", f"getelementptr double, ptr {to}, i64 {known[end]}")
            body.add(f"store double {value}, ptr {pointer}")
    body.add("%t.next = add nuw nsw i64 %t, 1")
    body.add("%t.more = icmp slt i64 %t.next, %tensors")
    body.lines += ["  br i1 %t.more, label %tensor, label %done", "done:", "  ret void", "}"]
    return "\n".join(body.lines)


def finished(body: Body, end: Value, total: str, count: str) -> str:
    """A tensor's reduction from its sum."""
    if end.op in ("mean", "rms"):
        total = body.let("mean", f"fdiv double {total}, {count}")
    return body.intrinsic("root", "sqrt", total, flags="") if end.op in SQUARED else total
