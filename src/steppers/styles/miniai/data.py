"""miniai's data: loaders of a dict of splits, as Hugging Face datasets has them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
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
        columns: Sequence[str] | None = None,
        train: str | None = None,
        valid: str | None = None,
        transform: Callable[[Any], Any] | None = None,
        normalise: Any = None,
        **kwargs: Any,
    ) -> DataLoaders:
        """Loaders of a dict of splits; evaluation batches are twice as large.

        A batch is a tuple of the columns in the order of the split's features, or with
        `as_tuple=False` a dict. Splits are read batch by batch, through the transforms that they
        have. Training data is shuffled, in an order that torch's own random numbers decide.

        Args:
            dd: splits by name, as `datasets.load_dataset` returns them.
            batch_size: of training; evaluation's is twice that.
            as_tuple: False for batches that are dicts.
            columns, train, valid: which columns, and which splits, where it is not all of them,
                and "train" and the first there is of "validation", "valid", "val" and "test".
            transform: a function of each batch, a dict of lists, behind the splits' own.
            normalise: mean and deviation by which the inputs are normalised.
            kwargs: options of torch's DataLoader, such as `num_workers`.
        """
        data = from_dd(
            dd,
            columns=columns,
            train=train,
            valid=valid,
            transform=transform,
            normalise=normalise,
        )
        names = None if as_tuple else tuple(columns or _features(dd, train))
        as_asked = partial(_named, names)
        return cls(*get_dls(data.train, data.valid, batch_size, collate_fn=as_asked, **kwargs))


def _features(dd: Mapping[str, Any], train: str | None) -> Any:
    return dd["train" if train is None else train].features


def _named(names: tuple[str, ...] | None, batch: tuple[Any, ...]) -> Any:
    """A batch, which is a tuple of columns, as it is or as a dict."""
    return batch if names is None else dict(zip(names, batch, strict=True))


def get_dls(train_ds: Any, valid_ds: Any, bs: int, **kwargs: Any) -> tuple[Any, Any]:
    """Shuffled batches of one data set, and batches twice as large of another, in order."""
    train = DataLoader(train_ds, batch_size=bs, shuffle=True, **kwargs)
    return train, DataLoader(valid_ds, batch_size=2 * bs, **kwargs)


def collate_dict(ds: Any) -> Callable[[Any], tuple[Any, ...]]:
    """A collate function for items that are dicts: a tuple of the columns that `ds` has."""
    return partial(_columns, itemgetter(*ds.features))


def _columns(get: Callable[[Any], Any], items: Any) -> tuple[Any, ...]:
    return get(default_collate(items))


def inplace(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function that changes its argument as one that returns it too."""

    @wraps(f)
    def changed(b: Any) -> Any:
        f(b)
        return b

    return changed
