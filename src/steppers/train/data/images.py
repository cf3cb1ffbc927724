"""Image files as a data set: opened when they are asked for, transformed, stacked to a batch."""

import errno
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..extras import missing
from .batched import Batch, BatchedDataset
from .transforms import Transform, by_order


def open_image(path: str | Path) -> Any:
    """The PIL image in a file, read to its end.

    Raises:
        ImportError: Pillow is not installed.
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged or no image.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise missing("Pillow", "reading images") from error
    try:
        with Image.open(path) as image:
            image.load()
            return image
    # Each format's reader fails in exceptions of its own: OSError, SyntaxError, struct.error, ...
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.EACCES, errno.EMFILE):
            raise
        raise ValueError(f"{path}: is damaged or no image: {error}") from error


class ImageFiles(BatchedDataset):
    """Images in files with their classes: x (batch, channels, height, width), y int64.

    `transforms` work on one image, in the order that they state, and end with a tensor. `whole`
    works on the stacked batch.

    Raises (a batch):
        ValueError: a file is no image, or the images of a batch are not of one size.
        RuntimeError: a transform failed; the message names it and the file.
    """

    def __init__(
        self,
        files: Sequence[Path],
        labels: Iterable[int],
        transforms: Iterable[Transform],
        *,
        whole: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.files, self.labels = list(files), torch.tensor(list(labels), dtype=torch.int64)
        if len(self.files) != len(self.labels):
            raise ValueError(f"{len(self.files):,} files, but {len(self.labels):,} labels")
        self.transforms, self.whole = by_order(transforms), whole

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, indices: Sequence[int]) -> Batch:
        images = [self.image(i) for i in indices]
        for i, image in zip(indices, images, strict=True):
            if image.shape != images[0].shape:
                raise ValueError(
                    f"{self.files[i]}: is {_shape(image)}, but {self.files[indices[0]]} in the same"
                    f" batch is {_shape(images[0])}; add Resize(...) or Convert(...)"
                )
        x = torch.stack(images)
        return (x if self.whole is None else self.whole(x)), self.labels[list(indices)]

    def image(self, index: int) -> Tensor:
        """One image, with the item transforms alone."""
        file = self.files[index]
        image = open_image(file)
        for transform in self.transforms:
            try:
                image = transform(image)
            except Exception as error:
                name = getattr(transform, "__name__", repr(transform))
                raise RuntimeError(f"{file}: {name} failed: {error}") from error
        if not isinstance(image, Tensor):
            raise RuntimeError(f"{file}: no transform made a tensor of it; add ToByteTensor()")
        return image


def _shape(image: Tensor) -> str:
    return " x ".join(map(str, image.shape))
