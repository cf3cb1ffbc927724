"""The course's data block, first half: files, and lists of items that are opened when asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ...train.data import files
from ...train.data.imagefolder import EXTENSIONS
from ...train.data.images import open_image
from .lists import compose, listify, setify

image_extensions = frozenset(EXTENSIONS)


def get_files(
    path: str | Path, extensions: Any = None, recurse: bool = False, include: Any = None
) -> list[Path]:
    """The files in a folder, and with `recurse` below it, sorted; names that begin with a dot not.

    `extensions` (".jpg"), one or several, in either case; None takes all. `include`: of the folders
    directly in `path` those of these names alone. Raises FileNotFoundError for no folder.
    """
    wanted = setify(extensions) or None
    folders = None if include is None else setify(include)
    return files.get_files(path, wanted, recurse=recurse, include=folders)


class ListContainer:
    """A list that also takes a list of places, or one of a bool for each item, and gives a list.

    >>> ListContainer("a b c".split())[[True, False, True]]
    ['a', 'c']
    """

    def __init__(self, items: Any) -> None:
        self.items = listify(items)

    def __getitem__(self, idx: Any) -> Any:
        return [self.items[i] for i in self._places(idx)] if _several(idx) else self.items[idx]

    def _places(self, idx: Any) -> Sequence[int]:
        if isinstance(idx, slice):
            return range(len(self))[idx]
        chosen = list(idx if isinstance(idx, Sequence) else idx.tolist())
        if not chosen or not isinstance(chosen[0], bool):
            return chosen
        if len(chosen) != len(self):
            owner = type(self).__name__
            raise IndexError(f"{owner}: got {len(chosen)} bools to choose from {len(self)} items")
        return [i for i, wanted in enumerate(chosen) if wanted]

    def __setitem__(self, idx: int, value: Any) -> None:
        self.items[idx] = value

    def __delitem__(self, idx: int) -> None:
        del self.items[idx]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __repr__(self) -> str:
        more = "" if len(self) <= 10 else f", and {len(self) - 10} more"
        first = ", ".join(map(repr, self.items[:10]))
        return f"{type(self).__name__} ({len(self)} items)\n[{first}{more}]"


def _several(idx: Any) -> bool:
    return isinstance(idx, slice | Sequence) or getattr(idx, "ndim", 0) > 0


class ItemList(ListContainer):
    """Items that `get` opens and `tfms` change, by their `_order`, each time that they are asked.

    `items` has them unopened, and so has a loop over the list; `il[i]` and `il[[i, j]]` open them.
    """

    def __init__(self, items: Any, path: str | Path = ".", tfms: Any = None) -> None:
        super().__init__(items)
        self.path, self.tfms = Path(path), tfms

    def new(self, items: Any, cls: type[ItemList] | None = None) -> ItemList:
        """Other items with this path and these transforms."""
        return (cls or type(self))(items, self.path, tfms=self.tfms)

    def get(self, i: Any) -> Any:
        """Open an item. To be overridden."""
        return i

    def __getitem__(self, idx: Any) -> Any:
        found = super().__getitem__(idx)
        return [self._opened(each) for each in found] if _several(idx) else self._opened(found)

    def _opened(self, item: Any) -> Any:
        return compose(self.get(item), self.tfms)

    def __repr__(self) -> str:
        return f"{super().__repr__()}\nPath: {self.path}"


class ImageList(ItemList):
    """Images in files, opened by Pillow."""

    @classmethod
    def from_files(
        cls,
        path: str | Path,
        extensions: Any = None,
        recurse: bool = True,
        include: Any = None,
        **kwargs: Any,
    ) -> ImageList:
        """The images below a folder (see `get_files`)."""
        kinds = image_extensions if extensions is None else extensions
        return cls(get_files(path, kinds, recurse, include), path, **kwargs)

    def get(self, i: str | Path) -> Any:
        """The PIL image in a file. Raises ValueError, with its name, for one that is damaged."""
        return open_image(i)
