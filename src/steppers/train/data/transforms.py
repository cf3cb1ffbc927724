"""What is done with an image before it is part of a batch: callables, in the order they state."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from .counts import check_count

# A PIL image or what an earlier transform made of it, to what the next one gets.
Transform = Callable[[Any], Any]


def by_order(transforms: Iterable[Transform]) -> list[Transform]:
    """Transforms sorted by their attribute `order`, 0 where there is none; equals stay as given.

    >>> [type(transform).__name__ for transform in by_order([ToByteTensor(), Resize(8), Convert()])]
    ['Convert', 'Resize', 'ToByteTensor']
    """
    return sorted(transforms, key=lambda transform: getattr(transform, "order", 0))


@dataclass(frozen=True)
class Convert:
    """Any image to one mode, "RGB" or "L" (grey); what is transparent shows its stored colour.

    Numbers of 16 bits keep their upper 8. Order 0.
    """

    order: ClassVar[int] = 0
    mode: str = "RGB"

    def __call__(self, image: Any) -> Any:
        if image.mode == self.mode:
            return image
        if image.mode.startswith("I"):  # PIL would clip at 255 instead of scaling
            image = image.convert("I").point(lambda value: value / 256).convert("L")
        elif image.mode == "F":
            raise ValueError(
                "an image of floats has no range that is known, so it is not converted"
            )
        elif "transparency" in image.info:  # PIL warns where it drops a palette's transparency
            image = image.convert("RGBA")
        return image.convert(self.mode)


@dataclass(frozen=True)
class Resize:
    """Bilinear, to a square of `size` pixels or to (height, width), stretched. Order 10."""

    order: ClassVar[int] = 10
    size: int | tuple[int, int]

    def __post_init__(self) -> None:
        for side in _pair(self.size):
            check_count("Resize", "size", side, 1)

    def __call__(self, image: Any) -> Any:
        from PIL.Image import Resampling

        height, width = _pair(self.size)
        if image.size == (width, height):
            return image
        return image.resize((width, height), Resampling.BILINEAR)


@dataclass(frozen=True)
class RandomFlip:
    """Left and right changed with probability `p`, drawn from torch's generator. Order 12."""

    order: ClassVar[int] = 12
    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"RandomFlip: p must be in [0, 1], got {self.p}")

    def __call__(self, image: Any) -> Any:
        from PIL.Image import Transpose

        if torch.rand(()).item() < self.p:
            return image.transpose(Transpose.FLIP_LEFT_RIGHT)
        return image


@dataclass(frozen=True)
class RandomCrop:
    """A part at a place drawn from torch's generator, after black padding on each side. Order 14.

    `size` is the part's, a number or (height, width), and None the image's own before the padding.
    """

    order: ClassVar[int] = 14
    size: int | tuple[int, int] | None = None
    padding: int = 0

    def __post_init__(self) -> None:
        check_count("RandomCrop", "padding", self.padding, 0)
        for side in () if self.size is None else _pair(self.size):
            check_count("RandomCrop", "size", side, 1)

    def __call__(self, image: Any) -> Any:
        from PIL import ImageOps

        height, width = (image.height, image.width) if self.size is None else _pair(self.size)
        padded = ImageOps.expand(image, self.padding) if self.padding else image
        if height > padded.height or width > padded.width:
            raise ValueError(
                f"RandomCrop: {height} x {width} pixels do not fit into an image of"
                f" {padded.height} x {padded.width}; resize it or pad more"
            )
        top = int(torch.randint(padded.height - height + 1, ()))
        left = int(torch.randint(padded.width - width + 1, ()))
        return padded.crop((left, top, left + width, top + height))


@dataclass(frozen=True)
class ToByteTensor:
    """An image to a uint8 tensor (channels, height, width). Order 20."""

    order: ClassVar[int] = 20

    def __call__(self, image: Any) -> Tensor:
        if image.mode in ("1", "P"):
            image = Convert("L" if image.mode == "1" else "RGB")(image)
        channels = len(image.getbands())
        content = bytearray(image.tobytes())
        if len(content) != image.height * image.width * channels:
            raise ValueError(
                f"ToByteTensor: the mode {image.mode} is not of bytes; use Convert first"
            )
        pixels = torch.frombuffer(content, dtype=torch.uint8)
        return pixels.view(image.height, image.width, channels).permute(2, 0, 1).contiguous()


@dataclass(frozen=True)
class ToFloatTensor:
    """Bytes to float32 in [0, 1]; an image becomes a tensor first. Order 30."""

    order: ClassVar[int] = 30

    def __call__(self, image: Any) -> Tensor:
        pixels = image if isinstance(image, Tensor) else ToByteTensor()(image)
        return pixels.float().div_(255)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)
