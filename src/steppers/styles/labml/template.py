"""The template of labml.ai's optimizers: state at first use, then one procedure a parameter."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ... import names
from ..base import PerParameter

State = dict[str, Any]
_WHERE = names.places(("lr", "beta1", "beta2", "eps"), {"betas": (0.0, 0.0)})


class GenericAdaptiveOptimizer(PerParameter):
    """An optimizer that states `init_state` and `step_param`; groups and the loop are here.

    `defaults` are hyper-parameters beside lr, betas and eps, which every group then has; the dict
    itself stays as it is. Raises ValueError for an lr or eps below 0 and a beta outside [0, 1).

    >>> import torch
    >>> class Signs(GenericAdaptiveOptimizer):
    ...     def step_param(self, state, group, grad, param):
    ...         param.sub_(group["lr"] * grad.sign())
    >>> w = torch.ones(2, requires_grad=True)
    >>> optimizer = Signs([w], {}, lr=0.5, betas=(0.9, 0.99), eps=1e-8)
    >>> w.sum().backward(); optimizer.step(); w.tolist()
    [0.5, 0.5]
    """

    def __init__(
        self,
        params: Any,
        defaults: dict[str, Any],
        lr: float,
        betas: Sequence[float],
        eps: float,
        *,
        strict: bool = True,
    ) -> None:
        given = {**defaults, "lr": lr, "betas": _as_tuple(betas), "eps": eps}
        names.check(type(self).__name__, given, _WHERE)
        super().__init__(params, given, strict=strict)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with their own hyper-parameters, checked as the constructor's are."""
        if isinstance(param_group, dict):  # pyright: ignore[reportUnnecessaryIsInstance]  # input
            own = {n: param_group[n] for n in ("lr", "betas", "eps") if n in param_group}
            names.check(type(self).__name__, own, _WHERE)
            if "betas" in own:
                param_group = {**param_group, "betas": _as_tuple(own["betas"])}
        super().add_param_group(param_group)

    def init_state(self, state: State, group: dict[str, Any], param: Tensor) -> None:
        """Fill a parameter's empty state; called before its first step."""

    @abstractmethod
    def step_param(self, state: State, group: dict[str, Any], grad: Tensor, param: Tensor) -> None:
        """Move one parameter, in place; `grad` is its gradient, which stays as it is."""

    def update_parameter(self, p: Tensor, state: State, group: dict[str, Any]) -> None:
        """Make the state if there is none, and take the step."""
        assert p.grad is not None
        if not state:
            self.init_state(state, group, p)
        self.step_param(state, group, p.grad.detach(), p)


def _as_tuple(betas: Sequence[float]) -> Any:
    return tuple(betas) if isinstance(betas, list) else betas
