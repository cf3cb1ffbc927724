"""A program as Triton source: one kernel a pass, of which each instance walks one chunk.

A variant of a pass is a function of its own, and the kernel branches to it by a word of the
tensor's record. A chunk that is full, of tensors that all begin at a multiple of 16 bytes, takes
the branch without masks. After a pass that sums, a `finish` kernel combines the sums of the chunks.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Any

from ...program import Program
from ...tracing import Value
from . import triton_prelude
from .exchange import (
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
from .kernel import FLAT, Taken, variants, walk_of
from .triton_chunk import BLOCK, COLUMNS, NUMBERS, ROWS, Chunk, global_names, pointer
from .triton_ops import comment
from .triton_storage import TYPE

LANES = 2048  # sums of chunks that are added at a time
HEAD = f"""\
import triton
import triton.language as tl
from triton.language.extra import libdevice

BLOCK = tl.constexpr({BLOCK})
ROWS = tl.constexpr({ROWS})
COLUMNS = tl.constexpr({COLUMNS})
LANES = tl.constexpr({LANES})
"""


def cases(program: Program) -> list[Taken]:
    """The variants of a kernel; the last leaves all conditions to the device."""
    undecided = [(None,) * len(program.conditions)] if program.conditions else []
    return [*variants(program), *undecided]


@functools.cache
def render(program: Program, signature: Signature) -> str:
    """The whole module; the same text for the same program, in any process."""
    functions: list[str] = []
    needs: set[str] = set()
    for number in range(len(program.passes)):
        for text, needed in _pass(program, number, signature):
            functions.append(text)
            needs |= needed
    rules = dict.fromkeys(v.rule for v in program.values if not v.is_input)
    chain = f"# {comment(program.name)}: {', '.join(map(comment, rules))}\n"
    prelude = triton_prelude.text(sorted(needs))
    return "\n\n".join(part for part in (chain + HEAD, prelude, *functions) if part).rstrip() + "\n"


def _pass(program: Program, number: int, signature: Signature) -> Iterator[tuple[str, set[str]]]:
    walk, finish = pass_names(program, number)
    if not walk:
        return
    known: dict[str, int] = {}  # text of a variant: its number
    chosen: list[int] = []
    needs: set[str] = set()
    for taken in cases(program):
        chunk = Chunk(program, number, taken, signature)
        text = "\n".join(chunk.lines())
        known.setdefault(text, len(known))
        chosen.append(known[text])
        needs |= chunk.body.needs
    used = arguments(program, number, signature, list(known))
    full = ["FULL: tl.constexpr"] if walk_of(program, number) == FLAT else []
    for text, case in known.items():
        head = ["@triton.jit", f"def {walk}_{case}({', '.join([*used, *full])}):"]
        yield "\n".join([*head, text]), needs
    yield _walk(program, number, chosen, walk, signature, used), set()
    if finish:
        largest = any(end.op in LARGEST for end in sums_of(program, number))
        yield _finish(program, number, finish), {"larger", "largest"} if largest else set()


def arguments(program: Program, number: int, signature: Signature, texts: list[str]) -> list[str]:
    """What the functions of the variants take: the same for each, and nothing that none uses."""
    found = set(re.findall(r"\w+", "\n".join(texts)))
    numbers = [name for name in (*NUMBERS, *global_names(program).values()) if name in found]
    return numbers + [pointer(program, key) for key in fields_of(program, number, signature)]


def pass_arguments(program: Program) -> list[str]:
    """The arguments of a pass's kernel, all of them pointers: to int64, but for these doubles."""
    return ["records", "chunks", "hosts", "partials", *global_names(program).values()]


def _kernel(name: str, arguments: list[str]) -> list[str]:
    """The head of a kernel: nothing about its arguments is compiled in."""
    names = ", ".join(f'"{each}"' for each in arguments)
    return [f"@triton.jit(do_not_specialize=[{names}])", f"def {name}({', '.join(arguments)}):"]


def _walk(
    program: Program,
    number: int,
    chosen: list[int],
    name: str,
    signature: Signature,
    used: list[str],
) -> str:
    """Find the chunk, its tensor and its pointers, and call the variant's function."""
    flat = walk_of(program, number) == FLAT
    lines = [
        "chunk = tl.program_id(0).to(tl.int64)",
        "start = tl.load(chunks + chunk * 4 + 1)",
        "count = tl.load(chunks + chunk * 4 + 2)",
        f"record = records + tl.load(chunks + chunk * 4) * {record_words(program)}",
    ]
    words = {k: f"tl.load(record + {place})" for place, k in enumerate(META)}
    made = {k: words[k] for k in ("number", "columns", "matrix", "slice")}
    made["ordinal"] = "tl.load(chunks + chunk * 4 + 3)"
    made["hosts"] = f"hosts + {words['row']}"
    made["known"] = f"{words['known']}.to(tl.pointer_type(tl.float64))"
    made["partials"] = f"partials + chunk * {len(sums_of(program, number))}"
    lines += [f"{name} = {text}" for name, text in made.items() if name in used]
    keys = fields_of(program, number, signature)
    pointers = [pointer(program, key) for key in keys]
    for key, at in zip(keys, pointers, strict=True):
        lines.append(f"{at} = tl.load(record + {layout(program).field(key)})")
    if flat:
        aligned = " | ".join(pointers) or "start"
        lines.append(f"full = (count == BLOCK) & ((({aligned}) & 15) == 0)")
    for key, at in zip(keys, pointers, strict=True):
        begin = " + start" if flat else ""
        lines.append(f"{at} = {at}.to(tl.pointer_type({_type(key, signature)})){begin}")
    calls = {case: _call(f"{name}_{case}({', '.join(used)}", flat) for case in sorted(set(chosen))}
    lines += _branch(chosen, calls, words["variant"])
    return "\n".join([*_kernel(name, pass_arguments(program)), *(f"    {x}" for x in lines)])


