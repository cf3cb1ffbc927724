"""A random part of an image at one size, which the originals train on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch


@dataclass(frozen=True)
class RandomResizedCrop:
    """A part of a share of the image drawn from [least, 1], resized bilinearly to `size` pixels.

    Its sides are as 3:4 to 4:3 (Szegedy et al. 2014, arXiv:1409.4842); where no such part fits in
    ten tries, the whole image is taken. Numbers come from torch's generator. Order 5.
    """

    order: ClassVar[int] = 5
    size: int
    least: float

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1:
            raise ValueError(f"RandomResizedCrop: least must be in (0, 1], got {self.least}")

    def __call__(self, image: Any) -> Any:
        from PIL.Image import Resampling

        box = self.box(image.width, image.height)
        return image.resize((self.size, self.size), Resampling.BILINEAR, box=box)

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, upper, right and lower edge of the part."""
        for _ in range(10):
            share, shape = torch.rand(2).tolist()
            area = width * height * (self.least + share * (1 - self.least))
            ratio = math.exp((2 * shape - 1) * math.log(4 / 3))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                left = int(torch.randint(width - w + 1, ()))
                top = int(torch.randint(height - h + 1, ()))
                return left, top, left + w, top + h
        return 0, 0, width, height
