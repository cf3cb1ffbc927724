"""The optimizer of steppers, the one that keeps statistics too, and the ready-made ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

from torch import Tensor

from ... import names
from ..base import PerParameter, hypers_of
from ..groups import GroupHypers, check_name
from .lists import get_defaults, in_order, listify, maybe_update
from .stats import AverageGrad, AverageSqrGrad, StepCount
from .steppers import adam_step, lamb_step, momentum_step, sgd_step, weight_decay

Stepper = Callable[..., Any]


class Optimizer(PerParameter):
    """Steppers one after another on each parameter: functions (p, **hypers) that return p.

    Hyper-parameters are `defaults`, and what they lack the `_defaults` of the first stepper that
    names it. `hypers` has one mapping a group; torch's `param_groups` hold the same values.

    `strict=False` takes any name in silence. `keep_grads=False` lets `l2_reg` and its like change
    p.grad for good; as it is they work on a copy, so that a second step does not count it twice.

    >>> import torch
    >>> w = torch.ones(2, requires_grad=True)
    >>> opt = Optimizer([w], [weight_decay, sgd_step], lr=0.5)
    >>> opt.hypers
    [{'lr': 0.5, 'wd': 0.0}]

    Raises TypeError for a hyper-parameter that no stepper names or that one of them lacks, and, in
    a step, for a stepper that does not return p.
    """

    def __init__(
        self,
        params: Any,
        steppers: Any,
        *,
        strict: bool = True,
        keep_grads: bool = True,
        **defaults: Any,
    ) -> None:
        self.steppers, self.keep_grads = listify(steppers), keep_grads
        _check_callable(type(self).__name__, self.steppers)
        known = _names(self._parts())
        if strict:
            for name in defaults:
                check_name(type(self).__name__, name, known)
        maybe_update(self._parts(), defaults, get_defaults)
        super().__init__(params, defaults, strict=strict, known=known)
        self._check_rate()

    def _parts(self) -> list[Any]:
        return self.steppers

    def _check_rate(self) -> None:
        needing = [s for s in self.steppers if "lr" in _required(s)]
        if needing and not all("lr" in group for group in self.param_groups):
            name, owner = getattr(needing[0], "__name__", "a stepper"), type(self).__name__
            raise TypeError(f"{owner}: {name} needs lr: {owner}(params, steppers, lr=0.1)")

    def grad_params(self) -> list[tuple[Tensor, GroupHypers]]:
        """Each parameter that has a gradient, with the hyper-parameters of its group."""
        pairs = zip(self.param_groups, self.hypers, strict=True)
        return [(p, hyper) for g, hyper in pairs for p in g["params"] if p.grad is not None]

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Fill the gradients with zeros, or drop them."""
        super().zero_grad(set_to_none)

    def update_parameter(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        held = p.grad
        if self.keep_grads and held is not None:
            p.grad = held.detach().clone()
        try:
            self._run(p, state, hypers_of(group))
        finally:
            p.grad = held

    def _run(self, p: Tensor, state: dict[str, Any], hyper: dict[str, Any]) -> None:
        del state
        self._compose(p, hyper)

    def _compose(self, p: Any, values: dict[str, Any]) -> None:
        for stepper in in_order(self.steppers):
            p = stepper(p, **values)
            if not isinstance(p, Tensor):
                name = getattr(stepper, "__name__", repr(stepper))
                raise TypeError(f"the stepper {name} must return p, got {type(p).__name__}")


class StatefulOptimizer(Optimizer):
    """An optimizer whose steppers also get what `stats` keep for each parameter.

    The stats run first, in order. Where two of them start one key, the first does; where stats and
    steppers have defaults for one hyper-parameter, the stats' hold.

    Raises TypeError, in a step, where a stat keeps something under the name of a hyper-parameter.
    """

    def __init__(
        self,
        params: Any,
        steppers: Any,
        stats: Any = None,
        *,
        strict: bool = True,
        keep_grads: bool = True,
        **defaults: Any,
    ) -> None:
        self.stats = listify(stats)
        for stat in self.stats:
            _check_stat(stat)
        super().__init__(params, steppers, strict=strict, keep_grads=keep_grads, **defaults)

    def _parts(self) -> list[Any]:
        return [*self.stats, *self.steppers]

    def _run(self, p: Tensor, state: dict[str, Any], hyper: dict[str, Any]) -> None:
        if not state:
            maybe_update(self.stats, state, lambda stat: stat.init_state(p))
        for stat in self.stats:
            found: object = stat.update(p, state, **hyper)
            if not isinstance(found, dict):
                kind = type(found).__name__
                raise TypeError(f"{type(stat).__name__}.update must return the state, got {kind}")
            state = cast("dict[str, Any]", found)
        if both := state.keys() & hyper.keys():
            name = min(both)
            raise TypeError(
                f"{name!r} is a hyper-parameter and in the state too: a stepper cannot get both; "
                "rename what the stat keeps"
            )
        self._compose(p, {**state, **hyper})
        self.state[p] = state


def _check_callable(owner: str, steppers: Iterable[object]) -> None:
    for stepper in steppers:
        if not callable(stepper):
            raise TypeError(f"{owner}: a stepper is a function (p, **hypers), got {stepper!r}")


def _check_stat(stat: object) -> None:
    if isinstance(stat, type):
        raise TypeError(f"a stat must be an instance: {stat.__name__}(), got the class")
    if not (
        callable(getattr(stat, "init_state", None)) and callable(getattr(stat, "update", None))
    ):
        raise TypeError(f"a stat has init_state(p) and update(p, state, **hypers), got {stat!r}")


def _names(parts: Iterable[Any]) -> frozenset[str]:
    """The names of all hyper-parameters that stats and steppers take, and of their defaults."""
    found = {"lr"}
    for part in parts:
        named = _update_names(part)
        found |= {*named, *get_defaults(part)}
        if not named:  # what it reads from **kwargs is not to be seen
            found |= {*names.RANGES, *names.SHORT}
    return frozenset(found)


def _update_names(part: Any) -> list[str]:
    """What a stepper takes beside p, or a stat beside p and its state, by name."""
    function: Any = getattr(part, "update", part)
    arguments = _arguments(function).items()
    named = [n for n, a in arguments if a.kind not in (a.VAR_KEYWORD, a.VAR_POSITIONAL)]
    return named[1 if function is part else 2 :]


def _required(stepper: Stepper) -> set[str]:
    arguments = _arguments(stepper)
    return {name for name, each in arguments.items() if each.default is each.empty}


def _arguments(function: Stepper) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a function without a signature
        return {}


sgd_opt = partial(Optimizer, steppers=[weight_decay, sgd_step])
"""SGD whose decay comes before the step."""

sgd_mom_opt = partial(
    StatefulOptimizer, steppers=[momentum_step, weight_decay], stats=[AverageGrad()], wd=0.01
)
"""SGD with undampened momentum, and decay after the step."""

lamb_opt = partial(
    StatefulOptimizer,
    steppers=[lamb_step],
    stats=[AverageGrad(dampening=True), AverageSqrGrad(), StepCount()],
)
"""LAMB whose decay is inside the trust ratio."""


def adam_opt(xtra_step: Any = None, **kwargs: Any) -> partial[StatefulOptimizer]:
    """A maker of Adam optimizers: its step, then weight decay, then further steppers."""
    return partial(
        StatefulOptimizer,
        steppers=[adam_step, weight_decay, *listify(xtra_step)],
        stats=[AverageGrad(dampening=True), AverageSqrGrad(), StepCount()],
        **kwargs,
    )
