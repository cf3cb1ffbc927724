"""What the shell hands to an engine: the tensors of one program, with a row of numbers for each."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..optable import OPS, apply
from ..passes import Selection
from ..program import Hosts, Program
from ..tracing import HOST, Value

if TYPE_CHECKING:
    from .storage import Format

CHOOSING = ("where", "spread")  # their first operand may be a condition, and stays one


@dataclass
class Batch:
    """Tensors of one program: `tensors[name][i]` belongs to the i-th parameter.

    `rows[i]` numbers the row of `hosts` that holds its host values. Complex tensors come viewed as
    real pairs. A store copies into its tensor, or, for a name in `replace`, puts a new one there.

    `formats` says how p and slots are rounded; a name without one, to the nearest. It holds for all
    parameters of the batch. What is stored as a pair has its low parts under `NAME_low`. `draws[i]`
    is (seed, t, number) of the i-th parameter; empty if nothing is rounded at random.
    """

    program: Program
    tensors: dict[str, list[Tensor]]
    rows: list[int]
    hosts: list[Hosts]
    kept: Mapping[str, Any]  # kept scalars of type global
    replace: frozenset[str] = frozenset()
    totals: dict[Value, Tensor] = field(default_factory=dict[Value, Tensor])
    formats: Mapping[str, Format] = field(default_factory=dict[str, "Format"])
    draws: list[tuple[float, float, float]] = field(
        default_factory=list[tuple[float, float, float]]
    )
    numbers: list[float] = field(default_factory=list[float])  # of the parameters: see noise
    memory: dict[str, Any] = field(default_factory=dict[str, Any])  # what an engine keeps

    def __len__(self) -> int:
        return len(self.rows)

    def taken(self, row: int) -> tuple[bool | None, ...]:
        """The host conditions of a row; None where only the device knows."""
        hosts = self.hosts[row]
        return tuple(
            None if isinstance(hosts[c], Tensor) else bool(hosts[c])
            for c in self.program.conditions
        )

    def selection(self, phase: int, row: int) -> Selection:
        """The phase with the row's host conditions decided."""
        return self.program.select(phase, self.taken(row))

    def scalars(
        self, selection: Selection, row: int, dtype: torch.dtype | None = None
    ) -> dict[Value, Any]:
        """Host and global values of a row: numbers and 0-dim tensors, these cast to `dtype`."""
        env: dict[Value, Any] = {**self.hosts[row], **self.totals}
        for name, value in self.kept.items():
            if name in self.program.inputs:
                env[self.program.inputs[name]] = value
        for value, args in selection.shared:
            env[value] = call(value, [operand(env, a) for a in args])
        if dtype is None:
            return env
        return {v: x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x
                for v, x in env.items()}  # fmt: skip


def host_values(program: Program, values: Mapping[str, Any], p: Tensor) -> Hosts:
    """All host values of a program for a parameter, from its hypers, counts and host slots by name.

    A hyper that is None stands for the machine epsilon of p's dtype.
    """
    env: Hosts = {}
    for name, value in program.inputs.items():
        if value.extent == HOST:
            env[value] = torch.finfo(p.dtype).eps if values[name] is None else values[name]
    plain = not any(isinstance(x, Tensor) for x in env.values())
    for value, compute, args in _host_steps(program):
        if value.kind == "shape":
            env[value] = OPS[value.op].torch(p)
        elif plain and compute is not None:
            env[value] = compute(*[env[a] if isinstance(a, Value) else a for a in args])
        else:
            env[value] = call(value, [operand(env, arg) for arg in args])
    return env


@functools.cache
def _host_steps(program: Program) -> list[tuple[Value, Any, tuple[Any, ...]]]:
    """The host values of a program in order, each with its function on numbers and its operands."""
    return [(v, None if v.op == "const" else OPS[v.op].host, v.args) for v in program.host]


def operand(env: Mapping[Value, Any], arg: Any) -> Any:
    """The present value of an argument: a number stands for itself."""
    return env[arg] if isinstance(arg, Value) else arg


def call(value: Value, args: Sequence[Any], dtype: torch.dtype = torch.float64) -> Any:
    """Compute one value by the table of ops: torch on tensors of `dtype`, IEEE doubles on numbers.

    In arithmetic True counts as 1, and a choice between two numbers has that dtype.
    """
    if value.op == "const":
        return value.attrs[0]
    attrs = {k: v for k, v in value.attrs if k != "site"}
    op = OPS[value.op]
    if op.kind != "compare":
        args = [numeric(x, dtype) if i or op.name not in CHOOSING else x
                for i, x in enumerate(args)]  # fmt: skip
        numbers = not any(isinstance(x, Tensor) for x in args[1:])
        if op.name == "where" and isinstance(args[0], Tensor) and numbers:
            args[1] = torch.full((), args[1], dtype=dtype, device=args[0].device)
    if op.host is None or any(isinstance(arg, Tensor) for arg in args):
        return op.torch(*args, **attrs)
    return apply(value.op, *args)


def numeric(x: Any, dtype: torch.dtype) -> Any:
    """Bool tensors as numbers, anything else as it is."""
    return x.to(dtype) if isinstance(x, Tensor) and x.dtype == torch.bool else x


def compute_dtype(p: Tensor, formats: Mapping[str, Format] | None = None) -> torch.dtype:
    """The dtype of the arithmetic: float64 for float64 parameters, else float32.

    A pair of float32 tensors holds more than a float32, so where there is one it is float64.
    """
    pairs = (f.dtype for f in (formats or {}).values() if f.rounding == "kahan")
    return torch.float64 if torch.float64 in (p.dtype, *map(_doubled, pairs)) else torch.float32


def _doubled(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float32 else torch.float32


def summed(x: Any, p: Tensor) -> Tensor:
    """What one tensor adds to a total: the sum of x, or a number as it is; if empty, nothing."""
    if p.numel() == 0:
        return p.new_zeros((), dtype=compute_dtype(p))
    return x.sum() if isinstance(x, Tensor) else p.new_full((), x, dtype=compute_dtype(p))


def read(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A stored tensor in the dtype of the arithmetic."""
    return x if x.dtype == dtype else x.to(dtype)
