"""The course's transforms: of an image, sorted by their `_order`, and of a whole batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...train.data import transforms as ours
from ...train.data.imagenette import STATISTICS


class Transform:
    """Something that changes an item; those with less `_order` come first."""

    _order: float = 0


def make_rgb(item: Any) -> Any:
    """An image in red, green and blue."""
    return ours.Convert("RGB")(item)


class MakeRGB(Transform):
    """`make_rgb` as a class."""

    def __call__(self, item: Any) -> Any:
        return make_rgb(item)


class ResizeFixed(Transform):
    """Bilinear, to a square of `size` pixels or to (width, height), stretched."""

    _order = 10

    def __init__(self, size: int | tuple[int, int]) -> None:
        width, height = (size, size) if isinstance(size, int) else size
        self.size, self.resize = (width, height), ours.Resize((height, width))

    def __call__(self, item: Any) -> Any:
        return self.resize(item)


def to_byte_tensor(item: Any) -> Tensor:
    """An image as a uint8 tensor (channels, height, width)."""
    return ours.ToByteTensor()(item)


def to_float_tensor(item: Tensor) -> Tensor:
    """Bytes as float32 in [0, 1]."""
    return item.float().div_(255.0)


vars(to_byte_tensor)["_order"] = 20
vars(to_float_tensor)["_order"] = 30


def normalize_chan(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(x - mean) / std, with a mean and a deviation for each channel of (…, height, width)."""
    mean, std = (torch.as_tensor(each, dtype=x.dtype, device=x.device) for each in (mean, std))
    return (x - mean[..., None, None]) / std[..., None, None]


norm_imagenette = STATISTICS
"""Imagenette's batches normalised by (.47, .48, .45) and (.29, .28, .30)."""


def view_tfm(*size: int) -> Callable[[Tensor], Tensor]:
    """A transform of batches to the shape (-1, *size)."""
    return lambda x: x.view(-1, *size)
