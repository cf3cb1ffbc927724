"""Addresses, chunks and numbers of some parameters of a batch, kept from step to step.

A step reads columns (the gradients and their addresses, dtypes and layouts) and writes what changed
into the table; what does not fit any more is found before anything is written.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from ...program import Program
from ...tracing import Value
from ..batch import Batch, compute_dtype
from ..storage import LOW
from .exchange import META, Signature, Storage, layout, over_rows, record_words, sums_of
from .kernel import FLAT, REST, kernel, variant_of, variants, walk_of

CHUNK = 1 << 15  # elements: four float32 arrays of it fit a core's second cache
ROWS = 64  # rows at least, where sums down the columns are kept for each chunk
CODES = {
    torch.float32: "f32", torch.float64: "f64", torch.bfloat16: "bf16", torch.float16: "f16",
}  # fmt: skip


class Column:
    """One tensor a parameter, and what was true of them when the tables were made."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.described = _described(tensors)
        self.addresses = [address(x) for x in tensors]
        self.guards = _guards(tensors)

    def like(self, tensors: Sequence[Tensor]) -> bool:
        """True if these have the same dtypes, devices, layouts, shapes and strides."""
        if self.guards is not None and self.guards.check(*tensors):
            return True
        return _described(tensors) == self.described


def _described(tensors: Sequence[Tensor]) -> list[Any]:
    return [(x.dtype, x.device, x.layout, x.shape, x.stride(), x.is_neg()) for x in tensors]


def _guards(tensors: Sequence[Tensor]) -> Any:
    """torch's own check of many tensors at once, in C++; None where this torch has another.

    It takes 16 us for 400 tensors, where four columns read in Python take 65.
    """
    try:
        private: Any = torch._C  # pyright: ignore[reportPrivateUsage]
        sizes, strides = [list(x.shape) for x in tensors], [list(x.stride()) for x in tensors]
        made = private._dynamo.guards.TensorGuards(
            *tensors, dynamic_dims_sizes=sizes, dynamic_dims_strides=strides
        )
        return made if made.check(*tensors) else None
    except (AttributeError, TypeError, RuntimeError, SystemError):
        return None


