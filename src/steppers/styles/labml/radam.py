"""RAdam: Adam that waits for its second moment to settle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .adam import NO_DECAY
from .amsgrad import AMSGrad
from .template import State
from .weight_decay import Decay, decayed


class RAdam(AMSGrad):
    """RAdam (Liu et al. 2019, arXiv:1908.03265), rectified from rho = 5 on.

    Before that it steps along the debiased mean, or with `degenerated_to_sgd=False` not at all.
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: Decay = NO_DECAY,
        optimized_update: bool = True,
        amsgrad: bool = False,
        degenerated_to_sgd: bool = True,
        defaults: dict[str, Any] | None = None,
        *,
        strict: bool = True,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, optimized_update, amsgrad, defaults,
                         strict=strict)  # fmt: skip
        self.degenerated_to_sgd = degenerated_to_sgd

    def step_param(self, state: State, group: dict[str, Any], grad: Tensor, param: Tensor) -> None:
        """Decay, moments, rectified update."""
        grad = decayed(self.weight_decay, param, grad, group)
        m, v = self.get_mv(state, group, grad)
        state["step"] += 1
        self.r_adam_update(state, group, param, m, v)

    @staticmethod
    def calc_rectification_term(beta2: float, step: int) -> float | None:
        """The factor of the update at a step; None while rho is below 5.

        >>> RAdam.calc_rectification_term(0.99, 5) is None
        True
        >>> round(RAdam.calc_rectification_term(0.99, 6), 6)
        0.081679
        """
        rho_inf = 2 / (1 - beta2) - 1
        rho = rho_inf - 2 * step * beta2**step / (1 - beta2**step)
        if rho < 5:
            return None
        fraction = (rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)
        return math.sqrt(fraction)

    def r_adam_update(
        self, state: State, group: dict[str, Any], param: Tensor, m: Tensor, v: Tensor
    ) -> None:
        """Move the parameter by the rectified direction, or while there is none as chosen."""
        rate, step = self.get_lr(state, group), state["step"]
        rect = self.calc_rectification_term(group["betas"][1], step)
        if rect is not None:
            self.move(state, group, param, m, v, rate * rect)
        elif self.degenerated_to_sgd:
            param.add_(m, alpha=-float(rate / (1 - group["betas"][0] ** step)))
