"""How p and slots are stored: a dtype, and how values are rounded to it. Rules never see it.

A stored tensor is read in the dtype of the arithmetic, and what is computed is rounded once, at the
store. The roundings, the same in every engine:

nearest: of two equally near values the even one.

stochastic: up or down by chance, right on average (`rounding` has the definition). The random bits
are `noise.bits` of (seed, t, the parameter's number, `draw_of(name)`, the element's index in the
whole tensor in row-major order, complex ones as pairs).

kahan: two tensors of one dtype, high + low. A value x is first rounded to what the pair can hold,
s = a + round(x - a) with a = round(x); then high = round(s) and low = s - high. Beside a high that
is infinite or NaN low is 0. Splitting s anew and not x keeps high the nearest value of high + low
also where that sum is a tie, so that storing what was read changes no bit. Kahan's summation
(Kahan 1965, doi:10.1145/363707.363723) keeps the lost part of a sum in the same way.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import noise
from .batch import Batch, compute_dtype, read
from .rounding import stochastic

CHUNK = 1 << 20  # elements whose random bits exist at a time: 8 bytes each, several times over
LOW = "_low"  # what follows a name in the name of its low part


@dataclass(frozen=True)
class Format:
    """How one name is stored: its dtype, how it is rounded, and the number of its random draw."""

    dtype: torch.dtype
    rounding: str = "nearest"
    draw: int = 0


class Place(NamedTuple):
    """A stored tensor, or a flat slice of one that begins at element `start`.

    `key` is (seed, t, number) of its parameter, where the rounding is stochastic.
    """

    high: Tensor
    low: Tensor | None = None
    format: Format | None = None  # None: nearest
    key: tuple[float, float, float] = (0, 0, 0)
    start: int = 0


def draw_of(name: str, chain: str = "steps") -> int:
    """The number of the random draw that rounds a name; further chains have draws of their own."""
    return zlib.crc32(f"round:{name}".encode() + (b"" if chain == "steps" else chain.encode()))


def place(batch: Batch, name: str, i: int) -> Place:
    """Where a name of the i-th parameter of a batch is stored."""
    form = batch.formats.get(name)
    if form is None:
        return Place(batch.tensors[name][i])
    low = batch.tensors[name + LOW][i] if form.rounding == "kahan" else None
    key = batch.draws[i] if batch.draws else (0, 0, 0)
    return Place(batch.tensors[name][i], low, form, key)


def load(batch: Batch, name: str, i: int) -> Tensor:
    """The full value of a name of the i-th parameter, in the dtype of the arithmetic."""
    return full(place(batch, name, i), compute_dtype(batch.tensors["p"][i], batch.formats))


def store(batch: Batch, name: str, i: int, value: Tensor | float) -> None:
    """Round a value and write it over a name of the i-th parameter."""
    dtype = compute_dtype(batch.tensors["p"][i], batch.formats)
    write(place(batch, name, i), value, dtype)


def full(at: Place, dtype: torch.dtype) -> Tensor:
    """The full value of a stored tensor; the tensor itself if it is stored in that dtype."""
    return read(at.high, dtype) if at.low is None else read(at.high, dtype) + at.low


def write(at: Place, value: Tensor | float, dtype: torch.dtype) -> None:
    """Round a value, computed in `dtype`, and write it over a stored tensor."""
    whole = getattr(value, "full_tensor", None)  # of a DTensor, for a slot of one number
    value = whole() if whole and not hasattr(at.high, "device_mesh") else value
    rounding = at.format.rounding if at.format else "nearest"
    if rounding == "nearest":
        at.high.copy_(value) if isinstance(value, Tensor) else at.high.fill_(value)
        return
    x = value if isinstance(value, Tensor) else at.high.new_full((), value, dtype=dtype)
    x = x.to(dtype).expand(at.high.shape)
    if rounding == "kahan":
        _write_pair(at, x)
    elif hasattr(at.high, "device_mesh"):
        _write_shard(at, x)
    else:
        _write_stochastic(at, x)


def laid_flat(at: Place) -> Place:
    """A stored tensor whose layout fills its memory, as one row in the order of that memory."""
    size = (at.high.numel(),)
    low = None if at.low is None else at.low.as_strided(size, (1,))
    return at._replace(high=at.high.as_strided(size, (1,)), low=low)


def sliced(at: Place, start: int, length: int) -> Place:
    """A part of a stored tensor that is one row."""
    low = None if at.low is None else at.low[start : start + length]
    return at._replace(high=at.high[start : start + length], low=low, start=start)


def split(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """High and low part of a value: the pair whose sum is nearest to it."""
    first = x.to(dtype)
    s = first + _unless_infinite(first, x - first).to(dtype).to(x.dtype)
    high = s.to(dtype)
    return high, _unless_infinite(high, s - high).to(dtype)


def _unless_infinite(high: Tensor, low: Tensor) -> Tensor:
    return torch.where(torch.isfinite(high), low, torch.zeros_like(low))


def _write_pair(at: Place, x: Tensor) -> None:
    assert at.low is not None
    high, low = split(x, at.high.dtype)
    at.high.copy_(high)
    at.low.copy_(low)


def _write_stochastic(at: Place, x: Tensor) -> None:
    """Round in flat slices, for random bits take much memory; x goes through float32."""
    assert at.format is not None
    dtype, size = at.high.dtype, at.high.numel()
    flat = x.reshape(-1)
    whole = at.high.view(-1) if at.high.is_contiguous() else torch.empty_like(flat, dtype=dtype)
    for start in range(0, size, CHUNK):
        piece = flat[start : start + CHUNK].to(torch.float32)
        bits = noise.bits(piece, *at.key, at.format.draw, at.start + start)
        whole[start : start + CHUNK] = stochastic(piece, bits, dtype)
    if not at.high.is_contiguous():
        at.high.copy_(whole.view(at.high.shape))


def _write_shard(at: Place, x: Any) -> None:
    """Round this rank's part of a DTensor; its bits are those of its place in the whole tensor."""
    assert at.format is not None
    high: Any = at.high
    x = x.redistribute(high.device_mesh, high.placements)
    bits: Any = noise.bits(high, *at.key, at.format.draw)
    rounded = stochastic(x.to_local().to(torch.float32), bits.to_local(), high.dtype)
    high.to_local().copy_(rounded)
