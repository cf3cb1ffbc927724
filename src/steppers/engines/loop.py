"""The loop engine: plain torch, one tensor at a time. It is the definition of what a program means.

It also runs what cannot be traced, and steps that autograd differentiates.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import torch
from torch import Tensor

from ..chain import Rule
from ..passes import Selection
from ..program import check_returned
from ..tracing import Value
from . import storage
from .batch import Batch, call, compute_dtype, operand, summed


def run(batch: Batch, phase: int) -> dict[Value, list[Tensor]]:
    """Run one phase for every tensor; returns the partial sums of the totals that it computes."""
    partial: dict[Value, list[Tensor]] = {}
    scalars: dict[Any, dict[Value, Any]] = {}
    for i, row in enumerate(batch.rows):
        selection = batch.selection(phase, row)
        p = batch.tensors["p"][i]
        key = (row, compute_dtype(p, batch.formats), p.device)
        if key not in scalars:
            scalars[key] = batch.scalars(selection, row, key[1])
        env = evaluate(batch, selection, scalars[key], i)
        for total, arg in selection.totals:
            partial.setdefault(total, []).append(summed(operand(env, arg), p))
        _store(batch, i, {n: operand(env, v) for n, v in selection.stores.items()})
    return partial


def evaluate(
    batch: Batch, selection: Selection, scalars: Mapping[Value, Any], i: int
) -> dict[Value, Any]:
    """All values of a phase for the i-th parameter, each freed after its last use."""
    dtype = compute_dtype(batch.tensors["p"][i], batch.formats)
    env = dict(scalars)
    for name in selection.reads & batch.tensors.keys():
        x = storage.load(batch, name, i)
        if name == "p" and batch.replace and "p" not in batch.replace:
            x = x.clone()  # p is stored in place, and autograd may need its old value
        env[batch.program.inputs[name]] = x
    for step in selection.steps:
        env[step.value] = call(step.value, [operand(env, arg) for arg in step.args], dtype)
        for gone in step.dead:
            env.pop(gone)
    return env


def _store(batch: Batch, i: int, stores: Mapping[str, Any]) -> None:
    """Write the new values; one that is the old value of another store is copied before that."""
    olds = [batch.tensors[name][i] for name in stores]
    stores = {n: v.clone() if any(v is x for x in olds) else v for n, v in stores.items()}
    for name, value in stores.items():
        column = batch.tensors[name]
        if name in batch.replace:
            new = value if isinstance(value, Tensor) else column[i].new_full((), value)
            column[i] = new.to(column[i].dtype).expand(column[i].shape)
        else:
            storage.store(batch, name, i, value)


# --- rules that cannot be traced ---------------------------------------------------------------


def run_rules(
    rules: tuple[Rule, ...], slots: Container[str], values: Mapping[str, Any], guard: bool
) -> dict[str, Any]:
    """Call rules that cannot be traced on one parameter's tensors and numbers.

    Returns the new values of p, slots and kept scalars. A rule that changes an argument in place
    is an error. With `guard` the rules get copies, which are compared bit for bit: a change that
    torch does not count (through .data or NumPy) is found, and nothing of the caller's has moved.
    """
    env = {k: v.clone() if guard and isinstance(v, Tensor) else v for k, v in values.items()}
    new: dict[str, Any] = {}
    kept: set[str] = set()
    for rule in rules:
        if "u" not in new and "g" in env:
            env["u"] = env["g"]
        returned = _watched(rule, env, guard)
        kept |= returned.keys() & {name for name, _ in rule.keywords}
        env.update(returned)
        new.update(returned)
    return {name: x for name, x in new.items() if name == "p" or name in slots or name in kept}


def _watched(rule: Rule, env: Mapping[str, Any], exactly: bool) -> dict[str, Any]:
    """What a rule returns; RuntimeError if it changes an argument."""
    names = (*rule.reads, *(name for name, _ in rule.keywords))
    reads = {name: env[name] for name in names if isinstance(env[name], Tensor)}
    versions = {name: x._version for name, x in reads.items()}
    copies = {name: x.clone() for name, x in reads.items() if exactly}
    returned = check_returned(rule, rule(env), Tensor | float | int)
    for name, x in reads.items():
        if x._version != versions[name] or (exactly and not _same(x, copies[name])):
            raise RuntimeError(
                f"{rule.name} changes its argument {name} in place, but rules are pure: "
                "return the new value instead"
            )
    return returned


def _same(a: Tensor, b: Tensor) -> bool:
    return bool(((a == b) | (a.isnan() & b.isnan())).all())


def apart(new: Mapping[str, Any], olds: Mapping[str, Tensor]) -> dict[str, Any]:
    """New values to store over the old ones: copies of those that may share memory with one."""
    memory = {_memory(x) for x in olds.values()}
    return {name: x.clone() if isinstance(x, Tensor) and _memory(x) in memory else x
            for name, x in new.items()}  # fmt: skip


def _memory(x: Tensor) -> int:
    """Where a plain tensor's storage lies; -1 for one that does not tell (a DTensor)."""
    plain = type(x) in (Tensor, torch.nn.Parameter)
    return x.untyped_storage().data_ptr() if plain else -1
