"""The tables of a batch on a device: addresses and numbers go up once a step, chunks once."""

from __future__ import annotations

import itertools
from array import array
from typing import Any

import torch
from torch import Tensor

from ...tracing import Value
from ..batch import Batch
from .exchange import Signature
from .kernel import FLAT, variant_of, variants, walk_of
from .tables import Tables
from .triton_chunk import BLOCK, ROWS


class DeviceTables(Tables):
    """Parameters that are stored alike, with their chunks on the device."""

    chunk = BLOCK

    def __init__(self, batch: Batch, members: list[int], signature: Signature) -> None:
        self._entries: dict[int, tuple[Tensor, Tensor]] = {}
        self._numbers: array[float] = array("d")
        self._late: list[tuple[int, Tensor]] = []  # numbers that only the device knows
        self._kept: dict[Value, int] = {}  # where the numbers hold kept scalars
        self.at_hand: tuple[Tensor, Tensor] | None = None  # records and numbers on the device
        super().__init__(batch, members, signature)

    # --- made once -----------------------------------------------------------------------------

    def rows_of(self, k: int, down: bool) -> int:
        return ROWS

    def entries(self, number: int) -> tuple[Tensor, Tensor, int]:
        """The chunks of a pass on the device, [tensors, chunks] there, and how many there are."""
        if number not in self._entries:
            flat = walk_of(self.program, number) == FLAT
            made = self._flat_entries() if flat else self._row_entries(number)
            counts = torch.tensor([len(self), len(made)])
            self._entries[number] = uploaded(made, self.device), uploaded(counts, self.device)
        entries, counts = self._entries[number]
        return entries, counts, len(entries)

    def _flat_entries(self) -> Tensor:
        ends, sizes = torch.tensor(self.ends), torch.tensor(self.sizes)
        tensor = torch.arange(len(self)).repeat_interleave(ends.diff())
        start = (torch.arange(self.ends[-1]) - ends[tensor]) * BLOCK
        count = torch.minimum(sizes[tensor] - start, torch.tensor(BLOCK))
        return torch.stack([tensor, start, count, torch.zeros_like(start)], 1)

    def _row_entries(self, number: int) -> Tensor:
        return torch.tensor(self._row_chunks(number), dtype=torch.int64).view(-1, 4)

    # --- each step -----------------------------------------------------------------------------

    def numbers(self, batch: Batch) -> None:
        """Collect the host scalars of this step, and which variant each parameter takes."""
        whole = len(self.members) == len(batch)
        rows = batch.rows if whole else [batch.rows[i] for i in self.members]
        used = sorted(set(rows)) if len(batch.hosts) > 1 else rows[:1]
        self._numbers, self._late = array("d"), []
        place: dict[int, int] = {}
        variant: dict[int, int] = {}
        for row in used:
            place[row] = len(self._numbers)
            variant[row] = self._variant(batch.taken(row))
            draw = batch.draws[batch.rows.index(row)] if batch.draws else (0.0, 0.0)
            for x in (*(batch.hosts[row][v] for v in self.layout.hosts), *draw[:2]):
                self._number(x)
        self.meta_column("row", [place[row] for row in rows])
        self.meta_column("variant", [variant[row] for row in rows])
        self._keep(batch)
        self.at_hand = None

    def _variant(self, taken: tuple[bool | None, ...]) -> int:
        return len(variants(self.program)) if None in taken else variant_of(taken)

    def _number(self, x: Any) -> None:
        """Add a number; one that is on the device is put in there."""
        if self._is_there(x):
            self._late.append((len(self._numbers), x))
        self._numbers.append(0.0 if self._is_there(x) else float(x))

    def _is_there(self, x: Any) -> bool:
        return isinstance(x, Tensor) and x.device == self.device

    def _keep(self, batch: Batch) -> None:
        """Kept scalars: numbers go up with the others, tensors are read where they are."""
        self._kept = {}
        for name, x in batch.kept.items():
            if name in batch.program.inputs and not self._is_there(x):
                self._kept[batch.program.inputs[name]] = len(self._numbers)
                self._number(x)

    def on_device(self) -> tuple[Tensor, Tensor]:
        """Records and numbers on the device, in one upload from memory that nothing else uses."""
        if self.at_hand is None:
            places = array("q", [place for place, _ in self._late])
            parts = [torch.frombuffer(x, dtype=torch.int64)
                     for x in (self.records, self._numbers, places) if x]  # fmt: skip
            ends = [0, *itertools.accumulate(map(len, (self.records, self._numbers, places)))]
            words = torch.empty(ends[-1], dtype=torch.int64, pin_memory=self.device.type == "cuda")
            torch.cat(parts, out=words)
            words = words.to(self.device, non_blocking=True)
            numbers = words[ends[1] : ends[2]].view(torch.float64)
            if self._late:
                values = torch.stack([x.detach().to(torch.float64).view(()) for _, x in self._late])
                numbers.index_copy_(0, words[ends[2] :], values)
            self.at_hand = words[: ends[1]], numbers
        return self.at_hand

    def globals(self, batch: Batch) -> list[Tensor]:
        """A number on the device for each global value; any, where that is not known yet."""
        _, numbers = self.on_device()
        inputs = batch.program.inputs
        there = {inputs[name]: x for name, x in batch.kept.items() if name in inputs}
        there = {value: x for value, x in there.items() if self._is_there(x)} | batch.totals
        return [there[value].to(self.device, torch.float64) if value in there
                else numbers[self._kept.get(value, 0) :]
                for value in self.layout.globals]  # fmt: skip


def uploaded(x: Tensor, device: torch.device) -> Tensor:
    """x on the device; nothing waits for it."""
    return x if device.type == "cpu" else x.pin_memory().to(device, non_blocking=True)
