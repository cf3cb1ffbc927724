"""The fused engine on a CPU: compiled once a program, run over kept tables at every step."""

from __future__ import annotations

import functools
from array import array
from typing import Any

import torch
from torch import Tensor

from ...program import Program
from ...tracing import Value
from ..batch import Batch
from . import running
from .between import Between
from .exchange import Signature, pass_names, sums_of
from .llvm_build import Module, build, converts_halves
from .llvm_text import render
from .tables import Tables
from .threads import together

ALONE = 1 << 16  # elements that one thread runs: waking another costs as much


@functools.cache
def compiled(program: Program, signature: Signature) -> Module:
    """A program's functions in memory."""
    return build(render(program, signature))


def prepare(batch: Batch) -> str:
    """Make or refresh the tables of a batch; returns why it cannot run here, or ''."""
    return running.prepare(batch, Tables, compiled, converts_halves())


def run(batch: Batch, number: int) -> dict[Value, list[Tensor]]:
    """Run one pass; returns the partial sums of the totals that it computes."""
    plan: running.Plan[Tables] = batch.memory["fused"]
    partial: dict[Value, list[Tensor]] = {}
    globals_ = _globals(batch, plan.tables[0]) if plan.tables else array("d")
    for tables, module, between in zip(plan.tables, plan.code, plan.between, strict=True):
        for total, x in _run(batch, number, tables, module, between, globals_).items():
            partial.setdefault(total, []).append(x)
    if number == len(batch.program.passes) - 1:
        plan.close(batch)
    return partial


def _globals(batch: Batch, tables: Tables) -> array[float]:
    """Totals and kept scalars, as doubles; those that are not known yet are not read yet."""
    kept = {batch.program.inputs[n]: x for n, x in batch.kept.items() if n in batch.program.inputs}
    known: dict[Value, Any] = {**kept, **batch.totals}
    values = (float(known.get(value, 0.0)) for value in tables.layout.globals)
    return array("d", [*values, 0.0])


def _run(
    batch: Batch,
    number: int,
    tables: Tables,
    module: Module,
    between: list[Between],
    globals_: array[float],
) -> dict[Value, Tensor]:
    handed = [running.before(each, number) for each in between]
    running.hand_over(tables, between, handed, number)
    totals = _launch(tables, module, number, globals_)
    for each, made in zip(between, handed, strict=True):
        running.after(each, number, made, totals)
    return totals


def _launch(
    tables: Tables, module: Module, number: int, globals_: array[float]
) -> dict[Value, Tensor]:
    """Run a pass over its chunks in all threads, then combine the sums of its chunks."""
    walk, finish = pass_names(tables.program, number)
    if not walk:
        return {}
    table, count = tables.table(number)
    sums = sums_of(tables.program, number) if finish else []
    counter, partials = array("q", [0]), array("d", bytes(8 * max(1, count * len(sums))))
    records, partial = tables.records.buffer_info()[0], partials.buffer_info()[0]
    at = counter.buffer_info()[0], count, table, records, globals_.buffer_info()[0], partial
    threads = 1 if sum(tables.sizes) <= ALONE else count
    call = functools.partial(module.function(walk, 6), *at)
    together(call, module.address(f"{walk}.shared"), array("q", at), threads)
    if not finish:
        return {}
    totals = torch.zeros(len(sums), dtype=torch.float64, device="cpu")
    module.function(finish, 4)(len(tables), records, partial, totals.data_ptr())
    return {end: totals[k] for k, end in enumerate(sums) if end.kind == "total"}
