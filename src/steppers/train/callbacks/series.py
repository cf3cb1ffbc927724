"""Numbers that arrive as tensors and are read later, so that no batch waits for a device."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TypeAlias

import torch
from torch import Tensor

Number: TypeAlias = float | list[float]
WAITING = 1024  # tensors kept before they are converted


class Series:
    """Numbers in their order. Those on an accelerator stay tensors until they are asked for."""

    def __init__(self, numbers: Iterable[Number] = ()) -> None:
        self._numbers: list[Number] = list(numbers)
        self._waiting: list[Tensor] = []

    def append(self, value: Tensor | Number) -> None:
        if isinstance(value, Tensor) and not value.is_cpu:
            self._waiting.append(value.detach().clone())  # it may be written over
            if len(self._waiting) >= WAITING:
                self._convert()
            return
        if self._waiting:
            self._convert()
        self._numbers.append(number(value) if isinstance(value, Tensor) else value)

    def __len__(self) -> int:
        return len(self._numbers) + len(self._waiting)

    @property
    def numbers(self) -> list[Number]:
        """All numbers so far. Waits for the device."""
        if self._waiting:
            self._convert()
        return self._numbers

    def _convert(self) -> None:
        waiting, self._waiting = self._waiting, []
        if len({(each.shape, each.device, each.dtype) for each in waiting}) == 1:
            waiting = list(torch.stack(waiting).cpu())
        self._numbers += [number(each) for each in waiting]


def number(value: Tensor) -> Number:
    """A tensor of one element as a number, another as a list."""
    return value.item() if value.numel() == 1 else value.flatten().tolist()


class Mean:
    """A mean of numbers weighted by the sizes of their batches, summed in double precision."""

    def __init__(self, total: float = 0.0, count: int = 0) -> None:
        self._total, self._count = total, count
        self._values, self._sizes = Series(), list[int]()

    def add(self, value: Tensor | float, size: int) -> None:
        """Count a batch's mean `size` times. An empty batch, whose mean is NaN, does not count."""
        if size == 0:
            return
        self._values.append(value)
        self._sizes.append(size)
        if len(self._sizes) >= WAITING:
            self._fold()

    @property
    def parts(self) -> tuple[float, int]:
        """The sum and the number of items: what `Mean(*parts)` goes on from."""
        self._fold()
        return self._total, self._count

    @property
    def value(self) -> float:
        """The mean so far, NaN where there is nothing."""
        total, count = self.parts
        return total / count if count else math.nan

    def _fold(self) -> None:
        for value, size in zip(self._values.numbers, self._sizes, strict=True):
            self._total += float(value) * size  # pyright: ignore[reportArgumentType]  # one number
        self._count += sum(self._sizes)
        self._values, self._sizes = Series(), []
