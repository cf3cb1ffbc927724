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
from .exchange import Signature, pass_names, sums_of
from .triton_build import build, launch
from .triton_tables import DeviceTables
from .triton_text import render


@functools.cache
def compiled(program: Program, signature: Signature) -> dict[str, Any]:
    """A program's kernels by name; a device's code is made at their first launch."""
    return build(render(program, signature))


def prepare(batch: Batch) -> str:
    """Make or refresh the tables of a batch; returns why it cannot run here, or ''."""
    return running.prepare(batch, DeviceTables, compiled, False)


def run(batch: Batch, number: int) -> dict[Value, list[Tensor]]:
    """Run one pass; returns the partial sums of the totals that it computes."""
    plan: running.Plan[DeviceTables] = batch.memory["fused"]
    partial: dict[Value, list[Tensor]] = {}
    for tables, kernels, between in zip(plan.tables, plan.code, plan.between, strict=True):
        with _on(tables.device):
            for total, x in _run(batch, number, tables, kernels, between).items():
                partial.setdefault(total, []).append(x)
    if number == len(batch.program.passes) - 1:
        plan.close(batch)
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
    walk, finish = pass_names(batch.program, number)
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
