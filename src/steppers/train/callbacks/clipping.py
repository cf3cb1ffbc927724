"""Gradient clipping, before each step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from ..events import Callback

if TYPE_CHECKING:
    from ..learner import Learner


class ClipGradients(Callback):
    """Clip each element to [-max_value, max_value], then all gradients' common norm to max_norm.

    Works on the accumulated gradients of a whole group of batches, and on those that mixed
    precision has unscaled. `norm`, also `learn.grad_norm`, is the norm that the last gradients had
    before they were clipped by it: a tensor on their device, so that reading it waits for nothing.
    A max_norm of infinity clips nothing and only measures.

    Raises ValueError if neither limit is given, and for one that is not a number above 0.
    """

    order = 20

    def __init__(
        self,
        max_norm: float | None = None,
        max_value: float | None = None,
        *,
        norm_type: float = 2.0,
    ) -> None:
        if max_norm is None and max_value is None:
            raise ValueError("ClipGradients: give max_norm= or max_value=")
        for name, limit in (("max_norm", max_norm), ("max_value", max_value)):
            if limit is not None and (math.isnan(limit) or limit <= 0):
                raise ValueError(f"ClipGradients: {name} must be > 0, got {limit}")
        self.max_norm, self.max_value, self.norm_type = max_norm, max_value, norm_type
        self.norm: Tensor | None = None

    def before_step(self, learn: Learner) -> None:
        params: list[Any] = [p for group in learn.opt.param_groups for p in group["params"]]
        if self.max_value is not None:
            clip_grad_value_(params, self.max_value)
        limit = math.inf if self.max_norm is None else self.max_norm
        self.norm = clip_grad_norm_(params, limit, self.norm_type)
        learn.grad_norm = self.norm  # pyright: ignore[reportAttributeAccessIssue]  # for recorders
