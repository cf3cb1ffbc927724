"""Random numbers as a hash of where they are used: the same in every engine and every sharding.

A draw is a 32-bit integer hash of (seed, t, the parameter's number, the number of the draw, the
element's index in the whole tensor). No generator state exists, so a checkpoint needs only the
group's `seed` and the parameter's `step`. The mixing function is "lowbias32" (Chris Wellons,
2018, https://nullprogram.com/blog/2018/07/31/, public domain constants).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


def mix(x: int) -> int:
    """Hash one 32-bit integer to another (a bijection)."""
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & _MASK
    x = ((x ^ (x >> 15)) * 0x735A2D97) & _MASK
    return x ^ (x >> 15)


def _mix_tensor(x: Tensor) -> Tensor:
    # int64 products wrap modulo 2**64, which leaves the low 32 bits right
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & _MASK
    x = ((x ^ (x >> 15)) * 0x735A2D97) & _MASK
    return x ^ (x >> 15)


def bits(x: Tensor, seed: float, t: float, number: float, draw: int, start: int = 0) -> Tensor:
    """32 random bits for every element of x, as int64 in [0, 2**32), shaped like x.

    The elements of x are those from `start` on of the whole tensor, in row-major order.
    """
    key = 0
    for word in (int(seed), int(t), int(number), draw):
        key = mix((key ^ word) & _MASK)
    index = torch.arange(start, start + x.numel(), device=x.device).view(x.shape)
    hashed = _mix_tensor(_mix_tensor(index & _MASK) ^ key)
    return _sharded_as(x, hashed) if hasattr(x, "device_mesh") else hashed


def _sharded_as(x: Any, whole: Tensor) -> Tensor:
    """The shards of a whole tensor as a DTensor laid out as x; every rank cuts out its own."""
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole, x.device_mesh, x.placements, src_data_rank=None)


def uniform(x: Tensor, seed: float, t: float, number: float, draw: int = 0) -> Tensor:
    """Uniform on [0, 1) with 24 bits, shaped like x."""
    # >> 8 on a DTensor returns it as it was (torch 2.13)
    return ((bits(x, seed, t, number, draw) // 256).to(_float(x))) * 2**-24


def normal(x: Tensor, seed: float, t: float, number: float, draw: int = 0) -> Tensor:
    """Standard normal (Box-Muller on two draws), shaped like x."""
    radius = 1 - uniform(x, seed, t, number, draw)  # in (0, 1]: its log is finite
    angle = uniform(x, seed, t, number, draw + 0x10000)
    return torch.sqrt(-2 * torch.log(radius)) * torch.cos(2 * math.pi * angle)


def coin(x: Tensor, seed: float, t: float, number: float, draw: int = 0) -> Tensor:
    """True or False with equal chance, shaped like x."""
    return bits(x, seed, t, number, draw) >= 1 << 31


def _float(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32
