"""Adam for 16-bit parameters: moments, weights and unscaled gradients in 32 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ...shell.work import refuse_sparse
from .adam import NO_DECAY, Adam
from .template import State
from .weight_decay import Decay

FITTING = (torch.float16, torch.bfloat16, torch.float32)


class AdamFP16(Adam):
    """Adam that keeps a float32 copy of each parameter, and writes it back rounded.

    State: `fp32_copy` as well, all in float32. `grad_fp32` holds gradients by parameter that a
    `GradScalerFP16` unscaled; a step uses each once, in place of `p.grad`, and `zero_grad` drops
    them. Raises TypeError for parameters that float32 cannot hold.
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
        super().__init__(params, lr, betas, eps, weight_decay, optimized_update, defaults,
                         strict=strict)  # fmt: skip
        self.grad_fp32: dict[Tensor, Tensor] = {}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters of 16 or 32 bits."""
        super().add_param_group(param_group)
        dtypes = [p.dtype for p in self.param_groups[-1]["params"]]
        if not set(dtypes) <= set(FITTING):
            self.param_groups.pop()
            wrong = next(dtype for dtype in dtypes if dtype not in FITTING)
            owner = type(self).__name__
            raise TypeError(f"{owner}: a float32 copy cannot hold {wrong}; use Adam for these")

    def init_state(self, state: State, group: dict[str, Any], param: Tensor) -> None:
        """No steps taken, moments 0 and a copy of the parameter, all in float32."""
        state["step"] = 0
        state["exp_avg"] = torch.zeros_like(param, dtype=torch.float32)
        state["exp_avg_sq"] = torch.zeros_like(param, dtype=torch.float32)
        state["fp32_copy"] = param.detach().to(torch.float32, copy=True)

    def step_param(self, state: State, group: dict[str, Any], grad: Tensor, param: Tensor) -> None:
        """Adam's step on the copy, rounded into the parameter."""
        copy, unscaled = state["fp32_copy"], self.grad_fp32.pop(param, None)
        super().step_param(state, group, grad.float() if unscaled is None else unscaled, copy)
        param.copy_(copy)

    def after_step(self) -> None:
        """Gradients of parameters that no longer have one are dropped."""
        self.grad_fp32.clear()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """torch's; unscaled gradients of a step that the scaler skipped go too."""
        super().zero_grad(set_to_none)
        self.grad_fp32.clear()

    def clip_grad_norm_(self, max_norm: float) -> Tensor:
        """Scale the unscaled gradients to a common norm of at most max_norm; the norm before it.

        What `torch.nn.utils.clip_grad_norm_` does, which would clip the scaled `p.grad`. Raises
        RuntimeError where a scaler has not unscaled.
        """
        if not (grads := list(self.grad_fp32.values())):
            owner = type(self).__name__
            raise RuntimeError(f"{owner}: call scaler.unscale_(optimizer) first, then clip")
        norm = torch.nn.utils.get_total_norm(grads)
        for grad in grads:
            grad.mul_((max_norm / (norm + 1e-6)).clamp(max=1.0).to(grad.device))
        return norm


class GradScalerFP16(torch.amp.GradScaler):
    """torch's scaler for 16-bit parameters: unscaled gradients go to the optimizer, in float32.

    With an optimizer that has `grad_fp32` the scaled `p.grad` stays as it is: clip with the
    optimizer's own `clip_grad_norm_`. Other optimizers are unscaled as by torch.
    """

    def _unscale_grads_(
        self,
        optimizer: torch.optim.Optimizer,
        inv_scale: Tensor,
        found_inf: Tensor,
        allow_fp16: bool,
    ) -> dict[torch.device, Tensor]:
        kept: dict[Tensor, Tensor] | None = getattr(optimizer, "grad_fp32", None)
        if kept is None:
            return super()._unscale_grads_(optimizer, inv_scale, found_inf, allow_fp16)
        params = [p for group in optimizer.param_groups for p in group["params"]]
        params = [p for p in params if p.grad is not None]
        for p in params:
            refuse_sparse(type(optimizer).__name__, p.grad)
        kept.clear()
        flags: dict[torch.device, Tensor] = {}
        with torch.no_grad():
            for p in params:
                device = p.grad.device
                kept[p] = p.grad.to(torch.float32) * inv_scale.to(device)
                bad = kept[p].isfinite().all().logical_not().to(found_inf.dtype)
                flags[device] = torch.maximum(flags.get(device, found_inf.to(device)), bad)
        return flags
