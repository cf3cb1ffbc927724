"""Adam with hooks for what its kin do otherwise: moments, rate and update."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .template import GenericAdaptiveOptimizer, State, merged
from .weight_decay import Decay, WeightDecay, decayed, defaults_of

NO_DECAY = WeightDecay()


class Adam(GenericAdaptiveOptimizer):
    """Adam (Kingma & Ba 2014, arXiv:1412.6980); `optimized_update` adds eps before the debias.

    Without it eps is added to the debiased root, as torch.optim does: the same numbers as with
    sqrt(1 - beta2**t) * eps before. A subclass overrides `get_mv`, `get_lr` or `adam_update`.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: Decay = NO_DECAY,
        optimized_update: bool = True,
        defaults: dict[str, Any] | None = None,
        *,
        strict: bool = True,
    ) -> None:
        owner = type(self).__name__
        known = merged(owner, defaults, defaults_of(owner, weight_decay))
        super().__init__(params, known, lr, betas, eps, strict=strict)
        self.optimized_update, self.weight_decay = optimized_update, weight_decay

    def init_state(self, state: State, group: dict[str, Any], param: Tensor) -> None:
        """No steps taken, both moments 0."""
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(param)
        state["exp_avg_sq"] = torch.zeros_like(param)

    def get_mv(self, state: State, group: dict[str, Any], grad: Tensor) -> tuple[Tensor, Tensor]:
        """Both moments with this gradient in them, not debiased; the state's own tensors."""
        beta1, beta2 = group["betas"]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m.mul_(beta1).add_(grad, alpha=1 - beta1)
        v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
        return m, v

    def get_lr(self, state: State, group: dict[str, Any]) -> float:
        """The rate of this step; `state["step"]` counts from 1."""
        return group["lr"]

    def adam_update(
        self, state: State, group: dict[str, Any], param: Tensor, m: Tensor, v: Tensor
    ) -> None:
        """Move the parameter along m over the root of v."""
        self.move(state, group, param, m, v, self.get_lr(state, group))

    def move(
        self, state: State, group: dict[str, Any], param: Tensor, m: Tensor, v: Tensor, rate: float
    ) -> None:
        """Move the parameter at a rate, with eps on its side of the debias."""
        beta1, beta2 = group["betas"]
        step = rate / (1 - beta1 ** state["step"])
        root = math.sqrt(1 - beta2 ** state["step"])
        if self.optimized_update:
            param.addcdiv_(m, v.sqrt().add_(group["eps"]), value=-float(step * root))
        else:
            param.addcdiv_(m, v.sqrt().div_(root).add_(group["eps"]), value=-float(step))

    def step_param(self, state: State, group: dict[str, Any], grad: Tensor, param: Tensor) -> None:
        """Decay, moments, update."""
        grad = decayed(self.weight_decay, param, grad, group)
        m, v = self.get_mv(state, group, grad)
        state["step"] += 1
        self.adam_update(state, group, param, m, v)
