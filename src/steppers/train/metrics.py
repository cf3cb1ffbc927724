"""Metrics: what outputs are worth, as numbers from (preds, target), averaged over all items."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

MetricFunction = Callable[..., Tensor | float]


@dataclass(frozen=True)
class OfMean:
    """A metric that is a function of a mean: `finish` of the mean of `mean` over all items.

    The root of a mean square is not the mean of roots of batches, so the Metrics callback averages
    `mean` and finishes once. Called by itself it gives the metric of one batch.

    >>> rmse(torch.tensor([0.0, 0.0]), torch.tensor([3.0, 1.0]))
    2.23606797749979
    """

    name: str
    mean: MetricFunction
    finish: Callable[[float], float]

    def __call__(self, preds: Tensor, target: Tensor) -> float:
        return self.finish(float(self.mean(preds, target)))


def accuracy(preds: Tensor, target: Tensor, dim: int = 1) -> Tensor:
    """The share of items whose class has the largest output.

    preds have the classes in dimension `dim`, 1 as in torch's cross_entropy; target has the other
    dimensions and holds class numbers, or the shape of preds and holds probabilities. Raises
    ValueError for other shapes, which would compare everything with everything.

    >>> accuracy(torch.tensor([[0.1, 0.9], [0.8, 0.2]]), torch.tensor([1, 1])).item()
    0.5
    """
    target = _class_numbers("accuracy", preds, target, dim)
    return (preds.argmax(dim) == target).float().mean()


def error_rate(preds: Tensor, target: Tensor, dim: int = 1) -> Tensor:
    """The share of items whose class does not have the largest output: 1 - accuracy."""
    target = _class_numbers("error_rate", preds, target, dim)
    return (preds.argmax(dim) != target).float().mean()


def top_k_accuracy(preds: Tensor, target: Tensor, k: int = 5, dim: int = 1) -> Tensor:
    """The share of items whose class is among the k largest outputs. Shapes as in `accuracy`."""
    target = _class_numbers("top_k_accuracy", preds, target, dim)
    if not 1 <= k <= preds.shape[dim]:
        raise ValueError(f"top_k_accuracy: k must be in 1 ... {preds.shape[dim]}, got {k}")
    found = preds.topk(k, dim).indices == target.unsqueeze(dim)
    return found.any(dim).float().mean()


def mse(preds: Tensor, target: Tensor) -> Tensor:
    """The mean squared error. Raises ValueError unless both have one shape."""
    _check_shapes("mse", preds, target)
    return F.mse_loss(preds, target)


def mae(preds: Tensor, target: Tensor) -> Tensor:
    """The mean absolute error. Raises ValueError unless both have one shape."""
    _check_shapes("mae", preds, target)
    return F.l1_loss(preds, target)


def bits_per_byte(preds: Tensor, target: Tensor) -> Tensor:
    """The cross-entropy in bits, for a model whose classes are bytes.

    >>> bits_per_byte(torch.zeros(3, 256), torch.tensor([0, 97, 255])).item()
    8.0
    """
    return F.cross_entropy(preds, target) / math.log(2)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf  # e^709 is the last that is finite


rmse = OfMean("rmse", mse, math.sqrt)
perplexity = OfMean("perplexity", F.cross_entropy, _exp)


def _class_numbers(name: str, preds: Tensor, target: Tensor, dim: int) -> Tensor:
    """The class of each item, in the shape of preds without its classes."""
    if not -preds.ndim <= dim < preds.ndim:
        raise ValueError(f"{name}: preds of shape {tuple(preds.shape)} have no dimension {dim}")
    if target.shape == preds.shape and target.is_floating_point():
        return target.argmax(dim)
    wanted = list(preds.shape)
    del wanted[dim]
    if target.shape != torch.Size(wanted):
        raise ValueError(
            f"{name}: preds of shape {tuple(preds.shape)} with classes in dimension {dim} want a "
            f"target of shape {tuple(wanted)}, got {tuple(target.shape)}"
        )
    return target


def _check_shapes(name: str, preds: Tensor, target: Tensor) -> None:
    if preds.shape != target.shape:
        raise ValueError(
            f"{name}: preds of shape {tuple(preds.shape)} and a target of shape "
            f"{tuple(target.shape)} must have one shape"
        )
