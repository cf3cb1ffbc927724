"""How a float32 value becomes a 16-bit one: to the nearest, or at random and right on average.

The definition, for every engine. Let b be the 32 bits of x, m = b & 0x7FFFFFFF its magnitude and
r the 32 random bits of this element. Shifts are logical, + is on integers, and the result has the
sign of x, zero included.

bfloat16, any finite x: (m + (r & 0xFFFF)) >> 16; 0x7F80, which is infinity, becomes 0x7F7F.
float16, finite |x| >= 2**-14: ((m + (r & 0x1FFF)) >> 13) - 0x1C000; above 0x7BFF becomes 0x7BFF.
float16, |x| < 2**-14, where halves are evenly spaced: with a = |x| * 2**24, n = floor(a) and
F = floor((a - n) * 2**31), it is n + (((r >> 1) + F) >> 31), that is floor(a + u) with u in [0, 1).
Infinity and NaN: as the nearest. Which NaN a NaN becomes is left open; it stays one.

So a value that the format holds is stored as it is, and any other as one of its two neighbours,
with the chances that make the mean equal to x (below 2**-14, less than 2**-55 under it). Finite
values beyond the largest finite one have no upper neighbour: they become the largest, where the
nearest would be infinity.
"""

from __future__ import annotations

import torch
from torch import Tensor

_SIGN, _MAGNITUDE = 0x80000000, 0x7FFFFFFF


def nearest(x: Tensor, dtype: torch.dtype) -> Tensor:
    """x in dtype: the nearest value there, of two equally near the even one; a new tensor."""
    return x.to(dtype, copy=True)


def stochastic(x: Tensor, bits: Tensor, dtype: torch.dtype) -> Tensor:
    """x in a 16-bit dtype, up or down by chance, so that the mean over the bits is x.

    x is float32; bits is int64 in [0, 2**32), shaped like x. The result is new, shaped like x.
    Raises TypeError for another dtype of x, ValueError for one that is no 16-bit format.
    """
    if x.dtype != torch.float32:
        raise TypeError(f"stochastic: x must be float32, got {x.dtype}; pass x.float()")
    if dtype not in (torch.bfloat16, torch.float16):
        raise ValueError(
            f"stochastic: dtype must be torch.bfloat16 or torch.float16, got {dtype}; "
            "wider formats are rounded to the nearest"
        )
    word = x.view(torch.int32).to(torch.int64)
    magnitude = word & _MAGNITUDE
    rounded = (_bfloat16 if dtype == torch.bfloat16 else _float16)(x, magnitude, bits)
    signed = rounded | ((word & _SIGN) // 0x10000)
    finite = magnitude < 0x7F800000
    return torch.where(finite, signed.to(torch.int16).view(dtype), x.to(dtype))


def _bfloat16(x: Tensor, magnitude: Tensor, bits: Tensor) -> Tensor:
    return ((magnitude + (bits & 0xFFFF)) // 0x10000).clamp(max=0x7F7F)


def _float16(x: Tensor, magnitude: Tensor, bits: Tensor) -> Tensor:
    normal = ((magnitude + (bits & 0x1FFF)) // 0x2000 - 0x1C000).clamp(max=0x7BFF)
    scaled = x.abs().clamp(max=2.0**-14) * 2.0**24  # exact: powers of two
    whole = scaled.floor()
    part = ((scaled - whole) * 2.0**31).to(torch.int64)
    even = whole.to(torch.int64) + (bits // 2 + part) // 0x80000000
    return torch.where(magnitude < 0x38800000, even, normal)
