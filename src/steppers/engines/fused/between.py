"""What torch computes between the kernels: values of other shapes than p's, and matrix ops.

Rows, columns and square sides of matrices are small beside p; matrix ops are torch's own, batched
over matrices of one shape. Per-tensor numbers are vectors here, one element for each parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...passes import Selection
from ...tracing import GLOBAL, PER_TENSOR, Value
from ..batch import Batch, call, numeric
from ..foreach import batched
from ..storage import load, store
from .exchange import LARGEST, SQUARED, over_rows
from .kernel import FLAT, Kernel, full_slot, is_kernels, walk_of
from .tables import Tables

STEADY = 1024  # elements in a row of a sum: within one, torch's order does not depend on threads


class Between:
    """The values of one step for the members of `tables` that share a row of host values."""

    def __init__(self, batch: Batch, tables: Tables, row: int, places: list[int]) -> None:
        self.batch, self.tables, self.row, self.places = batch, tables, row, places
        self.members = [tables.members[k] for k in places]
        self.where = among(places, tables.device)
        self.env: dict[Value, Any] = {}

    def scalars(self, chosen: Selection) -> None:
        """Host and global values, as numbers in the dtype of the arithmetic."""
        self.env.update(self.batch.scalars(chosen, self.row, self.tables.real))
        self.steps = {step.value: step.args for step in chosen.steps}

    # --- evaluation ----------------------------------------------------------------------------

    def value(self, x: Any) -> Any:
        """A value: a number, a vector of per-tensor numbers, or a list of tensors."""
        if not isinstance(x, Value):
            return x
        if x not in self.env:
            self.env[x] = self._input(x) if x.is_input else self._computed(x)
        return self.env[x]

    def _input(self, x: Value) -> Any:
        if x.extent == PER_TENSOR:
            column = self.batch.tensors[x.name]
            return torch.stack([column[i] for i in self.members]).to(self.tables.real)
        return [load(self.batch, x.name, i) for i in self.members]

    def _computed(self, x: Value) -> Any:
        args = [self.value(arg) for arg in self.steps[x]]
        if x.extent == PER_TENSOR or not any(isinstance(a, list) for a in args):
            return call(x, args, self.tables.real)
        return self._each(x, args)

    def _each(self, x: Value, args: Sequence[Any]) -> list[Tensor]:
        """One op for each member; per-tensor numbers are one for each as well."""
        spread = [list(a.unbind()) if self._is_vector(a) else a for a in args]
        if x.kind == "matrix":
            return batched(x, spread)
        return [call(x, [a[k] if isinstance(a, list) else a for a in spread], self.tables.real)
                for k in range(len(self.places))]  # fmt: skip

    def _is_vector(self, x: Any) -> bool:
        return isinstance(x, Tensor) and x.ndim == 1

    # --- before a kernel -----------------------------------------------------------------------

    def prepare(self, each: Kernel) -> dict[Any, list[Tensor]]:
        """What the kernel reads that torch makes, by field."""
        found: dict[Any, list[Tensor]] = {}
        for value in (*each.small, *each.given):
            made = [numeric(x, self.tables.real).contiguous() for x in self.value(value)]
            self.env[value] = found[value] = made
        for end, position, _ in each.handed:
            shapes = (self.tables.shapes[k] for k in self.places)
            found[end, position] = [
                torch.empty(shape, dtype=self.tables.real, device=self.tables.device)
                for shape in shapes
            ]
        return found

    # --- after a kernel ------------------------------------------------------------------------

    def finish(
        self, number: int, chosen: Selection, each: Kernel, handed: dict[Any, list[Tensor]]
    ) -> dict[Value, Tensor]:
        """The rest of the pass: row sums, small ends and stores. Returns what totals add up."""
        totals: dict[Value, Tensor] = {}
        by_rows = walk_of(self.batch.program, number) != FLAT
        rows = {end for end, _ in each.sums if by_rows}
        for end, args in chosen.ends:
            if end in rows:
                self._take(end, self._summed(number, end), totals)
            elif not is_kernels(end, args):
                found = [handed.get((end, i)) or self.value(a) for i, a in enumerate(args)]
                self._take(end, self._end(end, found), totals)
            elif end.extent == PER_TENSOR:
                column = self.tables.layout.place[end]
                self.env[end] = self.tables.known[self.where, column].to(self.tables.real)
        self._store(chosen)
        return totals

    def _take(self, end: Value, made: Any, totals: dict[Value, Tensor]) -> None:
        """Keep what an end gave, where the next kernels and values look for it."""
        if end.extent == GLOBAL:
            totals[end] = made
            return
        self.env[end] = made
        if end.extent == PER_TENSOR:
            column = self.tables.layout.place[end]
            self.tables.known[self.where, column] = made.to(torch.float64)
            self.env[end] = made.to(self.tables.real)

    def _end(self, end: Value, args: Sequence[Any]) -> Any:
        """A reduction, total or matrix op of what is not shaped as p."""
        if end.extent == GLOBAL:
            return self._total(args[0])
        made = self._each(end, args)
        return torch.stack(made) if end.extent == PER_TENSOR else made

    def _total(self, x: Any) -> Tensor:
        """A sum over all members that have elements."""
        filled = [bool(self.tables.sizes[k]) for k in self.places]
        if isinstance(x, list):
            made = [t.sum(dtype=torch.float64) for t, some in zip(x, filled, strict=True) if some]
            nothing = torch.zeros((), dtype=torch.float64, device=self.tables.device)
            return torch.stack(made).sum() if made else nothing
        real, device = self.tables.real, self.tables.device
        numbers = x if self._is_vector(x) else torch.as_tensor(x, dtype=real, device=device)
        numbers = numbers.to(torch.float64).expand(len(filled))
        if all(filled):
            return steady_sum(numbers)
        some = [numbers[k] for k, each in enumerate(filled) if each]
        return steady_sum(torch.stack(some) if some else numbers[:0])

    def _summed(self, number: int, end: Value) -> Any:
        """A reduction of what is shaped as p from its row sums."""
        buffers = self.tables.buffers(number, end)
        made = [self._reduced(end, buffers[k], k) for k in self.places]
        if end.extent == GLOBAL:
            return torch.stack(made).sum()
        if end.extent == PER_TENSOR:
            return torch.stack(made)
        return [x.to(self.tables.real) for x in made]

    def _reduced(self, end: Value, sums: Tensor, k: int) -> Tensor:
        if self.tables.sizes[k] == 0:
            nothing = torch.zeros(self.tables.shapes[k], dtype=torch.float64, device=sums.device)
            return call(end, [nothing] * len(end.args))
        shape, over = self.tables.shapes[k], dict(end.attrs).get("over")
        lead, n = shape[:-2], self.tables.meta(k, "matrix")
        if over is None:
            result = self._joined(end, sums.view(1, -1)).view(())
        elif over == "columns":
            result = sums.view(*lead, n, 1)
        elif over == "rest":
            result = self._joined(end, sums.view(shape[0], -1)).view(-1, *[1] * (len(shape) - 1))
        elif over_rows(end):
            groups = sums.to(torch.float64).view(lead.numel(), -1, shape[-1])
            result = groups.amax(1) if end.op in LARGEST else groups.sum(1)
            result = result.view(*lead, 1, shape[-1])
        else:
            result = self._joined(end, sums.view(-1, n)).view(*lead, 1, 1)
        if end.op in ("mean", "rms"):
            result = result / (self.tables.sizes[k] / max(1, result.numel()))
        return result.sqrt() if end.op in SQUARED else result

    def _joined(self, end: Value, rows: Tensor) -> Tensor:
        """The sum or the largest of each row."""
        if end.op in LARGEST:
            return rows.amax(1) if rows.numel() else rows.sum(1) - torch.inf
        if rows.shape[1] <= STEADY or not rows.is_cpu:  # a device has one order
            return rows.sum(1)
        return torch.stack([steady_sum(row) for row in rows.unbind()]) if rows.shape[0] else rows

    def _store(self, chosen: Selection) -> None:
        """Write the slots that are not shaped as p; all new values are known before."""
        program = self.batch.program
        new = {n: self.value(v) for n, v in chosen.stores.items() if not full_slot(program, n)}
        for name, values in new.items():
            if self._is_vector(values):
                values = list(values.unbind())
            for k, i in enumerate(self.members):
                value = values[k] if isinstance(values, list) else values
                store(self.batch, name, i, value)


def among(places: Sequence[int], device: torch.device) -> slice | Tensor:
    """Places as an index that nothing waits for: a slice, else on the device."""
    if list(places) == list(range(places[0], places[0] + len(places))):
        return slice(places[0], places[0] + len(places))
    index = torch.tensor(places)
    return index if device.type == "cpu" else index.pin_memory().to(device, non_blocking=True)


def steady_sum(x: Tensor) -> Tensor:
    """The sum of a vector, the same for any number of threads."""
    while x.numel() > STEADY:
        short = -x.numel() % STEADY
        x = torch.nn.functional.pad(x, (0, short)).view(-1, STEADY).sum(1)
    return x.sum()