class Tables:
    """The parameters of a batch that are stored alike: one compiled program runs them."""

    chunk = CHUNK  # elements of a chunk in a flat walk

    def __init__(self, batch: Batch, members: list[int], signature: Signature) -> None:
        self.program, self.members, self.signature = batch.program, members, signature
        self.layout, self.words = layout(batch.program), record_words(batch.program)
        self.real = torch.float64 if signature.real == "double" else torch.float32
        params = [batch.tensors["p"][i] for i in members]
        self.device = params[0].device
        self.shapes = [p.shape for p in params]
        self.sizes = [p.numel() for p in params]
        self.records = array("q", bytes(8 * self.words * len(members)))
        known = len(members), max(1, len(self.layout.known))
        self.known = torch.zeros(known, dtype=torch.float64, device=self.device)
        self.chunks: dict[int, tuple[array[int], int]] = {}
        self.sums: dict[Any, list[Tensor]] = {}  # row sums: a buffer for each member
        self.staged: list[tuple[str, int, Tensor]] = []  # name, member, its copy
        self._rows: list[int] = []
        self._hosts: array[float] = array("d")
        self._variants: list[int] = []
        self._place(batch)
        self._describe(batch)

    def __len__(self) -> int:
        return len(self.members)

    # --- made once -----------------------------------------------------------------------------

    def _place(self, batch: Batch) -> None:
        """Put every tensor's address into the table; what is laid out otherwise gets a copy."""
        names = [n for n in self.layout.fields if isinstance(n, str) and n in batch.tensors]
        strict = needs_index(self.program, self.signature)
        plain = [_strides(batch.tensors["p"][i], strict) for i in self.members]
        for name in names:
            column = [batch.tensors[name][i] for i in self.members]
            for k, x in enumerate(column):
                if not _is_plain(x) or not _laid_out(x, plain[k]):
                    column[k] = torch.empty_strided(
                        self.shapes[k], plain[k], dtype=x.dtype, device=x.device
                    )
                    self.staged.append((name, k, column[k]))
            self.write(name, [x.data_ptr() for x in column])
        self.watched = {n: Column([batch.tensors[n][i] for i in self.members]) for n in names}

    def _describe(self, batch: Batch) -> None:
        """The words of the records that are no addresses of fields."""
        by_slices = REST in (walk_of(self.program, n) for n in range(len(self.program.passes)))
        ends = self.ends = [0, *accumulate(-(-size // self.chunk) for size in self.sizes)]
        for k, i in enumerate(self.members):
            shape, size = self.shapes[k], self.sizes[k]
            columns = shape[-1] if shape else 1
            if by_slices:
                columns = size // max(1, shape[0])
            rows = size // max(1, columns)
            meta = dict(
                row=0, variant=0, number=int(batch.numbers[i]), numel=size,
                first=ends[k], last=ends[k + 1], known=self.known[k].data_ptr(), columns=columns,
                matrix=max(1, shape[-2]) if len(shape) > 1 and not by_slices else 1,
                slice=max(1, rows // max(1, shape[0])) if shape else 1,
            )  # fmt: skip
            at = k * self.words
            self.records[at : at + len(META)] = array("q", [meta[key] for key in META])

    def table(self, number: int) -> tuple[int, int]:
        """The address and length of the table of chunks of a pass."""
        if number not in self.chunks:
            walk = walk_of(self.program, number)
            made = self._flat_chunks() if walk == FLAT else self._row_chunks(number)
            self.chunks[number] = array("q", [word for chunk in made for word in chunk]), len(made)
        words, count = self.chunks[number]
        return words.buffer_info()[0], count

    def _flat_chunks(self) -> list[tuple[int, int, int, int]]:
        return [
            (k, start, min(CHUNK, size - start), 0)
            for k, size in enumerate(self.sizes)
            for start in range(0, size, CHUNK)
        ]

    def _row_chunks(self, number: int) -> list[tuple[int, int, int, int]]:
        """Whole rows; where sums down the columns are made, rows of one matrix."""
        made: list[tuple[int, int, int, int]] = []
        down = self.down(number)
        for k, size in enumerate(self.sizes):
            columns, matrix = self.meta(k, "columns"), self.meta(k, "matrix")
            step, rows = self.rows_of(k, down), size // max(1, columns)
            span = matrix if down else max(1, rows)
            starts = [(r, min(step, first + span - r, rows - r)) for first in range(0, rows, span)
                      for r in range(first, first + span, step)]  # fmt: skip
            made += [(k, start, count, n) for n, (start, count) in enumerate(starts)]
        return made

    def rows_of(self, k: int, down: bool) -> int:
        """How many rows make a chunk."""
        columns = max(1, self.meta(k, "columns"))
        return max(ROWS if down else 1, CHUNK // columns)

    def down(self, number: int) -> bool:
        """True if the pass sums down the rows."""
        return any(over_rows(end) for end in sums_of(self.program, number))

    def meta(self, k: int, key: str) -> int:
        """A word of the k-th record."""
        return self.records[k * self.words + META.index(key)]

    def buffers(self, number: int, end: Value) -> list[Tensor]:
        """What each member's row sums go into: (rows,), or (chunks, columns) down the rows."""
        if (number, end) not in self.sums:
            made: list[Tensor] = []
            for k, size in enumerate(self.sizes):
                columns = max(1, self.meta(k, "columns"))
                rows = size // columns
                if over_rows(end):
                    matrix = self.meta(k, "matrix")
                    chunks = rows // matrix * -(-matrix // self.rows_of(k, True))
                    shape, kind = (chunks, columns), self.real
                else:
                    shape, kind = (rows,), torch.float64
                made.append(torch.empty(shape, dtype=kind, device=self.device))
            self.sums[number, end] = made
        return self.sums[number, end]

    # --- each step -----------------------------------------------------------------------------

    def fits(self, batch: Batch) -> bool:
        """True if p and g are still what the tables were made for; then their addresses are new."""
        try:
            return self._fits(batch)
        except RuntimeError:  # a sparse tensor has no address
            return False

    def _fits(self, batch: Batch) -> bool:
        if self.staged:
            return self._fits_staged(batch)
        whole = len(self.members) == len(batch)
        for name, column in self.watched.items():
            tensors = batch.tensors[name]
            now = tensors if whole else [tensors[i] for i in self.members]
            addresses = list(map(Tensor.data_ptr, now))
            moved = addresses != column.addresses
            if (moved or name in ("p", "g")) and not column.like(now):
                return False
            if moved:
                if 0 in addresses:
                    return False
                column.addresses = addresses
                self.write(name, addresses)
        return True

    def _fits_staged(self, batch: Batch) -> bool:
        """Copies are few and slow anyway: everything is looked at."""
        copied = {(name, k): copy for name, k, copy in self.staged}
        for name, column in self.watched.items():
            now = [batch.tensors[name][i] for i in self.members]
            if not column.like(now):
                return False
            addresses = [copied.get((name, k), x).data_ptr() for k, x in enumerate(now)]
            self.write(name, addresses)
        return True

    def write(self, key: Any, addresses: Sequence[int]) -> None:
        """Put the addresses of one field into all records."""
        at = self.layout.field(key)
        self.records[at :: self.words] = array("q", addresses)

    def meta_column(self, key: str, values: Sequence[int]) -> None:
        """Put one word into all records."""
        self.records[META.index(key) :: self.words] = array("q", values)

    def numbers(self, batch: Batch) -> None:
        """Fill in the host scalars of this step, and which variant each parameter takes."""
        whole = len(self.members) == len(batch)
        rows = batch.rows if whole else [batch.rows[i] for i in self.members]
        used = sorted(set(rows)) if len(batch.hosts) > 1 else rows[:1]
        hosts = array("d")
        variant: dict[int, int] = {}
        for row in used:
            values = batch.hosts[row]
            hosts.extend(float(values[v]) for v in self.layout.hosts)
            seed, t, _ = batch.draws[batch.rows.index(row)] if batch.draws else (0.0, 0.0, 0.0)
            hosts.extend((seed, t))
            variant[row] = variant_of(batch.taken(row))
        if len(hosts) == len(self._hosts) and self._hosts:
            memoryview(self._hosts)[:] = memoryview(hosts)
        else:
            self._hosts, self._rows = hosts, []
        if rows != self._rows:
            self._rows = rows
            base, width = self._hosts.buffer_info()[0], 8 * (len(self.layout.hosts) + 2)
            place = {row: base + n * width for n, row in enumerate(used)}
            self.meta_column("row", [place[row] for row in rows])
        chosen = [variant[row] for row in rows] if len(used) > 1 else [variant[used[0]]] * len(rows)
        if chosen != self._variants:
            self._variants = chosen
            self.meta_column("variant", chosen)

    def fetch(self, batch: Batch) -> None:
        """Copy in the slots of one number, and what is laid out otherwise."""
        for column, value in enumerate(self.layout.known):
            if value.is_input:
                slots = [batch.tensors[value.name][i] for i in self.members]
                self.known[:, column] = torch.stack(slots)
        for name, k, copy in self.staged:
            copy.copy_(batch.tensors[name][self.members[k]])

    def put_back(self, batch: Batch, names: set[str]) -> None:
        """Copy back what was stored into copies."""
        for name, k, copy in self.staged:
            if name in names:
                batch.tensors[name][self.members[k]].copy_(copy)


def needs_index(program: Program, signature: Signature) -> bool:
    """True if an element's place in its tensor matters: random words, rows and columns."""
    random = any(value.kind == "random" for value in program.values)
    stochastic = any(storage.rounding == "stochastic" for _, storage in signature.storage)
    flat = all(walk_of(program, number) == FLAT for number in range(len(program.passes)))
    moved = any(kernel(program, n, taken).handed or kernel(program, n, taken).given
                for n in range(len(program.passes)) for taken in variants(program))  # fmt: skip
    return random or stochastic or moved or not flat


def _strides(p: Tensor, contiguous: bool) -> tuple[int, ...]:
    """The layout of p, if its elements fill memory once and it may be any; else row-major."""
    if p.is_contiguous() or (is_dense(p) and not contiguous):
        return p.stride()
    return torch.empty(p.shape, device="meta").stride()


def address(x: Tensor) -> int:
    """Where a tensor's first element lies; 0 for one that has no memory of its own."""
    try:
        return x.data_ptr()
    except RuntimeError:  # a wrapper around other tensors
        return 0


def _is_plain(x: Tensor) -> bool:
    """True if what is at the address is the value: no wrapper, no zeros, no lazy negation."""
    return (x.numel() == 0 or address(x) != 0) and not x.is_neg()


def _laid_out(x: Tensor, strides: Sequence[int]) -> bool:
    """True if x has these strides, wherever an axis is longer than 1; or has no elements."""
    return x.numel() == 0 or all(
        n == 1 or a == b for a, b, n in zip(x.stride(), strides, x.shape, strict=True)
    )


def is_dense(x: Tensor) -> bool:
    """True if the elements fill a piece of memory, each once."""
    expected = 1
    for stride, size in sorted((s, n) for s, n in zip(x.stride(), x.shape, strict=True) if n != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def low_of(batch: Batch, name: str) -> bool:
    """True for the low part of what is stored as a pair; a slot may be called so as well."""
    format = batch.formats.get(name.removesuffix(LOW)) if name.endswith(LOW) else None
    return format is not None and format.rounding == "kahan"


def expanded(batch: Batch, i: int) -> str:
    """Why a store to the i-th parameter's tensors would not keep what it writes, or ''."""
    for name in batch.program.stores:
        x = batch.tensors[name][i]
        if 0 in x.stride() and x.numel() > 1 and not is_dense(x):
            return f"{name} is expanded: several of its elements are one in memory"
    return ""


def signature_of(batch: Batch, i: int, half: bool) -> Signature | str:
    """What the i-th parameter needs compiled; or why it cannot be."""
    p = batch.tensors["p"][i]
    found: list[tuple[str, Storage]] = []
    for name in layout(batch.program).fields:
        if not isinstance(name, str) or name not in batch.tensors:
            continue
        x = batch.tensors[name][i]
        if x.dtype not in CODES:
            return f"{name} is {x.dtype}"
        if x.device != p.device or x.layout != torch.strided:
            return f"{name} is on {x.device} and {x.layout}, its parameter on {p.device}"
        if x.shape != p.shape:
            return f"{name} has shape {tuple(x.shape)}, its parameter {tuple(p.shape)}"
        if low_of(batch, name):
            continue
        format = batch.formats.get(name)
        rounding = format.rounding if format else "nearest"
        found.append((name, Storage(CODES[x.dtype], rounding, format.draw if format else 0, half)))
    real = compute_dtype(p, batch.formats) == torch.float64
    return Signature("double" if real else "float", tuple(found))
