"""Initialisers of state slots: the default of a rule's positional argument declares a slot.

The initialiser's name is the slot's shape. `p` is (…, n, m) below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

COPY = "copy of p"
# fmt: off
SHAPES = {  # symbolic shape of each kind of slot but "scalar", one number for the parameter
    "p": ("n", "m"), "rows": ("n", "1"), "columns": ("1", "m"),
    "left": ("n", "n"), "right": ("m", "m"),
}
# fmt: on


@dataclass(frozen=True)
class Initialiser:
    """How a slot starts: its shape and what fills it (a number, `COPY`, or a hyper's name)."""

    name: str
    shape: str
    fill: float | str

    def __repr__(self) -> str:
        return self.name

    def hyper(self) -> str | None:
        """The hyper-parameter that fills the slot, if one does."""
        return self.fill if isinstance(self.fill, str) and self.fill != COPY else None


zeros = Initialiser("zeros", "p", 0.0)
ones = Initialiser("ones", "p", 1.0)
copy_of_p = Initialiser("copy_of_p", "p", COPY)
zeros_rows = Initialiser("zeros_rows", "rows", 0.0)
zeros_columns = Initialiser("zeros_columns", "columns", 0.0)
zeros_left = Initialiser("zeros_left", "left", 0.0)
zeros_right = Initialiser("zeros_right", "right", 0.0)
zero = Initialiser("zero", "scalar", 0.0)
one = Initialiser("one", "scalar", 1.0)


def full(hyper: str) -> Initialiser:
    """Shaped as p, filled with the value that the hyper-parameter has when the slot is made."""
    return Initialiser(f'full("{hyper}")', "p", hyper)


def scalar(hyper: str) -> Initialiser:
    """One number for the parameter: the hyper-parameter's value when the slot is made."""
    return Initialiser(f'scalar("{hyper}")', "scalar", hyper)


def shape_of(slot: Initialiser, p: Tensor) -> tuple[int, ...]:
    """The shape that the slot has for parameter p."""
    if slot.shape in ("p", "scalar"):
        return tuple(p.shape) if slot.shape == "p" else ()
    sizes = {"n": p.shape[-2], "m": p.shape[-1], "1": 1}
    return (*p.shape[:-2], *(sizes[axis] for axis in SHAPES[slot.shape]))


def dtype_of(slot: Initialiser, p: Tensor, asked: torch.dtype | None = None) -> torch.dtype:
    """The dtype of a new slot: the one asked for, else p's; of a complex p that of its parts.

    One number is float32 whatever is asked, or float64 for float64 p.
    """
    if slot.shape != "scalar":
        return (asked.to_complex() if p.is_complex() else asked) if asked else p.dtype
    wide = p.dtype in (torch.float64, torch.complex128)
    return torch.float64 if wide else torch.float32


def make(
    slot: Initialiser,
    p: Tensor,
    hypers: Mapping[str, object],
    host: bool,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """A new slot for p: same dtype, device, strides and sharding as p where it has p's shape.

    A tensor may be asked for in another dtype (for complex p that of its parts). A scalar slot is a
    0-dim float32 (float64 for float64 p) tensor, on the CPU if `host`. Where gradients are enabled
    they flow back to p from its copy, and to a hyper that is a tensor.
    """
    dtype = dtype_of(slot, p, dtype)
    if slot.fill == COPY:
        return p.to(dtype, copy=True, memory_format=torch.preserve_format)
    hyper = slot.hyper()
    value: Any = hypers[hyper] if hyper else slot.fill
    if slot.shape == "scalar":
        device = torch.device("cpu") if host else p.device
        return _filled(torch.zeros((), dtype=dtype, device=device), value)
    if slot.shape == "p":
        return _filled(torch.zeros_like(p, dtype=dtype), value)
    if type(p) in (Tensor, torch.nn.Parameter):
        return _filled(p.new_zeros(shape_of(slot, p), dtype=dtype), value)
    return _filled(torch.zeros_like(_reduced_like(slot, p.detach()), dtype=dtype), value)


def low_of(slot: Initialiser, high: Tensor, p: Tensor, hypers: Mapping[str, object]) -> Tensor:
    """What rounding to its dtype lost of a new tensor slot; zeros for numbers that fit."""
    low = torch.zeros_like(high)
    if slot.fill == COPY or slot.hyper():
        wide = torch.float64 if high.dtype in (torch.float32, torch.complex64) else torch.float32
        low.copy_(make(slot, p, hypers, host=False, dtype=wide) - high)
    return low


def _filled(x: Tensor, value: float | Tensor) -> Tensor:
    """Zeros x plus a value; of a complex x both parts, as torch's Rprop and Adagrad do."""
    if isinstance(value, Tensor):
        value = value.to(x.real.dtype)
        return torch.complex(x.real + value, x.imag + value) if x.is_complex() else x + value
    if value != 0:
        (torch.view_as_real(x) if x.is_complex() else x).fill_(value)
    return x


def _reduced_like(slot: Initialiser, p: Tensor) -> Tensor:
    """A tensor of the slot's shape and p's kind: made from p, so that a sharded p shards it."""
    if slot.shape == "rows":
        return p.sum(-1, keepdim=True)
    if slot.shape == "columns":
        return p.sum(-2, keepdim=True)
    return p @ p.mT if slot.shape == "left" else p.mT @ p
