"""What a run is trained on: the original's data, or digits that stand in for it and say so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor

from ...data.batched import TensorData
from ...data.dataset import Data
from ...data.normalise import Normalise
from ...data.registry import load_data
from ...spec import nearest
from .experiment import Experiment

STAND_INS = ("digits",)
STEPS = 50  # an epoch, at least, on data that stands in


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
            return original(experiment, seed, self.folder)
        except (FileNotFoundError, ConnectionError) as error:
            raise FileNotFoundError(
                f"{experiment.name}: its data is not there ({error}); give the folder that has it "
                "with --data, or train on other data with --stand-in digits"
            ) from error

    def batch_size(self, experiment: Experiment, data: Data) -> int:
        """The original's; on data that stands in, at most what makes `STEPS` steps an epoch."""
        if self.stand_in is None:
            return experiment.batch_size
        return max(1, min(experiment.batch_size, len(cast("Any", data.train)) // STEPS))


def original(experiment: Experiment, seed: int, folder: str | Path | None) -> Data:
    """The data that the original was trained on, in today's split."""
    normalise = None if experiment.normalise is None else Normalise(*experiment.normalise)
    if experiment.data == "imagenette":
        return load_data(
            "imagenette",
            folder,
            size=experiment.net.shape[1:],
            transforms=experiment.transforms,
            normalise=normalise,
        )
    options = {} if experiment.held_out is None else {"held_out": experiment.held_out, "seed": seed}
    data = load_data(experiment.data, folder, **options)
    whole = normalise or Normalise((0.0,), (1.0,))
    return replace(
        data, train=with_transform(data.train, whole), valid=with_transform(data.valid, whole)
    )


def with_transform(part: Any, transform: Normalise) -> TensorData:
    """The same bytes, brought to other numbers."""
    return TensorData(part.x, part.y, transform=transform)


@dataclass(frozen=True)
class Stretch:
    """Grey images to a shape: bilinear, the channel repeated, (x - mean) / std."""

    shape: Sequence[int]
    mean: float = 0.0
    std: float = 1.0

    def __call__(self, x: Tensor) -> Tensor:
        channels, *sides = self.shape
        large = F.interpolate(x, size=tuple(sides), mode="bilinear", align_corners=False)
        return ((large - self.mean) / self.std).expand(-1, channels, -1, -1)


def digits_for(experiment: Experiment, seed: int, pixels: int | None) -> Data:
    """scikit-learn's digits in the shape of a run's inputs, by default as small as suits its net.

    They are in [0, 1], or have mean 0 and deviation 1 where the original's inputs did. There is no
    random transform: a digit that is turned round is another one.

    Raises:
        ValueError: pixels are given that the network cannot take.
        ImportError: scikit-learn is not installed.
    """
    channels, height, _ = experiment.net.shape
    side = experiment.net.small if pixels is None or channels == 1 else pixels
    data = load_data("digits", seed=seed)
    train, valid = cast(TensorData, data.train), cast(TensorData, data.valid)
    xs = [(part.x + 1) / 2 for part in (train, valid)]
    stretch = Stretch((channels, side, side))
    if experiment.normalise is not None:
        seen = stretch(xs[0])[:, 0]
        stretch = Stretch(stretch.shape, seen.mean().item(), seen.std(correction=0).item())
    parts = [
        TensorData(x, part.y, transform=stretch) for x, part in zip(xs, (train, valid), strict=True)
    ]
    shrunk = f" in place of {height}x{height}" if side != height else ""
    return replace(
        data,
        train=parts[0],
        valid=parts[1],
        shape=(channels, side, side),
        description=(
            f"digits in place of {experiment.data}, resized to {channels}x{side}x{side}{shrunk}: "
            f"{len(train):,} train / {len(valid):,} held out (seed {seed})"
        ),
    )
