"""AdaBelief: the variance of the gradient around its mean in place of its square."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .adam import NO_DECAY
from .amsgrad import largest
from .radam import RAdam
from .template import State
from .weight_decay import Decay, decayed


class AdaBelief(RAdam):
    """AdaBelief (Zhuang et al. 2020, arXiv:2010.07468), with or without RAdam's rectification.

    eps is added to the variance, and again to its root. State: `exp_avg_var`, `max_exp_avg_var`.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-16,
        weight_decay: Decay = NO_DECAY,
        amsgrad: bool = False,
        degenerate_to_sgd: bool = True,
        rectify: bool = True,
        defaults: dict[str, Any] | None = None,
        *,
        optimized_update: bool = True,
        strict: bool = True,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, optimized_update, amsgrad, degenerate_to_sgd,
            defaults, strict=strict,
        )  # fmt: skip
        self.rectify = rectify

    def init_state(self, state: State, group: dict[str, Any], param: Tensor) -> None:
        """No steps taken, mean and variance 0."""
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(param)
        state["exp_avg_var"] = torch.zeros_like(param)

    def get_ms(self, state: State, group: dict[str, Any], grad: Tensor) -> tuple[Tensor, Tensor]:
        """The mean with this gradient in it, and the variance around it."""
        beta1, beta2 = group["betas"]
        m, s = state["exp_avg"], state["exp_avg_var"]
        m.mul_(beta1).add_(grad, alpha=1 - beta1)
        distance = grad - m
        s.mul_(beta2).addcmul_(distance, distance, value=1 - beta2)
        return m, largest(state, group, "max_exp_avg_var", s)

    def step_param(self, state: State, group: dict[str, Any], grad: Tensor, param: Tensor) -> None:
        """Decay, mean and variance, update."""
        grad = decayed(self.weight_decay, param, grad, group)
        m, s = self.get_ms(state, group, grad)
        state["step"] += 1
        update = self.r_adam_update if self.rectify else self.adam_update
        update(state, group, param, m, s + group["eps"])
