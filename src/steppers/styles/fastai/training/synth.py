"""A line to learn from noisy points, as small as a fit can be, for tests of callbacks."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from .. import SGD
from .learner import Learner


class DataLoaders:
    """Loaders of training and of validation data, and further ones by index."""

    def __init__(self, *loaders: Any, path: str | Path = ".", device: Any = None) -> None:
        if not loaders:
            raise ValueError("DataLoaders: wants a loader of training data, and may have others")
        self.loaders, self.path = list(loaders), Path(path)
        self.device = None if device is None else torch.device(device)

    def __getitem__(self, i: int) -> Any:
        return self.loaders[i]

    def __len__(self) -> int:
        return len(self.loaders)

    @property
    def train(self) -> Any:
        """The loader of training data."""
        return self.loaders[0]

    @property
    def valid(self) -> Any:
        """The loader of validation data; None where there is none."""
        return self.loaders[1] if len(self.loaders) > 1 else None

    @property
    def train_ds(self) -> Any:
        """The training data."""
        return self.train.dataset

    @property
    def valid_ds(self) -> Any:
        """The validation data."""
        return self.valid.dataset


class RegModel(nn.Module):
    """a * x + b."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(1)), nn.Parameter(torch.randn(1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.a + self.b


def synth_dbunch(
    a: float = 2,
    b: float = 3,
    bs: int = 16,
    n_train: int = 10,
    n_valid: int = 2,
    cuda: bool = False,
) -> DataLoaders:
    """Batches of `bs` points x, a * x + b and noise of 0.1, from torch's global generator."""

    def points(count: int) -> TensorDataset:
        x = torch.randn(bs * count, 1)
        return TensorDataset(x, a * x + b + 0.1 * torch.randn(bs * count, 1))

    train, valid = points(n_train), points(n_valid)
    device = "cuda" if cuda else None
    return DataLoaders(DataLoader(train, bs, shuffle=True), DataLoader(valid, bs), device=device)


def synth_learner(
    n_trn: int = 10,
    n_val: int = 2,
    cuda: bool = False,
    lr: Any = 1e-3,
    data: Any = None,
    model: nn.Module | None = None,
    **options: Any,
) -> Learner:
    """A learner of y = 2x + 3: 10 training batches of 16, 2 of validation, SGD with momentum .9."""
    given: dict[str, Any] = {
        "loss_func": nn.MSELoss(),
        "opt_func": partial(SGD, mom=0.9),
        **options,
    }
    data = synth_dbunch(n_train=n_trn, n_valid=n_val, cuda=cuda) if data is None else data
    return Learner(data, RegModel() if model is None else model, lr=lr, **given)
