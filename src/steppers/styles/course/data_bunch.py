"""Batches of training and validation data, as the course's Learners take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader


@dataclass
class DataBunch:
    """Loaders of training and validation batches, channels of the inputs, number of classes."""

    train_dl: Any
    valid_dl: Any
    c_in: int | None = None
    c_out: int | None = None

    @property
    def train_ds(self) -> Any:
        """The data set of the training batches."""
        return self.train_dl.dataset

    @property
    def valid_ds(self) -> Any:
        """The data set of the validation batches."""
        return self.valid_dl.dataset


def get_dls(
    train_ds: Any, valid_ds: Any, bs: int, **kwargs: Any
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Shuffled batches of the training data, and of the other in order and twice as large.

    Options are those of torch's DataLoader, such as num_workers. Raises ValueError where either
    has no items.
    """
    for name, items in (("train_ds", train_ds), ("valid_ds", valid_ds)):
        if not len(items):
            raise ValueError(f"get_dls: {name} is empty: no batches can be made of it")
    train = DataLoader[Any](train_ds, batch_size=bs, shuffle=True, **kwargs)
    return train, DataLoader[Any](valid_ds, batch_size=2 * bs, **kwargs)
