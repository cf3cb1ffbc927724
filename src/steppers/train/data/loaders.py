"""The batches of a data set: two torch DataLoaders and what is known about their items."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader


@dataclass(frozen=True, repr=False)
class DataLoaders:
    """What a model is trained on, `train`, and what it is judged by, `valid`.

    Both give tuples `(x, y)`, the target last, and know their length in batches. `vocab` holds
    the names of the classes, in the order of their numbers. `train.generator` decides the order of
    the items: keep its `get_state()` and an epoch can be gone through again.
    """

    train: DataLoader[Any]
    valid: DataLoader[Any]
    name: str
    description: str
    vocab: tuple[str, ...] | None = None

    def one_batch(self) -> tuple[Tensor, ...]:
        """The batch that training would start with, to look at; the order stays as it was."""
        generator: torch.Generator | None = self.train.generator
        state = None if generator is None else generator.get_state()
        try:
            with torch.random.fork_rng(devices=[]):  # random transforms draw from torch's own
                return next(iter(self.train))
        finally:
            if generator is not None and state is not None:
                generator.set_state(state)

    def summary(self) -> str:
        """Several lines: sizes, the tensors of a batch, the classes. Reads one batch."""
        batch = self.one_batch()
        names = ["x", "y"] if len(batch) == 2 else [f"column {i}" for i in range(len(batch))]
        lines = [self.description, _counts("train", self.train), _counts("valid", self.valid)]
        for name, value in zip(names, batch, strict=True):
            shape = " x ".join(map(str, value.shape))
            lines.append(f"{name}: {shape}, {str(value.dtype).removeprefix('torch.')}")
        if self.vocab:
            lines.append(f"{len(self.vocab)} classes: {_some(self.vocab)}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        parts = (_counts("train", self.train), _counts("valid", self.valid))
        return f"DataLoaders({self.name}; {'; '.join(parts)})"


def _counts(name: str, loader: DataLoader[Any]) -> str:
    # a sampler's length is the items of an epoch, which may be fewer than the data set has
    items = len(loader.sampler)  # pyright: ignore[reportArgumentType]  # torch's samplers have one
    return f"{name}: {items:,} items in {len(loader):,} batches of {loader.batch_size}"


def _some(names: tuple[str, ...], most: int = 10) -> str:
    rest = f", and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
