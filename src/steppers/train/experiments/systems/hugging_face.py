"""MNIST and Fashion-MNIST as Hugging Face's `datasets` leaves them in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...data.batched import TensorData
from ...data.dataset import Data

FOLDERS = {"mnist": ("mnist",), "fashion-mnist": ("fashion_mnist", "fashion-mnist")}
SAVED = "dataset_dict.json"  # what `save_to_disk` leaves beside the splits
SIDES = (28, 28)
CLASSES = 10
ROWS = 1000  # decoded at a time


def find(name: str, folder: Path) -> Path | None:
    """The folder, or one in it under the data set's name, if it is of this form.

    It is where `save_to_disk` wrote to it or Parquet files lie in it, as in a clone from the hub.
    """
    for place in (folder, *(folder / other for other in FOLDERS.get(name, ()))):
        if (place / SAVED).is_file() or any(place.glob("*.parquet")):
            return place
    return None


def load(name: str, place: Path) -> Data:
    """The training and the test images, in bytes.

    Raises:
        ImportError: the library `datasets` is not installed.
        ValueError: the library cannot read the folder, or it holds other images.
    """
    splits = read(place)
    (x, y), (valid_x, valid_y) = (tensors(splits, part, place) for part in ("train", "test"))
    return Data(
        name=name,
        train=TensorData(x, y),
        valid=TensorData(valid_x, valid_y),
        shape=tuple(x.shape[1:]),
        description=f"{name}: {len(y):,} train, the {len(valid_y):,} test images held out",
    )


def read(place: Path) -> Mapping[str, Any]:
    """The splits by name, as the library gives them."""
    try:
        import datasets  # pyright: ignore[reportMissingImports]  # it need not be installed
    except ImportError as error:
        raise ImportError(f"reading {place} needs datasets: pip install datasets") from error
    library: Any = datasets
    try:
        saved = (place / SAVED).is_file()
        return library.load_from_disk(str(place)) if saved else library.load_dataset(str(place))
    except Exception as error:  # the library and Arrow have exceptions of their own
        raise ValueError(f"{place}: `datasets` cannot read it: {error}") from error


def tensors(splits: Mapping[str, Any], part: str, place: Path) -> tuple[Tensor, Tensor]:
    """Images (count, 1, height, width) in bytes, and labels (count,) in int64.

    Raises:
        ValueError: there is no such split or column, or it holds something else.
    """
    if part not in splits:
        raise ValueError(f"{place}: there is no split {part!r}, only {', '.join(splits)}")
    table, content, labels = splits[part], bytearray(), list[int]()
    for start in range(0, len(table), ROWS):
        rows = table[start : start + ROWS]
        for column in ("image", "label"):
            if column not in rows:
                raise ValueError(f"{place}: {part} has no {column!r}, only {', '.join(rows)}")
        content += b"".join(pixels(image, f"{place}: {part}") for image in rows["image"])
        labels += rows["label"]
    y = torch.tensor(labels)
    if not len(y) or int(y.min()) < 0 or int(y.max()) >= CLASSES:
        raise ValueError(f"{place}: {part} has no images, or labels that are not 0 to 9")
    return torch.frombuffer(content, dtype=torch.uint8).view(len(y), 1, *SIDES), y


def pixels(image: Any, where: str) -> bytes:
    """A PIL image's bytes; ValueError for one of another size or in colours."""
    if image.mode != "L" or image.size != SIDES:
        size = " x ".join(map(str, image.size))
        raise ValueError(
            f"{where} has an image of {size} pixels in mode {image.mode}; grey ones of 28 x 28 "
            "are wanted"
        )
    return image.tobytes()
