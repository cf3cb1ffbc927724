"""Adam whose rate rises from about 0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .adam import NO_DECAY
from .amsgrad import AMSGrad
from .template import State, merged
from .weight_decay import Decay


class AdamWarmup(AMSGrad):
    """Adam at 1e-8 + t * lr / warmup until step `warmup`, then at lr.

    `warmup` is a key of each group, in steps. Decay goes by lr itself.
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
        defaults: dict[str, Any] | None = None,
        *,
        strict: bool = True,
    ) -> None:
        known = merged(type(self).__name__, defaults, dict(warmup=warmup))
        super().__init__(params, lr, betas, eps, weight_decay, optimized_update, amsgrad, known,
                         strict=strict)  # fmt: skip

    def get_lr(self, state: State, group: dict[str, Any]) -> float:
        """The rate of this step; 0 where lr is 0."""
        t, lr, warmup = state["step"], group["lr"], group["warmup"]
        return 1e-8 * (lr > 0) + t * lr / warmup if t < warmup else lr
