"""Adam whose rate rises from about 0, and falls by a cosine to a tenth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .adam import NO_DECAY
from .adam_warmup import AdamWarmup
from .template import State, merged
from .weight_decay import Decay


class AdamWarmupCosineDecay(AdamWarmup):
    """Adam that warms up, then goes by a cosine to a tenth of lr at `total_steps` and stays there.

    `warmup` and `total_steps` are keys of each group. Decay goes by lr itself.
    """

    ranges = dict(AdamWarmup.ranges, total_steps=">= 0")

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
        total_steps: float = 1e10,
        defaults: dict[str, Any] | None = None,
        *,
        strict: bool = True,
    ) -> None:
        known = merged(type(self).__name__, defaults, dict(total_steps=total_steps))
        super().__init__(params, lr, betas, eps, weight_decay, optimized_update, amsgrad, warmup,
                         known, strict=strict)  # fmt: skip

    def get_lr(self, state: State, group: dict[str, Any]) -> float:
        """The rate of this step."""
        t, warmup, total = state["step"], group["warmup"], group["total_steps"]
        if t < warmup:
            return super().get_lr(state, group)
        progress = min((t - warmup) / max(total - warmup, 1), 1.0)
        return group["lr"] * max(0.1, 0.5 * (1 + math.cos(math.pi * progress)))
