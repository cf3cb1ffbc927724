"""Sophia: a clipped step by the diagonal of the Hessian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .adam import NO_DECAY
from .template import GenericAdaptiveOptimizer, State
from .weight_decay import Decay


class Sophia(GenericAdaptiveOptimizer):
    """Sophia (Liu et al. 2023, arXiv:2305.14342): lr / rho * clamp(m / (h + eps), -rho, rho).

    Call `update_hessian` every k steps, after a backward pass on labels drawn from the model.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-4,
        betas: Sequence[float] = (0.9, 0.95),
        eps: float = 1e-12,
        rho: float = 0.03,
        weight_decay: Decay = NO_DECAY,
        defaults: dict[str, Any] | None = None,
        *,
        strict: bool = True,
    ) -> None:
        if not rho > 0:
            raise ValueError(f"{type(self).__name__}: rho must be > 0, got {rho!r}")
        known = {**(defaults or {}), **weight_decay.defaults(), "rho": rho}
        super().__init__(params, known, lr, betas, eps, strict=strict)
        self.weight_decay = weight_decay

    def init_state(self, state: State, group: dict[str, Any], param: Tensor) -> None:
        """No steps taken, mean and curvature 0."""
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(param)
        state["hessian"] = torch.zeros_like(param)

    @torch.no_grad()
    def update_hessian(self, n_tokens_training_batch: float) -> None:
        """Average n_tokens_training_batch * g**2 of the present gradients into the curvature.

        The gradients are of the mean loss over so many labels, drawn from the model's output.
        """
        for group in self.param_groups:
            beta2 = group["betas"][1]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    self.init_state(state, group, p)
                weight = (1 - beta2) * n_tokens_training_batch
                state["hessian"].mul_(beta2).addcmul_(p.grad, p.grad, value=weight)

    def step_param(self, state: State, group: dict[str, Any], grad: Tensor, param: Tensor) -> None:
        """Decay, mean, clipped step."""
        grad = self.weight_decay(param, grad, group)
        m, rho = state["exp_avg"], group["rho"]
        m.mul_(group["betas"][0]).add_(grad, alpha=1 - group["betas"][0])
        state["step"] += 1
        ratio = (m / (state["hessian"] + group["eps"])).clamp_(-rho, rho)
        param.sub_(ratio.mul_(group["lr"] / rho))
