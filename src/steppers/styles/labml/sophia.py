"""Sophia: a clipped step by the diagonal of the Hessian."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...shell.storing import as_real
from ...shell.work import refuse_sparse
from .adam import NO_DECAY
from .template import GenericAdaptiveOptimizer, State, merged
from .weight_decay import Decay, decayed, defaults_of


class Sophia(GenericAdaptiveOptimizer):
    """Sophia (Liu et al. 2023, arXiv:2305.14342): lr / rho * clamp(m / (h + eps), -rho, rho).

    Call `update_hessian` every k steps, after a backward pass on labels drawn from the model.
    """

    ranges = dict(rho="> 0")

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
        owner = type(self).__name__
        known = merged(owner, defaults, {**defaults_of(owner, weight_decay), "rho": rho})
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
        Raises ValueError for a number below 0, RuntimeError for sparse gradients.
        """
        owner = type(self).__name__
        if self.strict and not n_tokens_training_batch >= 0:
            raise ValueError(
                f"{owner}: n_tokens_training_batch must be >= 0, got {n_tokens_training_batch!r}"
            )
        found = [(g, p) for g in self.param_groups for p in g["params"] if p.grad is not None]
        for _, p in found:
            refuse_sparse(owner, p.grad)
        for group, p in found:
            state, grad, beta2 = self.state[p], as_real(p.grad), group["betas"][1]
            if not state:
                self.init_state(state, group, as_real(p))
            weight = (1 - beta2) * n_tokens_training_batch
            state["hessian"].mul_(beta2).addcmul_(grad, grad, value=weight)

    def step_param(self, state: State, group: dict[str, Any], grad: Tensor, param: Tensor) -> None:
        """Decay, mean, clipped step."""
        grad = decayed(self.weight_decay, param, grad, group)
        m, rho = state["exp_avg"], group["rho"]
        m.mul_(group["betas"][0]).add_(grad, alpha=1 - group["betas"][0])
        state["step"] += 1
        ratio = (m / (state["hessian"] + group["eps"])).clamp_(-rho, rho)
        param.sub_(ratio.mul_(group["lr"] / rho))
