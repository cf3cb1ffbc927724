"""Noam: Adam at the transformer's rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ... import names
from .adam import NO_DECAY
from .amsgrad import AMSGrad
from .template import State, merged
from .weight_decay import Decay


class Noam(AMSGrad):
    """Adam at lr * d_model**-0.5 * min(t**-0.5, t * warmup**-1.5) (Vaswani et al. 2017).

    `warmup` is a key of each group, in steps; 0 means none.
    """

    ranges = dict(warmup=">= 0")

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: Decay = NO_DECAY,
        optimized_update: bool = True,
        amsgrad: bool = False,
        warmup: float = 0,
        d_model: float = 512,
        defaults: dict[str, Any] | None = None,
        *,
        strict: bool = True,
    ) -> None:
        owner = type(self).__name__
        if strict:
            names.check_value(owner, "d_model", ("d_model", None), d_model)
        known = merged(owner, defaults, dict(warmup=warmup))
        super().__init__(params, lr, betas, eps, weight_decay, optimized_update, amsgrad, known,
                         strict=strict)  # fmt: skip
        self.d_model = d_model

    def get_lr(self, state: State, group: dict[str, Any]) -> float:
        """The rate of this step."""
        t, warmup = state["step"], group["warmup"]
        factor = min(t**-0.5, t * warmup**-1.5) if warmup else t**-0.5
        return group["lr"] * self.d_model**-0.5 * factor
