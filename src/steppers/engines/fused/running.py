"""What the fused engines do around their kernels, whatever the device."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from ...program import Program
from ...tracing import Value
from ..batch import Batch
from ..storage import LOW
from .between import Between
from .exchange import Signature, sums_of
from .kernel import FLAT, Taken, kernel, selection, variants, walk_of
from .tables import Tables, expanded, signature_of

T = TypeVar("T", bound=Tables)


class Plan(Generic[T]):
    """What is kept of a batch between steps: its tables, one for each signature, and their code."""

    def __init__(self, batch: Batch, tables: list[T], code: Callable[..., Any]) -> None:
        self.tables = tables
        self.code = [code(batch.program, each.signature) for each in tables]
        self.between: list[list[Between]] = []
        every = not batch.program.conditions  # else it is looked up at each step
        self.moved = _moved(batch) if every else None

    def close(self, batch: Batch) -> None:
        """Copy back what was stored into copies, and tell autograd which parameters changed."""
        stores = set(batch.program.stores)
        for each in self.tables:
            each.put_back(batch, stores | {name + LOW for name in stores})
        moved = _moved(batch) if self.moved is None else self.moved
        torch.autograd.graph.increment_version(moved)
        self.between = []


def prepare(batch: Batch, tables: type[T], code: Callable[..., Any], half: bool) -> str:
    """Make or refresh the tables of a batch; returns why it cannot run, or ''.

    Nothing is written to any tensor of the batch. `half`: the processor converts float16 itself.
    """
    plan: Plan[T] | None = batch.memory.get("fused")
    if plan is None or not all(each.fits(batch) for each in plan.tables):
        alike = sorted_by_signature(batch, half)
        if isinstance(alike, str):
            return alike
        if why := next(filter(None, (expanded(batch, i) for i in range(len(batch)))), ""):
            return why
        made = [tables(batch, members, signature) for signature, members in alike.items()]
        plan = batch.memory["fused"] = Plan(batch, made, code)
    for each in plan.tables:
        each.numbers(batch)
        each.fetch(batch)
    plan.between = [_between(batch, each) for each in plan.tables]
    return ""


def sorted_by_signature(batch: Batch, half: bool) -> dict[Signature, list[int]] | str:
    """The parameters of a batch that are stored alike; or why they cannot be run."""
    alike: dict[Signature, list[int]] = {}
    for i in range(len(batch)):
        signature = signature_of(batch, i, half)
        if isinstance(signature, str):
            return signature
        alike.setdefault(signature, []).append(i)
    return alike


@functools.cache
def _needs_torch(program: Program) -> bool:
    """True if some pass has small values, matrix ops or sums by rows."""
    for number in range(len(program.passes)):
        for taken in variants(program):
            chosen, each = selection(program, number, taken), kernel(program, number, taken)
            if walk_of(program, number) != FLAT or len(chosen.ends) > len(each.sums):
                return True
            if len(chosen.stores) > len(each.stores) or each.given or each.small:
                return True
    return False


def _between(batch: Batch, tables: Tables) -> list[Between]:
    """One for each row of host values, where torch has work between the kernels."""
    if not _needs_torch(batch.program):
        return []
    rows: dict[int, list[int]] = {}
    for k, i in enumerate(tables.members):
        rows.setdefault(batch.rows[i], []).append(k)
    return [Between(batch, tables, row, places) for row, places in rows.items()]


def before(each: Between, number: int) -> dict[Any, list[Tensor]]:
    """What torch makes for a pass, by field."""
    program, taken = each.batch.program, each.batch.taken(each.row)
    each.scalars(selection(program, number, taken))
    return each.prepare(kernel(program, number, taken))


def after(
    each: Between, number: int, made: dict[Any, list[Tensor]], totals: dict[Value, Tensor]
) -> None:
    """What torch does with a pass's results; adds to the totals."""
    program, taken = each.batch.program, each.batch.taken(each.row)
    chosen = selection(program, number, taken)
    for total, x in each.finish(number, chosen, kernel(program, number, taken), made).items():
        totals[total] = totals[total] + x if total in totals else x


def hand_over(
    tables: Tables, between: list[Between], handed: list[dict[Any, list[Tensor]]], number: int
) -> bool:
    """Put into the records where torch's values are, and where it wants some; true if any."""
    for each, made in zip(between, handed, strict=True):
        for key, column in made.items():
            word = tables.layout.field(key)
            for k, x in zip(each.places, column, strict=True):
                tables.records[k * tables.words + word] = x.data_ptr()
    by_rows = walk_of(tables.program, number) != FLAT
    for end in sums_of(tables.program, number) if by_rows else ():
        tables.write(("row sums", end), [x.data_ptr() for x in tables.buffers(number, end)])
    return by_rows or any(handed)


def _moved(batch: Batch) -> list[Tensor]:
    """The parameters that this step stores to, as far as conditions on the host tell."""
    stores = {row: _stores_p(batch.program, batch.taken(row)) for row in range(len(batch.hosts))}
    return [p for p, row in zip(batch.tensors["p"], batch.rows, strict=True)
            if stores[row] and not p.is_inference()]  # fmt: skip


@functools.cache
def _stores_p(program: Program, taken: Taken) -> bool:
    passes = range(len(program.passes))
    return any("p" in selection(program, number, taken).stores for number in passes)
