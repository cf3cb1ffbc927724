"""Running all batches of a step together: piece by piece, each total complete before it is read."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ..passes import Pass, Taken, resolve
from ..program import Program
from ..tracing import Value
from . import foreach, loop
from .batch import Batch, call, operand

PROCESS = os.getpid()  # a fork of it has lost the threads that torch computes in


class Unfit(Exception):
    """The tensors of a batch are not what a fused engine takes; nothing was changed."""


def _kernels(batch: Batch) -> ModuleType:
    """Who generates and runs a batch's kernels, by where its parameters are."""
    if any(p.is_cuda for p in batch.tensors["p"][:1]):
        from .fused import gpu

        return gpu
    from .fused import cpu

    return cpu


def _run_kernels(batch: Batch, number: int) -> dict[Value, list[Tensor]]:
    return _kernels(batch).run(batch, number)


RUNNERS: dict[str, Callable[[Batch, int], dict[Value, list[Tensor]]]] = {
    "loop": loop.run,
    "foreach": foreach.run,
    "fused": _run_kernels,
}


def prepare(batches: Iterable[tuple[str, Batch]]) -> None:
    """Let engines look at their batches; raises Unfit, before anything is written."""
    for engine, batch in batches:
        why = _kernels(batch).prepare(batch) if engine == "fused" else ""
        if why:
            raise Unfit(why)


def drive(batches: Sequence[tuple[str, Batch]]) -> None:
    """Run all prepared batches piece by piece; a total is combined when all have added to it."""
    sums: dict[Any, list[Tensor]] = {}
    for k, phase in schedule("", tuple((batch.program, engine) for engine, batch in batches)):
        engine, batch = batches[k]
        each = parts(batch.program, engine)[phase]
        _complete(batch, each.before, sums)
        partial = RUNNERS[engine](batch, phase)
        for end in totals(each.ends):
            sums.setdefault(_site(end), []).extend(partial.get(end, []))
    for _, batch in batches:
        _complete(batch, (end for phase in batch.program.phases for end in phase.ends), sums)


def parts(program: Program, engine: str) -> tuple[Pass, ...]:
    """The pieces that an engine runs a program in: it stops for totals, or at every reduction."""
    return program.passes if engine == "fused" else program.phases


def totals(ends: Iterable[Value]) -> list[Value]:
    """Those of the ends that sum over all tensors."""
    return [end for end in ends if end.kind == "total"]


@functools.cache
def schedule(owner: str, programs: tuple[tuple[Program, str], ...]) -> tuple[tuple[int, int], ...]:
    """The order of (program, phase) in which every total is complete before a phase needs it.

    Raises TypeError if chains wait for each other's totals.
    """
    pieces = [parts(program, engine) for program, engine in programs]
    owed = Counter(_site(end) for each in pieces for part in each for end in totals(part.ends))
    left = [(k, i) for k, each in enumerate(pieces) for i in range(len(each))]
    done: list[tuple[int, int]] = []
    while left:
        ready = [
            (k, i)
            for k, i in left
            if not any(owed[_site(end)] for end in totals(pieces[k][i].before))
            and all(other != k or j >= i for other, j in left)
        ]
        if not ready:
            raise TypeError(
                f"{owner}: its chains wait for each other's totals: one sums first what another "
                "sums second; put these rules in the same order in each chain"
            )
        for k, i in ready:
            owed.subtract(_site(end) for end in totals(pieces[k][i].ends))
        done += ready
        left = [each for each in left if each not in ready]
    return tuple(done)


def _complete(batch: Batch, ends: Iterable[Value], sums: dict[Any, list[Tensor]]) -> None:
    for end in totals(ends):
        if end not in batch.totals and sums.get(_site(end)):  # none: no condition asked for it
            batch.totals[end] = _combine(sums[_site(end)])


def _site(end: Value) -> Any:
    return dict(end.attrs)["site"]


def _combine(sums: list[Tensor]) -> Tensor:
    device = sums[0].device
    dtype = torch.float32 if device.type == "mps" else torch.float64  # mps has no float64
    if len(sums) == 1:
        return sums[0].to(device, dtype)
    return torch.stack([x.to(device, dtype) for x in sums]).sum()


def kept_values(batch: Batch) -> dict[str, Any]:
    """New values of the kept scalars, once all phases have run."""
    if not batch.program.kept or not batch.rows:
        return {}
    row = batch.rows[0]
    env = batch.scalars(batch.selection(0, row), row)
    taken = dict(zip(batch.program.conditions, batch.taken(row), strict=True))
    outputs = {n: v for n, v in batch.program.outputs.items() if n in batch.program.kept}
    return {name: _evaluate(env, value, taken) for name, value in outputs.items()}


def _evaluate(env: dict[Value, Any], value: Any, taken: Taken) -> Any:
    value = resolve(value, taken)
    if not isinstance(value, Value) or value in env:
        return operand(env, value)
    env[value] = call(value, [_evaluate(env, arg, taken) for arg in value.args])
    return env[value]
