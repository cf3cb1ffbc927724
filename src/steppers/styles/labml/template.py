"""The template of labml.ai's optimizers: state at first use, then one procedure a parameter."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor

from ... import names
from ...shell.storing import as_real
from ..base import PerParameter

State = dict[str, Any]
_WHERE = names.places(("lr", "beta1", "beta2", "eps"), {"betas": (0.0, 0.0)})


class GenericAdaptiveOptimizer(PerParameter):
    """An optimizer that states `init_state` and `step_param`; groups and the loop are here.

    `defaults` are hyper-parameters beside lr, betas and eps, which every group then has; the dict
    itself stays as it is. Raises ValueError for an lr or eps below 0, a beta outside [0, 1) and
    what is out of a subclass's `ranges`; with `strict=False` any value is taken.

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
        defaults: Mapping[str, Any] | None,
        lr: float,
        betas: Sequence[float],
        eps: float,
        *,
        strict: bool = True,
    ) -> None:
        given = merged(type(self).__name__, defaults, dict(lr=lr, betas=betas, eps=eps))
        given.update(self._numbers(given))
        if strict:
            self._check({n: v for n, v in given.items() if not isinstance(v, list | slice)})
        super().__init__(params, given, strict=strict)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with their own hyper-parameters, checked as the constructor's are."""
        if isinstance(param_group, dict):  # pyright: ignore[reportUnnecessaryIsInstance]  # input
            own = self._numbers(param_group)
            if self.strict:
                self._check(own)
            param_group = {**param_group, **own}
        super().add_param_group(param_group)

    def init_state(self, state: State, group: dict[str, Any], param: Tensor) -> None:
        """Fill a parameter's empty state; called before its first step."""

    @abstractmethod
    def step_param(self, state: State, group: dict[str, Any], grad: Tensor, param: Tensor) -> None:
        """Move one parameter, in place; `grad` is its gradient, which stays as it is.

        A complex parameter and its gradient come as pairs of real numbers, [..., 2].
        """

    def update_parameter(self, p: Tensor, state: State, group: dict[str, Any]) -> None:
        """Make the state if there is none, and take the step."""
        assert p.grad is not None
        if not state:
            self.init_state(state, group, as_real(p))
        self.step_param(state, group, as_real(p.grad.detach()), as_real(p))

    def _numbers(self, hypers: Mapping[str, Any]) -> dict[str, Any]:
        """Those that are checked, as Python's numbers; a list is one value a group."""
        known = {"lr", "betas", "eps", *self.ranges} & hypers.keys()
        several = {n for n in known if isinstance(hypers[n], list) and n != "betas"}
        return {n: _plain(hypers[n]) for n in known - several}

    def _check(self, hypers: Mapping[str, Any]) -> None:
        owner, ranges = type(self).__name__, {**names.RANGES, **self.ranges}
        if hypers.get("eps", 0.0) is None:
            raise TypeError(f"{owner}: eps must be a number, got None")
        where = {**_WHERE, **{name: (name, None) for name in self.ranges}}
        names.check(owner, hypers, where, ranges)


def merged(owner: str, defaults: Mapping[str, Any] | None, more: Mapping[str, Any]) -> State:
    """A new dict of a user's defaults, if any, and an optimizer's own, which win."""
    if not isinstance(defaults, Mapping | None):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"{owner}: defaults must be a dict of hyper-parameters, got {defaults!r}")
    return {**(defaults or {}), **more}


def _plain(value: Any) -> Any:
    """A list of two betas as a tuple; a list of such pairs is one for each group, and stays."""
    several = cast("list[Any]", value) if isinstance(value, list) else []
    pairs = any(isinstance(each, tuple | list) for each in several)
    return [names.plain(each) for each in several] if pairs else names.plain(value)
