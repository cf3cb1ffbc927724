"""Keeps what the model puts out in a pass."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
        self.preds.append(learn.preds.detach().cpu())
        self.targets.append(learn.batch[-1].detach().cpu())
