"""A data set in two parts, and how its items become batches."""

from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset, RandomSampler

from .batched import as_is, as_tuple, makes_batches
from .counts import check_count
from .loaders import DataLoaders


@dataclass(frozen=True)
class Data:
    """What is trained on and what is held out, with the sentence that names them in every output.

    `shape` is the shape of one input. `vocab` holds the names of the classes, in the order of their
    numbers. With `epoch_items` an epoch draws that many training items, with replacement, instead
    of taking each once.

    >>> from steppers.train.data import TensorData
    >>> part = TensorData(torch.rand(10, 4), torch.zeros(10).long())
    >>> data = Data("mine", part, part, shape=(4,), description="ten points, twice")
    >>> data
    Data(mine; 10 train, 10 valid; items (4,))
    >>> data.loaders(4)
    DataLoaders(mine; train: 10 items in 3 batches of 4; valid: 10 items in 2 batches of 8)

    Raises:
        ValueError: a part is empty.
    """

    name: str
    train: Dataset[Any]
    valid: Dataset[Any]
    shape: tuple[int, ...]
    description: str
    vocab: tuple[str, ...] | None = None
    epoch_items: int | None = None

    def __post_init__(self) -> None:
        for part in ("train", "valid"):
            if not len(cast(Sized, getattr(self, part))):
                raise ValueError(f"{self.name}: its {part} part is empty")
        if self.epoch_items is not None:
            check_count(self.name, "epoch_items", self.epoch_items, 1)

    def __repr__(self) -> str:
        train, valid = (len(cast(Sized, part)) for part in (self.train, self.valid))
        classes = f", {len(self.vocab)} classes" if self.vocab else ""
        return f"Data({self.name}; {train:,} train, {valid:,} valid; items {self.shape}{classes})"

    def loaders(
        self,
        batch_size: int = 64,
        *,
        workers: int = 0,
        seed: int = 0,
        drop_last: bool = False,
        pin_memory: bool = False,
    ) -> DataLoaders:
        """Shuffled batches of the training part, and batches twice as large of the other in order.

        `seed` starts `loaders.train.generator`, which decides the order of every epoch and what
        random transforms draw in worker processes: torch seeds Python's `random`, numpy and itself
        there. Without workers these draw from the process's own generators. `drop_last` leaves an
        incomplete last training batch out.

        Raises:
            TypeError, ValueError: a number is of the wrong type or out of range, or `drop_last`
                would leave no batch.
        """
        check_count(self.name, "batch_size", batch_size, 1)
        check_count(self.name, "workers", workers, 0)
        check_count(self.name, "seed", seed, 0)
        items = self.epoch_items or len(cast(Sized, self.train))
        if drop_last and items < batch_size:
            raise ValueError(
                f"{self.name}: drop_last leaves no batch, since {items:,} training items are fewer"
                f" than batch_size={batch_size}; take a smaller batch_size"
            )
        common: dict[str, Any] = dict(num_workers=workers, pin_memory=pin_memory)
        train = self._train(seed, batch_size=batch_size, drop_last=drop_last, **common)
        # A generator of its own, lest an evaluation advances torch's.
        order = torch.Generator().manual_seed(seed)
        collate = _collate(self.valid)
        valid = DataLoader(
            self.valid, batch_size=2 * batch_size, generator=order, collate_fn=collate, **common
        )
        return DataLoaders(train, valid, self.name, self.description, self.vocab)

    def _train(self, seed: int, **how: Any) -> DataLoader[Any]:
        order = torch.Generator().manual_seed(seed)
        drawn = self.epoch_items
        sampler = RandomSampler(
            cast(Sized, self.train), drawn is not None, num_samples=drawn, generator=order
        )
        collate = _collate(self.train)
        return DataLoader(self.train, sampler=sampler, generator=order, collate_fn=collate, **how)


def _collate(dataset: Dataset[Any]) -> Callable[[Any], Any]:
    return as_is if makes_batches(dataset) else as_tuple
