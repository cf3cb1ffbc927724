"""Parts of an image, random or its middle, which the originals trained on and judged by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch


@dataclass(frozen=True)
class Square:
    """A square as long as the shorter side: the middle one, or one at `random`. Order 4."""

    order: ClassVar[int] = 4
    random: bool = False

    def __call__(self, image: Any) -> Any:
        side = min(image.width, image.height)
        spare = image.width - side, image.height - side
        left, top = (int(torch.randint(n + 1, ())) if self.random else n // 2 for n in spare)
        return image.crop((left, top, left + side, top + side))


@dataclass(frozen=True)
class Middle:
    """The middle of an image, `share` of each of its sides. Order 5."""

    order: ClassVar[int] = 5
    share: float

    def __post_init__(self) -> None:
        check_share("Middle", "share", self.share)

    def __call__(self, image: Any) -> Any:
        w, h = (max(1, round(self.share * side)) for side in (image.width, image.height))
        left, top = (image.width - w) // 2, (image.height - h) // 2
        return image.crop((left, top, left + w, top + h))


@dataclass(frozen=True)
class RandomResizedCrop:
    """A part of a share of the image drawn from [least, 1], resized bilinearly to `size` pixels.

    Its sides are as 1:ratio to ratio:1 (Szegedy et al. 2014, arXiv:1409.4842); where no such part
    fits in ten tries, the whole image is taken. Numbers come from torch's generator. Order 5.
    """

    order: ClassVar[int] = 5
    size: int
    least: float
    ratio: float = 4 / 3

    def __post_init__(self) -> None:
        check_share("RandomResizedCrop", "least", self.least)
        if not self.ratio >= 1:
            raise ValueError(f"RandomResizedCrop: ratio must be from 1 on, got {self.ratio}")

    def __call__(self, image: Any) -> Any:
        from PIL.Image import Resampling

        box = self.box(image.width, image.height)
        return image.resize((self.size, self.size), Resampling.BILINEAR, box=box)

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Left, upper, right and lower edge of the part."""
        for _ in range(10):
            share, shape = torch.rand(2).tolist()
            area = width * height * (self.least + share * (1 - self.least))
            ratio = math.exp((2 * shape - 1) * math.log(self.ratio))
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                left = int(torch.randint(width - w + 1, ()))
                top = int(torch.randint(height - h + 1, ()))
                return left, top, left + w, top + h
        return 0, 0, width, height


def check_share(who: str, name: str, value: float) -> None:
    """Raise ValueError unless a number is in (0, 1]."""
    if not 0 < value <= 1:
        raise ValueError(f"{who}: {name} must be in (0, 1], got {value}")
