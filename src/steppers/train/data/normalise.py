"""Images in bytes or in [0, 1] brought to mean 0 and deviation 1, a whole batch at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Normalise:
    """(x - mean) / std channel by channel, on x (batch, channels, height, width).

    Bytes are brought to [0, 1] first. The result is float32, and x stays as it was.

    >>> Normalise((0.5,), (0.25,))(torch.tensor([[[[0, 255]]]], dtype=torch.uint8))
    tensor([[[[-2.,  2.]]]])

    Raises:
        ValueError: the numbers of means, deviations and channels differ, or one is 0.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, value in (("mean", self.mean), ("std", self.std)):
            if not isinstance(value, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError(
                    f"Normalise: {name} must be a tuple with a number a channel, got {value!r}"
                )
        if len(self.mean) != len(self.std) or not all(std > 0 for std in self.std):
            raise ValueError(
                "Normalise: wants a mean and a deviation above 0 for each channel, got"
                f" mean={self.mean} and std={self.std}"
            )

    def __call__(self, x: Tensor) -> Tensor:
        channels = len(self.mean)
        if x.dim() != 4 or x.shape[1] != channels:
            raise ValueError(
                f"Normalise: has means of {channels} channels, got a batch of {tuple(x.shape)};"
                f" (batch, {channels}, height, width) is wanted"
            )
        scale = 255 if x.dtype == torch.uint8 else 1
        mean = torch.tensor(self.mean, device=x.device).view(-1, 1, 1) * scale
        std = torch.tensor(self.std, device=x.device).view(-1, 1, 1) * scale
        return x.to(torch.float32, copy=True).sub_(mean).div_(std)
