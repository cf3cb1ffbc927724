"""What a run is trained on: the original's data, or digits that stand in for it and say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor

from ...data.batched import TensorData
from ...data.dataset import Data
from ...data.imagenette import STATISTICS
from ...data.images import ImageFiles
from ...data.mnist import FASHION_MNIST, MNIST
from ...data.normalise import Normalise
from ...data.registry import load_data
from ...spec import nearest
from . import hugging_face
from .experiment import Experiment

STAND_INS = ("digits",)
STEPS = 50  # an epoch, at least, on data that stands in
# Means and deviations of the originals' pixels in [0, 1], by channel.
PIXELS: Mapping[str, tuple[Sequence[float], Sequence[float]]] = {
    "mnist": ((MNIST.mean,), (MNIST.std,)),
    "fashion-mnist": ((FASHION_MNIST.mean,), (FASHION_MNIST.std,)),
    "imagenette": (STATISTICS.mean, STATISTICS.std),
}
# The labels that the training parts begin with: their files have the same names.
FIRST: Mapping[str, Sequence[int]] = {
    "mnist": (5, 0, 4, 1, 9, 2, 1, 3, 1, 4),
    "fashion-mnist": (9, 0, 0, 3, 0, 2, 7, 2, 5, 5),
}


@dataclass(frozen=True)
class Source:
    """Where data comes from.

    Args:
        folder: where the original's data is; None: the cache, or by download into it.
        stand_in: "digits" to train on these instead; None: on the original's data or not at all.
        pixels: the side of images that stand in for photographs; None: the network's own.

    Raises:
        ValueError: a name that there is not, with the nearest, or options that exclude each other.
    """

    folder: str | Path | None = None
    stand_in: str | None = None
    pixels: int | None = None

    def __post_init__(self) -> None:
        if self.stand_in is not None and self.stand_in not in STAND_INS:
            hint = nearest(str(self.stand_in), STAND_INS) or f"; there is {', '.join(STAND_INS)}"
            raise ValueError(f"no data {self.stand_in!r} to stand in{hint}")
        if self.stand_in is not None and self.folder is not None:
            raise ValueError("give the folder of the original's data or a stand-in, not both")
        if self.pixels is not None and self.stand_in is None:
            raise ValueError("pixels are of what stands in; the original's data has its own size")
        if self.pixels is not None and self.pixels < 1:
            raise ValueError(f"pixels must be a whole number from 1 on, got {self.pixels!r}")

    @property
    def said(self) -> str:
        """That other data stands in, for every output; nothing where none does."""
        if self.stand_in is None:
            return ""
        return "digits stand in for the originals' data: no accuracy compares, orders may"

    def load(self, experiment: Experiment, seed: int) -> Data:
        """The data of a run.

        Raises:
            FileNotFoundError: it is not there and cannot be had.
            ImportError, ValueError: as its own function says.
        """
        if self.stand_in is not None:
            return digits_for(experiment, seed, self.pixels)
        try:
            return original(experiment, self.folder)
        except ConnectionError as error:
            raise FileNotFoundError(str(error)) from error

    def batch_size(self, experiment: Experiment, data: Data) -> int:
        """The original's; on data that stands in, at most what makes `STEPS` steps an epoch."""
        if self.stand_in is None:
            return experiment.batch_size
        return max(1, min(experiment.batch_size, len(cast("Any", data.train)) // STEPS))


def original(experiment: Experiment, folder: str | Path | None) -> Data:
    """The data that the original was trained on, in today's split."""
    normalise = None if experiment.normalise is None else Normalise(*experiment.normalise)
    if experiment.data == "imagenette":
        return photographs(experiment, folder, normalise)
    data = files(experiment.data, folder)
    if experiment.held_out is not None:
        data = last_held_out(data, experiment.held_out)
    whole = normalise or Normalise((0.0,), (1.0,))
    return replace(
        data, train=with_transform(data.train, whole), valid=with_transform(data.valid, whole)
    )


def photographs(
    experiment: Experiment, folder: str | Path | None, normalise: Normalise | None
) -> Data:
    """Imagenette, each part with its own transforms."""
    data = load_data(
        "imagenette",
        folder,
        size=experiment.net.shape[1:],
        transforms=experiment.transforms,
        normalise=normalise,
    )
    valid = cast(ImageFiles, data.valid)
    steps = [*valid.transforms, *experiment.valid_transforms]
    return replace(
        data, valid=ImageFiles(valid.files, valid.labels.tolist(), steps, whole=valid.whole)
    )


def files(name: str, folder: str | Path | None) -> Data:
    """MNIST or Fashion-MNIST: the four files, or what Hugging Face's library left in a folder.

    Raises:
        ValueError: they are those of the other data set.
    """
    place = None if folder is None else hugging_face.find(name, Path(folder).expanduser())
    data = load_data(name, folder) if place is None else hugging_face.load(name, place)
    first = tuple(cast(TensorData, data.train).y[:10].tolist())
    for other, labels in FIRST.items():
        if other != name and first == labels:
            raise ValueError(
                f"{name}: the files in {folder or 'the cache'} are those of {other}, which have the"
                " same names; give the folder of the right ones"
            )
    return data


def last_held_out(data: Data, share: float) -> Data:
    """The last share of the training images in place of the test images."""
    train = cast(TensorData, data.train)
    count = round(len(train) * share)
    first = len(train) - count
    parts = [TensorData(train.x[at], train.y[at]) for at in (slice(first), slice(first, None))]
    said = f"{data.name}: {first:,} train, the last {count:,} training images held out"
    return replace(data, train=parts[0], valid=parts[1], description=said)


def with_transform(part: Any, transform: Normalise) -> TensorData:
    """The same bytes, brought to other numbers."""
    return TensorData(part.x, part.y, transform=transform)


@dataclass(frozen=True)
class Stretch:
    """Grey images to a shape: bilinear, the channel repeated, each then scaled and shifted."""

    shape: Sequence[int]
    scale: Sequence[float] = (1.0,)
    shift: Sequence[float] = (0.0,)

    def __call__(self, x: Tensor) -> Tensor:
        channels, *sides = self.shape
        large = F.interpolate(x, size=tuple(sides), mode="bilinear", align_corners=False)
        scale, shift = (x.new_tensor(part).view(-1, 1, 1) for part in (self.scale, self.shift))
        return (large * scale + shift).expand(-1, channels, -1, -1)

    def onto(self, x: Tensor, mean: Sequence[float], std: Sequence[float]) -> Stretch:
        """This stretch with what gives images `x` such means and deviations, by channel."""
        seen = self(x)[:, 0]
        here, wide = seen.mean().item(), seen.std(correction=0).item()
        scale = [one / wide for one in std]
        shift = [one - here * by for one, by in zip(mean, scale, strict=True)]
        return Stretch(self.shape, scale, shift)


def inputs_of(experiment: Experiment) -> tuple[list[float], list[float]]:
    """The means and deviations, by channel, of what the original's network was fed."""
    means, stds = PIXELS[experiment.data]
    if experiment.normalise is None:
        return [*means], [*stds]
    triples = zip(means, stds, *experiment.normalise, strict=True)
    found = [((mean - less) / by, std / by) for mean, std, less, by in triples]
    return [mean for mean, _ in found], [std for _, std in found]


def digits_for(experiment: Experiment, seed: int, pixels: int | None) -> Data:
    """scikit-learn's digits in the shape of a run's inputs, by default as small as suits its net.

    They have the mean and the deviation that the original's inputs had, since a rate suits inputs
    of one size. There is no random transform: a digit that is turned round is another one.

    Raises:
        ValueError: pixels are given that the network cannot take.
        ImportError: scikit-learn is not installed.
    """
    channels, height, _ = experiment.net.shape
    side = experiment.net.small if pixels is None or channels == 1 else pixels
    data = load_data("digits", seed=seed)
    train, valid = cast(TensorData, data.train), cast(TensorData, data.valid)
    stretch = Stretch((channels, side, side)).onto(train.x, *inputs_of(experiment))
    shrunk = f" in place of {height}x{height}" if side != height else ""
    return replace(
        data,
        train=TensorData(train.x, train.y, transform=stretch),
        valid=TensorData(valid.x, valid.y, transform=stretch),
        shape=(channels, side, side),
        description=(
            f"digits in place of {experiment.data}, resized to {channels}x{side}x{side}{shrunk}: "
            f"{len(train):,} train / {len(valid):,} held out (seed {seed})"
        ),
    )
