"""What is stepped on: the shapes of real models, in a dtype, on a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch.nn import Parameter

Shape = tuple[int, ...]

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}
BLOCK = 1 << 16  # random numbers that fill every tensor, repeated: 124 M fresh ones take seconds


def resnet50() -> list[Shape]:
    """The 161 parameters of ResNet-50 (He et al. 2015, arXiv:1512.03385): 25,557,032 numbers."""
    shapes: list[Shape] = [(64, 3, 7, 7), (64,), (64,)]
    fed = 64
    for width, blocks in ((64, 3), (128, 4), (256, 6), (512, 3)):
        for block in range(blocks):
            wide = 4 * width
            for conv in ((width, fed, 1, 1), (width, width, 3, 3), (wide, width, 1, 1)):
                shapes += [conv, (conv[0],), (conv[0],)]
            if block == 0:
                shapes += [(wide, fed, 1, 1), (wide,), (wide,)]
            fed = wide
    return [*shapes, (1000, 2048), (1000,)]


def gpt2() -> list[Shape]:
    """The 148 parameters of GPT-2 small (Radford et al. 2019), head tied: 124,439,808 numbers."""
    vocabulary, context, width, layers = 50257, 1024, 768, 12
    norm: list[Shape] = [(width,), (width,)]
    pairs = ((width, 3 * width), (width, width)), ((width, 4 * width), (4 * width, width))
    attention, network = ([x for pair in each for x in (pair, pair[1:])] for each in pairs)
    layer = [*norm, *attention, *norm, *network]
    return [(vocabulary, width), (context, width), *layer * layers, *norm]


def tiny() -> list[Shape]:
    """400 tensors of 64 to 256 numbers: what a step costs beside memory traffic."""
    return [(64,), (16, 16)] * 200


def matrix() -> list[Shape]:
    """One matrix of 33.6 M numbers: memory traffic and nothing else."""
    return [(8192, 4096)]


SHAPES: dict[str, Callable[[], list[Shape]]] = {
    "resnet50": resnet50,
    "gpt2": gpt2,
    "tiny": tiny,
    "matrix": matrix,
}


@dataclass(frozen=True)
class Work:
    """Parameters to take steps on."""

    name: str
    shapes: tuple[Shape, ...]
    dtype: str = "float32"
    device: str = "cpu"

    @property
    def numbers(self) -> int:
        """How many numbers the parameters hold."""
        return sum(torch.Size(shape).numel() for shape in self.shapes)

    @property
    def bytes(self) -> int:
        """How many bytes the parameters take."""
        return self.numbers * DTYPES[self.dtype].itemsize

    def matrices(self) -> Work:
        """The two-dimensional parameters alone, for optimizers that take no others."""
        return replace(self, shapes=tuple(s for s in self.shapes if len(s) == 2))

    def parameters(self) -> list[Parameter]:
        """Fresh parameters with gradients, the same numbers at each call."""
        generator = torch.Generator().manual_seed(0)
        block = torch.randn(BLOCK, generator=generator).to(self.device, DTYPES[self.dtype])
        made = [Parameter(filled(shape, 0.1 * block)) for shape in self.shapes]
        for p in made:
            p.grad = filled(p.shape, 0.01 * block.flip(0))
        return made


def filled(shape: Shape, block: torch.Tensor) -> torch.Tensor:
    """A tensor that repeats the block's numbers."""
    made = block.new_empty(shape)
    flat = made.view(-1)
    for start in range(0, flat.numel(), BLOCK):
        flat[start : start + BLOCK] = block[: flat.numel() - start]
    return made
