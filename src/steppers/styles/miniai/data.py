"""miniai's data: loaders of a dict of splits, as Hugging Face datasets has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from operator import itemgetter
from typing import Any

from torch.utils.data import DataLoader, default_collate

from ...train.data import from_dd


class DataLoaders:
    """The loaders of training and of evaluation, `train` and `valid`."""

    def __init__(self, *dls: Any) -> None:
        if len(dls) < 2:
            raise TypeError(
                f"DataLoaders: wants a loader to train on and one to evaluate, got {len(dls)}"
            )
        self.train, self.valid = dls[:2]

    @classmethod
    def from_dd(
        cls,
        dd: Mapping[str, Any],
        batch_size: int,
        as_tuple: bool = True,
        *,
        seed: int = 0,
        num_workers: int = 0,
        **kwargs: Any,
    ) -> DataLoaders:
        """Loaders of a dict of splits; evaluation batches are twice as large.

        A batch is a tuple of the columns in the order of the split's features, or with
        `as_tuple=False` a dict. The training data is shuffled, in an order that `seed` begins.
        Transforms that the splits have are run batch by batch. Further options are `from_dd`'s of
        `steppers.train.data`.
        """
        data = from_dd(dd, **kwargs)
        loaders = data.loaders(batch_size, workers=num_workers, seed=seed)
        if as_tuple:
            return cls(loaders.train, loaders.valid)
        names = tuple(kwargs.get("columns") or _first(dd).features)
        return cls(_Dicts(loaders.train, names), _Dicts(loaders.valid, names))


class _Dicts:
    """A loader whose batches are dicts by column."""

    def __init__(self, loader: Any, names: tuple[str, ...]) -> None:
        self.loader, self.names = loader, names

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Any:
        return (dict(zip(self.names, batch, strict=True)) for batch in self.loader)


def _first(dd: Mapping[str, Any]) -> Any:
    return next(iter(dd.values()))


def get_dls(train_ds: Any, valid_ds: Any, bs: int, **kwargs: Any) -> tuple[Any, Any]:
    """Shuffled batches of one data set, and batches twice as large of another, in order."""
    train = DataLoader(train_ds, batch_size=bs, shuffle=True, **kwargs)
    return train, DataLoader(valid_ds, batch_size=2 * bs, **kwargs)


def collate_dict(ds: Any) -> Callable[[Any], tuple[Any, ...]]:
    """A collate function for items that are dicts: a tuple of the columns that `ds` has."""
    get = itemgetter(*ds.features)

    def collate(items: Any) -> tuple[Any, ...]:
        return get(default_collate(items))

    return collate


def inplace(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function that changes its argument as one that returns it too."""

    @wraps(f)
    def changed(b: Any) -> Any:
        f(b)
        return b

    return changed
