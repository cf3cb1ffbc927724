"""The fused engine on a GPU: a program's Triton kernels, run over tables that are kept.

Nothing is read back: sums and totals stay on the device, and so do hyper-parameters that are
tensors there. A pass is one launch, and one more where it sums.
"""

from __future__ import annotations

import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from ...program import Program
from ...tracing import Value
from ..batch import Batch
from . import running
from .between import Between
from .exchange import Signature, sums_of
from .triton_build import build, launch
from .triton_tables import DeviceTables
from .triton_text import kernel_names, render


@functools.cache
def compiled(program: Program, signature: Signature) -> dict[str, Any]:
    """A program's kernels by name; a device's code is made at their first launch."""
    return build(render(program, signature))


class Plan:
    """What is kept of a batch between steps: its tables, one for each signature."""

    def __init__(self, batch: Batch, tables: list[DeviceTables]) -> None:
        self.tables = tables
        self.kernels = [compiled(batch.program, each.signature) for each in tables]
        self.between: list[list[Between]] = []
        every = not batch.program.conditions  # else it is looked up at each step
        self.moved = running.moved(batch) if every else None


def prepare(batch: Batch) -> str:
    """Make or refresh the tables of a batch; returns why it cannot run here, or ''.

    Nothing is written to any tensor.
    """
    plan = batch.memory.get("fused")
    if plan is None or not all(tables.fits(batch) for tables in plan.tables):
        alike = running.sorted_by_signature(batch, False)
        why = alike if isinstance(alike, str) else running.unfit(batch)
        if why or isinstance(alike, str):
            return why
        made = [DeviceTables(batch, members, each) for each, members in alike.items()]
        plan = batch.memory["fused"] = Plan(batch, made)
    for tables in plan.tables:
        tables.numbers(batch)
        tables.fetch(batch)
    plan.between = [running.between(batch, tables) for tables in plan.tables]
    return ""


def run(batch: Batch, number: int) -> dict[Value, list[Tensor]]:
    """Run one pass; returns the partial sums of the totals that it computes."""
    plan: Plan = batch.memory["fused"]
    partial: dict[Value, list[Tensor]] = {}
    for tables, kernels, between in zip(plan.tables, plan.kernels, plan.between, strict=True):
        with _on(tables.device):
            for total, x in _run(batch, number, tables, kernels, between).items():
                partial.setdefault(total, []).append(x)
    if number == len(batch.program.passes) - 1:
        moved = running.moved(batch) if plan.moved is None else plan.moved
        running.close(batch, [*plan.tables], moved)
        plan.between = []
    return partial


def _on(device: torch.device) -> AbstractContextManager[Any]:
    """Launches go to the present device."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _run(
    batch: Batch,
    number: int,
    tables: DeviceTables,
    kernels: dict[str, Any],
    between: list[Between],
) -> dict[Value, Tensor]:
    handed = [running.before(each, number) for each in between]
    if running.hand_over(tables, between, handed, number):
        tables.at_hand = None
    totals = _launch(batch, number, tables, kernels)
    for each, made in zip(between, handed, strict=True):
        running.after(each, number, made, totals)
    return totals


def _launch(
    batch: Batch, number: int, tables: DeviceTables, kernels: dict[str, Any]
) -> dict[Value, Tensor]:
    """Run a pass over its chunks, then combine the sums of its chunks."""
    walk, finish = kernel_names(batch.program, number)
    if not walk:
        return {}
    sums, (entries, counts, chunks) = sums_of(batch.program, number), tables.entries(number)
    records, numbers = tables.on_device()
    double = functools.partial(torch.empty, dtype=torch.float64, device=tables.device)
    partials = double(max(1, chunks * len(sums)) if finish else 1)
    globals_ = tables.globals(batch)
    launch(kernels[walk], chunks, records, entries, numbers, partials, *globals_)
    if not finish:
        return {}
    totals = double(len(sums))
    more = any(end.kind == "total" for end in sums)
    launch(kernels[finish], len(tables) + more, records, counts, partials, totals)
    return {end: totals[k] for k, end in enumerate(sums) if end.kind == "total"}
