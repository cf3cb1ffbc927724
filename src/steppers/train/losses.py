"""Loss functions beside torch's."""

from __future__ import annotations

from typing import Any

from torch import nn


class LabelSmoothing(nn.CrossEntropyLoss):
    """Cross-entropy whose targets give each class eps / classes, and the true one the rest.

    The smoothing of Szegedy et al. 2016, arXiv:1512.00567. `options` are those of
    torch.nn.CrossEntropyLoss: weight, ignore_index, reduction. The loss of validation batches is
    smoothed too, and is not to be compared with one of another eps.

    Raises ValueError for an eps outside [0, 1].

    >>> import torch
    >>> even = torch.zeros(1, 4)
    >>> round(LabelSmoothing()(even, torch.tensor([2])).item(), 4)
    1.3863
    """

    def __init__(self, eps: float = 0.1, **options: Any) -> None:
        if not 0 <= eps <= 1:
            raise ValueError(f"LabelSmoothing: eps must be in [0, 1], got {eps}")
        super().__init__(label_smoothing=eps, **options)
