"""AMSGrad: the largest second moment so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .adam import NO_DECAY, Adam
from .template import State, merged
from .weight_decay import Decay


class AMSGrad(Adam):
    """AMSGrad (Reddi et al. 2018): the largest v so far, not debiased, in place of v.

    `amsgrad` is a key of each group. State: `max_exp_avg_sq` as well.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: Decay = NO_DECAY,
        optimized_update: bool = True,
        amsgrad: bool = True,
        defaults: dict[str, Any] | None = None,
        *,
        strict: bool = True,
    ) -> None:
        known = merged(type(self).__name__, defaults, dict(amsgrad=amsgrad))
        super().__init__(params, lr, betas, eps, weight_decay, optimized_update, known,
                         strict=strict)  # fmt: skip

    def get_mv(self, state: State, group: dict[str, Any], grad: Tensor) -> tuple[Tensor, Tensor]:
        """The first moment, and the second or its largest value."""
        m, v = super().get_mv(state, group, grad)
        return m, largest(state, group, "max_exp_avg_sq", v)


def largest(state: State, group: dict[str, Any], name: str, v: Tensor) -> Tensor:
    """v, or where the group says `amsgrad` its largest value so far, kept under a name."""
    if not group["amsgrad"]:
        return v
    if name not in state:
        state[name] = torch.zeros_like(v)
    return torch.maximum(state[name], v, out=state[name])
