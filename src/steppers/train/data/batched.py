"""Data sets that make a whole batch at once, which is what keeps small items cheap to load."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset, default_collate

# One tensor a column, the target last. The first dimension is the item.
Batch = tuple[Tensor, ...]


class BatchedDataset(Dataset[Batch]):
    """A data set of which `batch` is asked for many items at once, and one item is a part of it.

    A `DataLoader` over one needs `collate_fn=as_is`, since nothing is left to collate;
    `Data.loaders` sets it.
    """

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, indices: Sequence[int]) -> Batch:
        """The items at these places, as new tensors of length `len(indices)`."""

    def __getitem__(self, index: int) -> Batch:
        place = range(len(self))[index]  # negative from the end; IndexError beyond it
        return tuple(column[0] for column in self.batch([place]))

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        return self.batch(indices)


def as_is(batch: Batch) -> Batch:
    """The collate function of what is a batch already."""
    return batch


def as_tuple(items: list[Any]) -> Any:
    """What torch collates items to, its columns as a tuple where torch gives a list."""
    batch = default_collate(items)
    return tuple(batch) if isinstance(batch, list) else batch


def makes_batches(dataset: Dataset[Any]) -> bool:
    """Whether a data set, or the one that a torch Subset is taken from, makes whole batches."""
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return isinstance(dataset, BatchedDataset)


class TensorData(BatchedDataset):
    """Tensors in memory, items along the first dimension: a batch is one index_select a tensor.

    `transform` is called on the inputs of each batch, for instance to turn bytes into floats. The
    tensors may lie on a GPU, and batches are then made there.

    >>> data = TensorData(torch.arange(6.0).view(3, 2), torch.tensor([0, 1, 0]))
    >>> data.batch([2, 0])
    (tensor([[4., 5.],
            [0., 1.]]), tensor([0, 0]))

    Raises:
        TypeError: what is given is no tensor.
        ValueError: the two are not of one length.
    """

    def __init__(
        self, x: Tensor, y: Tensor, *, transform: Callable[[Tensor], Tensor] | None = None
    ) -> None:
        for name, value in (("x", x), ("y", y)):
            if not isinstance(value, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(f"TensorData: {name} must be a tensor, got {type(value).__name__}")
            if not value.dim():
                raise ValueError(f"TensorData: {name} is one number; items lie along a dimension")
        if len(x) != len(y):
            raise ValueError(
                f"TensorData: x has {len(x):,} items and y {len(y):,}; there is one y for each x"
            )
        self.x, self.y, self.transform = x, y, transform

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, indices: Sequence[int]) -> Batch:
        index = torch.tensor(indices, device=self.x.device)
        x = self.x.index_select(0, index)
        y = self.y.index_select(0, index.to(self.y.device))
        return (x if self.transform is None else self.transform(x)), y
