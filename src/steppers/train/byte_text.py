"""How the network for text is trained and judged: windows with context, bits for every byte."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from .data.batched import Batch, BatchedDataset
from .data.corpus import find_corpus, zlib_bits_per_byte
from .data.dataset import Data
from .data.text import ByteText, load_text

WINDOW = 4096  # bytes, in training
CONTEXT = WINDOW // 2  # what a held-out byte has before it at least
PARTS = 4  # that one reading of the text is made in, each followed by an evaluation
SKIPPED = -100  # the target that cross_entropy leaves out


class WithContext(BatchedDataset):
    """A stream of bytes in parts that lie beside each other, each with the bytes before it.

    So each byte is predicted once, with at least `context` bytes before it where there are as many.
    x and y are (batch, context + part) in int64; y is -100 in the context and beyond the ends,
    where x is 0. The stream's first byte has nothing before it and is not predicted.

    >>> WithContext(torch.arange(1, 6).byte(), part=2, context=1).batch([0, 1])[1]
    tensor([[-100,    2,    3],
            [-100,    4,    5]])

    Raises:
        ValueError: the stream has less than two bytes.
    """

    def __init__(self, stream: Tensor, part: int, context: int) -> None:
        if len(stream) < 2:
            raise ValueError(f"WithContext: {len(stream)} bytes are no text to predict")
        self.stream, self.part, self.context = stream, part, context

    def __len__(self) -> int:
        return math.ceil((len(self.stream) - 1) / self.part)

    def batch(self, indices: Sequence[int]) -> Batch:
        pairs = [self.item(index) for index in indices]
        return torch.stack([x for x, _ in pairs]), torch.stack([y for _, y in pairs])

    def item(self, index: int) -> tuple[Tensor, Tensor]:
        """One part and its targets."""
        begin, length = index * self.part, self.context + self.part
        start = begin - self.context  # of the window; may lie before the stream
        first, last = max(start, 0), min(begin + self.part, len(self.stream) - 1)
        x, y = torch.zeros(length).long(), torch.full((length,), SKIPPED)
        x[first - start : last - start] = self.stream[first:last]
        y[self.context : last - start] = self.stream[begin + 1 : last + 1]
        return x, y


class BitsPerByte:
    """The bits for a byte over all bytes that are predicted, as an object for the metrics."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all bytes."""
        self.bits, self.count = 0.0, 0

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add the bytes of a batch: logits (batch, length, 256), numbers (batch, length)."""
        self.bits += loss(preds, target, reduction="sum").item() / math.log(2)
        self.count += int((target != SKIPPED).sum())

    def compute(self) -> float:
        """The mean."""
        return self.bits / self.count


def loss(logits: Tensor, target: Tensor, **options: Any) -> Tensor:
    """The cross-entropy of (batch, length, 256) logits, in nats; options are torch's."""
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), **options)


def load(seed: int, path: str | None) -> Data:
    """The text, of which an epoch reads a quarter, and its held-out part with context.

    Which files are held out does not depend on the seed.
    """
    data = load_text(path, window=WINDOW)
    train, valid = cast(ByteText, data.train), cast(ByteText, data.valid)
    part = max(1, (data.epoch_items or len(train)) // PARTS)
    stream = valid.stream
    return replace(data, valid=WithContext(stream, WINDOW + CONTEXT, CONTEXT), epoch_items=part)


def zlib_baselines(path: str | None) -> list[tuple[str, float]]:
    """What zlib takes for a byte of the held-out files."""
    files = find_corpus(path).valid
    return [
        ("zlib level 9, file by file", zlib_bits_per_byte(files)),
        ("zlib level 9, all files as one", zlib_bits_per_byte(files, together=True)),
    ]
