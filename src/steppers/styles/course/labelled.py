"""The course's data block, second half: items split in two, labelled, and made into batches."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any

from ...train.data.labels import parent_label as parent_labeler
from .data_bunch import DataBunch, get_dls
from .items import ItemList
from .lists import compose, in_order, uniqueify

__all__ = [
    "CategoryProcessor",
    "LabeledData",
    "Processor",
    "SplitData",
    "grandparent_splitter",
    "label_by_func",
    "parent_labeler",
    "split_by_func",
]


def grandparent_splitter(
    fn: Path, valid_name: str = "valid", train_name: str = "train"
) -> bool | None:
    """Whether the folder two above a file is that of the validation data; None for neither's.

    >>> [grandparent_splitter(Path(f"{part}/cat/1.jpg")) for part in ("train", "valid", "test")]
    [False, True, None]
    """
    return {valid_name: True, train_name: False}.get(fn.parent.parent.name)


def split_by_func(
    items: Iterable[Any], f: Callable[[Any], bool | None]
) -> tuple[list[Any], list[Any]]:
    """The items for which f is False, and those for which it is True; None leaves one out.

    Raises TypeError for another answer.
    """
    parts: dict[bool | None, list[Any]] = {False: [], True: [], None: []}
    for item in items:
        if (answer := f(item)) not in parts:
            raise TypeError(
                f"split_by_func: wants True (valid), False (train) or None, got {answer!r} of "
                f"{item!r}"
            )
        parts[answer].append(item)
    return parts[False], parts[True]


class SplitData:
    """Training and validation items; what it has not itself is the training items'."""

    def __init__(self, train: Any, valid: Any) -> None:
        self.train, self.valid = train, valid

    def __getattr__(self, name: str) -> Any:
        if name in ("train", "valid") or name.startswith("__"):  # while it is being unpickled
            raise AttributeError(name)
        return getattr(self.train, name)

    @classmethod
    def split_by_func(cls, il: ItemList, f: Callable[[Any], bool | None]) -> SplitData:
        """Split a list by a function of its unopened items (see `split_by_func`)."""
        return cls(*map(il.new, split_by_func(il.items, f)))

    def to_databunch(
        self, bs: int, c_in: int | None = None, c_out: int | None = None, **kwargs: Any
    ) -> DataBunch:
        """Batches of both parts, with the options of `get_dls`."""
        return DataBunch(*get_dls(self.train, self.valid, bs, **kwargs), c_in=c_in, c_out=c_out)

    def __repr__(self) -> str:
        return f"{type(self).__name__}\nTrain: {self.train}\nValid: {self.valid}\n"


class Processor:
    """What makes items of a list into those of another, all at once. To be overridden."""

    def __call__(self, items: list[Any]) -> list[Any]:
        return items

    def deproc1(self, item: Any) -> Any:
        """What one item was made of."""
        return item

    def deprocess(self, items: Iterable[Any]) -> list[Any]:
        """What items were made of."""
        return [self.deproc1(item) for item in items]


class CategoryProcessor(Processor):
    """Classes as their numbers. `vocab` is that of the first items, in the order they come in.

    >>> process = CategoryProcessor()
    >>> process(["cat", "dog", "cat"]), process(["dog"]), process.deprocess([1, 0])
    ([0, 1, 0], [1], ['dog', 'cat'])
    """

    def __init__(self) -> None:
        self.vocab: list[Any] | None = None
        self.otoi: dict[Hashable, int] = {}

    def __call__(self, items: list[Any]) -> list[Any]:
        if self.vocab is None:
            self.vocab = uniqueify(items)
            self.otoi = {item: number for number, item in enumerate(self.vocab)}
        return [self.proc1(item) for item in items]

    def proc1(self, item: Hashable) -> int:
        """The number of a class. Raises ValueError for one that the first items had not."""
        if item not in self.otoi:
            raise ValueError(
                f"CategoryProcessor: {item!r} is not among the classes of the training items: "
                f"{', '.join(map(str, self.vocab or ()))}"
            )
        return self.otoi[item]

    def deproc1(self, item: Any) -> Any:
        """The class of a number."""
        if self.vocab is None:
            raise ValueError("CategoryProcessor: no items have been processed: there is no vocab")
        return self.vocab[int(item)]


class LabeledData:
    """Inputs and targets, each a list that processors have been through: a data set for torch."""

    def __init__(self, x: ItemList, y: ItemList, proc_x: Any = None, proc_y: Any = None) -> None:
        if len(x) != len(y):
            raise ValueError(f"LabeledData: got {len(x)} inputs and {len(y)} targets")
        self.x, self.y = self.process(x, proc_x), self.process(y, proc_y)
        self.proc_x, self.proc_y = proc_x, proc_y

    def process(self, il: ItemList, proc: Any) -> ItemList:
        """The list of what processors make of a list's items."""
        return il.new(compose(il.items, proc))

    def __getitem__(self, idx: Any) -> tuple[Any, Any]:
        return self.x[idx], self.y[idx]

    def __len__(self) -> int:
        return len(self.x)

    def x_obj(self, idx: Any) -> Any:
        """An input, or a list of them, as it was before the processors."""
        return _before(self.x[idx], self.proc_x)

    def y_obj(self, idx: Any) -> Any:
        """A target, or a list of them, as it was before the processors."""
        return _before(self.y[idx], self.proc_y)

    @classmethod
    def label_by_func(
        cls, il: ItemList, f: Callable[[Any], Any], proc_x: Any = None, proc_y: Any = None
    ) -> LabeledData:
        """Items with a function of them, unopened, as their targets."""
        y = ItemList([f(item) for item in il.items], path=il.path)
        return cls(il, y, proc_x=proc_x, proc_y=proc_y)

    def __repr__(self) -> str:
        return f"{type(self).__name__}\nx: {self.x}\ny: {self.y}\n"


def _before(item: Any, processors: Any) -> Any:
    for processor in reversed(in_order(processors)):
        undo: Any = processor
        item = undo.deprocess(item) if isinstance(item, list) else undo.deproc1(item)
    return item


def label_by_func(
    sd: SplitData, f: Callable[[Any], Any], proc_x: Any = None, proc_y: Any = None
) -> SplitData:
    """Label both parts; the processors are shared, and the training items come first."""
    parts = (LabeledData.label_by_func(part, f, proc_x, proc_y) for part in (sd.train, sd.valid))
    return SplitData(*parts)
