"""Which files are trained on and which are held out: functions from paths to two lists."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

# From the files, in order, to what is trained on and what is held out. A file may be in neither.
Splitter = Callable[[Sequence[Path]], tuple[list[Path], list[Path]]]

TRAIN, VALID = ("train",), ("valid", "val", "test")


def grandparent_splitter(train: Sequence[str] = TRAIN, valid: Sequence[str] = VALID) -> Splitter:
    """By the name of the folder two above the file, as in `train/cat/1.jpg`.

    Where several of the names are there, the first is taken, so that `test` stays out where there
    is a `val`. Files in other folders are in neither part.

    Raises (when it is called):
        ValueError: no file is in a folder of such a name.
    """

    def split(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
        found: dict[str, list[Path]] = {}
        for file in files:
            found.setdefault(file.parent.parent.name, []).append(file)
        return _first(found, train, "train"), _first(found, valid, "valid")

    return split


def _first(found: dict[str, list[Path]], names: Sequence[str], part: str) -> list[Path]:
    for name in names:
        if name in found:
            return found[name]
    raise ValueError(
        f"grandparent_splitter: no file lies in {' or '.join(f'{n}/CLASS' for n in names)} for the"
        f" {part} part; the folders two above the files are {', '.join(sorted(found)) or 'none'}"
    )


def random_splitter(held_out: float = 0.2, seed: int = 0) -> Splitter:
    """A share of the files at random; the same files and seed give the same parts.

    Raises:
        ValueError: the share is not within 0 and 1.
    """
    _check_share(held_out)

    def split(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
        train, valid = split_places(len(files), held_out, seed)
        return [files[i] for i in train], [files[i] for i in valid]

    return split


def func_splitter(held_out: Callable[[Path], bool | None]) -> Splitter:
    """By a function of the path: True is held out, False trained on, None is in neither."""

    def split(files: Sequence[Path]) -> tuple[list[Path], list[Path]]:
        train: list[Path] = []
        valid: list[Path] = []
        for file in files:
            answer = held_out(file)
            if answer is not None:
                (valid if answer else train).append(file)
        return train, valid

    return split


def split_places(count: int, held_out: float, seed: int) -> tuple[list[int], list[int]]:
    """The numbers below `count` in two parts, both in order, `held_out` of them in the second."""
    _check_share(held_out)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    cut = round(count * held_out)
    return sorted(order[cut:]), sorted(order[:cut])


def _check_share(held_out: float) -> None:
    if not 0 < held_out < 1:
        raise ValueError(f"the held-out share must be within 0 and 1, got {held_out}")