def _call(call: str, flat: bool) -> list[str]:
    if not flat:
        return [f"{call})"]
    return ["if full:", f"    {call}, True)", "else:", f"    {call}, False)"]


def _branch(chosen: list[int], calls: dict[int, list[str]], variant: str) -> list[str]:
    """The call for each variant; the branch is the same for a whole chunk."""
    if len(calls) == 1:
        return calls[chosen[0]]
    lines = [f"variant = {variant}"]
    for case, call in calls.items():
        tests = [f"(variant == {k})" for k, each in enumerate(chosen) if each == case]
        lines += [f"if {' | '.join(tests)}:", *(f"    {line}" for line in call)]
    return lines


def _type(key: Any, signature: Signature) -> str:
    """The dtype of the elements of a field."""
    real = "tl.float64" if signature.real == "double" else "tl.float32"
    if isinstance(key, str):
        return TYPE[signature.stored(key).dtype]
    sums = isinstance(key, tuple) and isinstance(key[0], str)  # the == of values is traced
    return "tl.float64" if sums and not over_rows(key[1]) else real


# --- the sums of the chunks ---------------------------------------------------------------------


def _finish(program: Program, number: int, name: str) -> str:
    """One instance for each tensor, and one more for what is summed over all of them."""
    sums = sums_of(program, number)
    lines = ["tensor = tl.program_id(0).to(tl.int64)", "lane = tl.arange(0, LANES)"]
    if any(end.kind != "total" for end in sums):
        lines += ["if tensor < tl.load(tensors):", *(f"    {x}" for x in _own(program, number))]
    if any(end.kind == "total" for end in sums):
        lines += ["if tensor == tl.load(tensors):", *(f"    {x}" for x in _all(program, number))]
    head = _kernel(name, ["records", "tensors", "partials", "totals"])
    return "\n".join([*head, *(f"    {x}" for x in lines)])


def _own(program: Program, number: int) -> list[str]:
    """The reductions of one tensor from those of its chunks."""
    names = ("first", "last", "numel", "known")
    words = {k: f"tl.load(record + {META.index(k)})" for k in names}
    lines = [
        f"record = records + tensor * {record_words(program)}",
        f"first = {words['first']}",
        f"last = {words['last']}",
        f"numel = {words['numel']}.to(tl.float64)",
        f"known = {words['known']}.to(tl.pointer_type(tl.float64))",
    ]
    for k, end in enumerate(sums_of(program, number)):
        if end.kind != "total":
            place = layout(program).place[end]
            lines += [*_joined(program, number, k, "first", "last"), *_finished(end, k)]
            lines.append(f"tl.store(known + {place}, made_{k})")
    return lines


def _all(program: Program, number: int) -> list[str]:
    """What is summed over all tensors, from all chunks."""
    lines = ["every = tl.load(tensors + 1)"]
    for k, end in enumerate(sums_of(program, number)):
        if end.kind == "total":
            lines += [
                *_joined(program, number, k, "0", "every"),
                f"tl.store(totals + {k}, made_{k})",
            ]
    return lines


def _joined(program: Program, number: int, k: int, first: str, last: str) -> list[str]:
    """The sum of the k-th numbers of some chunks, in an order that is always the same."""
    sums = sums_of(program, number)
    largest = sums[k].op in LARGEST
    start = 'float("-inf")' if largest else "0.0"
    place = f"partials + (at + lane) * {len(sums)} + {k}"
    joined = f"larger(lanes_{k}, part)" if largest else f"lanes_{k} + part"
    return [
        f"lanes_{k} = tl.full([LANES], {start}, tl.float64)",
        f"for at in range({first}, {last}, LANES):",
        f"    part = tl.load({place}, mask=at + lane < {last}, other={start})",
        f"    lanes_{k} = {joined}",
        f"made_{k} = largest(lanes_{k}, 0)" if largest else f"made_{k} = tl.sum(lanes_{k}, axis=0)",
    ]


def _finished(end: Value, k: int) -> list[str]:
    """A tensor's reduction from its sum."""
    mean = [f"made_{k} = made_{k} / numel"] if end.op in ("mean", "rms") else []
    return [*mean, *([f"made_{k} = tl.sqrt(made_{k})"] if end.op in SQUARED else [])]
