"""Keeps what the model puts out in a pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..events import Callback

if TYPE_CHECKING:
    from ..learner import Learner


class Outputs(Callback):
    """Outputs and targets of every batch, on the CPU, in `preds` and `targets`."""

    order = 100
    observes = True

    def __init__(self) -> None:
        self.preds: list[Tensor] = []
        self.targets: list[Tensor] = []

    def after_loss(self, learn: Learner) -> None:
        self.preds.append(_tensor("outputs", learn.preds))
        self.targets.append(_tensor("targets", learn.batch[-1]))

    def joined(self) -> tuple[Tensor, Tensor]:
        """All of them along the first dimension; ValueError where there was no batch."""
        if not self.preds:
            raise ValueError("get_preds: the loader has no batches")
        return torch.cat(self.preds), torch.cat(self.targets)


def _tensor(what: str, value: object) -> Tensor:
    if not isinstance(value, Tensor):
        raise TypeError(
            f"get_preds: joins {what} that are tensors, got a {type(value).__name__}; "
            "go through the loader with predict() instead"
        )
    return value.detach().cpu()
