"""A Hugging Face dataset dict, or anything with its interface, as a data set."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .batched import Batch, BatchedDataset
from .dataset import Data
from .normalise import Normalise
from .splitters import TRAIN
from .transforms import ToFloatTensor

# From a batch as the library gives it, a list a column, to one of tensors or lists.
Rows = Mapping[str, Any]
VALID = ("validation", "valid", "val", "test")


class Columns(BatchedDataset):
    """Some columns of a table, read and transformed when a batch wants them.

    `table[[3, 1]]` must be a mapping from a column's name to a list. Images become float32 tensors
    (channels, height, width) in [0, 1]; numbers, lists and arrays become tensors as torch does it.

    Raises (a batch):
        ValueError: the items of a column are not of one shape or number, or a label, which is the
            last column, is not within the classes.
    """

    def __init__(
        self,
        table: Any,
        columns: Sequence[str],
        *,
        transform: Callable[[Rows], Rows] | None = None,
        normalise: Normalise | None = None,
        classes: int | None = None,
    ) -> None:
        self.table, self.columns, self.classes = table, tuple(columns), classes
        self.transform, self.normalise = transform, normalise

    def __len__(self) -> int:
        return len(self.table)

    def batch(self, indices: Sequence[int]) -> Batch:
        rows: Rows = self.table[list(indices)]
        if self.transform is not None:
            rows = self.transform(rows)
        columns = [_stack(name, rows[name], len(indices)) for name in self.columns]
        if self.normalise is not None:
            columns[0] = self.normalise(columns[0])
        if self.classes is not None:
            self._check_labels(columns[-1])
        return tuple(columns)

    def _check_labels(self, labels: Tensor) -> None:
        low, high = (int(end) for end in labels.aminmax())
        assert self.classes is not None
        if low < 0 or high >= self.classes:
            bad = low if low < 0 else high
            raise ValueError(
                f"from_dd: column {self.columns[-1]!r} has the label {bad}, and the classes are"
                f" numbered 0 to {self.classes - 1}"
            )


def from_dd(
    dd: Mapping[str, Any],
    *,
    columns: Sequence[str] | None = None,
    train: str | None = None,
    valid: str | None = None,
    transform: Callable[[Rows], Rows] | None = None,
    normalise: Normalise | None = None,
    name: str = "dataset",
) -> Data:
    """A data set of a dict of splits, as `datasets.load_dataset` returns it.

    `columns` are the inputs and last the target; without them all are taken, in the order of the
    split's `features`. The classes' names are those of the target's feature. The splits are named
    by `train` and `valid`, or are "train" and the first there is of "validation", "valid", "val"
    and "test". `transform` gets each batch as a dict of lists.

    Raises:
        TypeError: this is no dict of splits, or a split has no features and `columns` is not given.
        ValueError: a split or a column is not there.
    """
    if not isinstance(dd, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # the user's
        raise TypeError(f"from_dd: wants a dict of splits, got {type(dd).__name__}")
    parts = [_split(dd, train, TRAIN), _split(dd, valid, VALID)]
    features = getattr(parts[0], "features", None)
    columns = _columns(columns, features)
    names = getattr((features or {}).get(columns[-1]), "names", None)
    vocab = tuple(names) if names else None
    data = [
        Columns(
            part,
            columns,
            transform=transform,
            normalise=normalise,
            classes=len(vocab) if vocab else None,
        )
        for part in parts
    ]
    counts = f"{len(data[0]):,} train / {len(data[1]):,} held out"
    shape = tuple(data[1][0][0].shape) if len(data[1]) else ()
    return Data(name, data[0], data[1], shape, f"{name}: {counts}", vocab)


def _split(dd: Mapping[str, Any], name: str | None, usual: Sequence[str]) -> Any:
    for key in usual if name is None else (name,):
        if key in dd:
            return dd[key]
    wanted = repr(name) if name else f"one of {', '.join(usual)}"
    raise ValueError(f"from_dd: there is no split {wanted}, only {', '.join(map(str, dd))}")


def _columns(columns: Sequence[str] | None, features: Any) -> tuple[str, ...]:
    if columns is None:
        if features is None:
            raise TypeError("from_dd: the splits have no features; name the columns: columns=…")
        columns = tuple(features)
    if isinstance(columns, str) or len(columns) < 2:
        raise ValueError(f"from_dd: wants an input and a target as columns, got {columns!r}")
    for column in columns:
        if features is not None and column not in features:
            raise ValueError(f"from_dd: no column {column!r}, only {', '.join(features)}")
    return tuple(columns)


def _stack(column: str, values: Any, count: int) -> Tensor:
    """One tensor of a column's values."""
    if len(values) != count:
        raise ValueError(
            f"from_dd: column {column!r} has {len(values)} items in a batch of {count}"
        )
    if isinstance(values, Tensor):
        return values
    items = [_tensor(column, value) for value in values]
    for item in items:
        if item.shape != items[0].shape:
            raise ValueError(
                f"from_dd: column {column!r} has items of {tuple(items[0].shape)} and"
                f" {tuple(item.shape)} in one batch; make them equal in transform=…"
            )
    return torch.stack(items)


def _tensor(column: str, value: Any) -> Tensor:
    if hasattr(value, "getbands"):  # a PIL image
        return ToFloatTensor()(value)
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"from_dd: column {column!r} holds {type(value).__name__}, of which no tensor can be"
            f" made: {error}; turn it into one in transform=…"
        ) from error
