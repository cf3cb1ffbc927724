"""The optimizer of steppers, the one that keeps statistics too, and the ready-made ones."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterable
from functools import partial
from typing import Any, cast

import torch
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

    A complex parameter and its gradient come as real views of shape (…, 2), as torch does it.

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
        self._needed: dict[str, str] = {}
        maybe_update(self.steppers, self._needed, _required)
        for group in self.param_groups if "lr" in self._needed else ():
            if "lr" not in group:
                raise self._lacking("lr")

    def _parts(self) -> list[Any]:
        stats = getattr(self, "stats", ())  # a subclass may have its own, as in the course
        return [*listify(stats), *self.steppers]

    def _lacking(self, name: str) -> TypeError:
        owner, stepper = type(self).__name__, self._needed[name]
        return TypeError(
            f"{owner}: {stepper} needs {name}: give {owner}(…, {name}=…), or a StatefulOptimizer "
            "a stat that keeps it"
        )

    def grad_params(self) -> list[tuple[Tensor, GroupHypers]]:
        """Each parameter that has a gradient, with the hyper-parameters of its group."""
        pairs = zip(self.param_groups, self.hypers, strict=True)
        return [(p, hyper) for g, hyper in pairs for p in g["params"] if p.grad is not None]

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Fill the gradients with zeros, or drop them."""
        super().zero_grad(set_to_none)

    def update_parameter(self, p: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        held: Any = p.grad
        pair = (p, held)
        real, grad = map(torch.view_as_real, pair) if p.is_complex() else pair
        real.grad = grad.detach().clone() if self.keep_grads else grad
        try:
            self.state[p] = self._run(real, state, hypers_of(group))
        finally:
            p.grad = held

    def _run(self, p: Tensor, state: dict[str, Any], hyper: dict[str, Any]) -> dict[str, Any]:
        self._check_needed(hyper)
        self._compose(self.steppers, p, hyper)
        return state

    def _check_needed(self, values: Container[str]) -> None:
        for name in self._needed:
            if name not in values:
                raise self._lacking(name)

    def _compose(self, steppers: Iterable[Stepper], p: Any, values: dict[str, Any]) -> None:
        for stepper in in_order(steppers):
            p = stepper(p, **values)
            if not isinstance(p, Tensor):
                name, kind = _name(stepper), type(p).__name__
                raise TypeError(f"the stepper {name} must return p, got {kind}")


class StatefulOptimizer(Optimizer):
    """An optimizer whose steppers also get what `stats` keep for each parameter.

    The stats run in order, and then the steppers. Where two stats start one key, the first does;
    where stats and steppers have defaults for one hyper-parameter, the stats' hold.

    Steppers that change the gradient (`l2_reg`, and any with the attribute `on_gradient = True`)
    run before the stats, so that momentum sees them. `stats_first=True` is the course's own order,
    in which they have no effect on a step along an average.

    Raises TypeError, in a step and before the parameter moves, where a stat keeps something under
    the name of a hyper-parameter, and for a stepper that needs what no stat keeps.
    """

    def __init__(
        self,
        params: Any,
        steppers: Any,
        stats: Any = None,
        *,
        stats_first: bool = False,
        strict: bool = True,
        keep_grads: bool = True,
        **defaults: Any,
    ) -> None:
        self.stats, self.stats_first = listify(stats), stats_first
        for stat in self.stats:
            _check_stat(stat)
        super().__init__(params, steppers, strict=strict, keep_grads=keep_grads, **defaults)

    def _run(self, p: Tensor, state: dict[str, Any], hyper: dict[str, Any]) -> dict[str, Any]:
        early = [] if self.stats_first else [s for s in self.steppers if _on_gradient(s)]
        self._compose(early, p, hyper)
        if not state:
            maybe_update(self.stats, state, lambda stat: stat.init_state(p))
        for stat in self.stats:
            state = _updated(stat, p, state, hyper)
        if both := state.keys() & hyper.keys():
            name = min(both)
            raise TypeError(
                f"{name!r} is a hyper-parameter and in the state too: a stepper cannot get both; "
                "rename what the stat keeps"
            )
        values = {**state, **hyper}
        self._check_needed(values)
        self._compose([s for s in self.steppers if s not in early], p, values)
        return state


def _updated(stat: Any, p: Tensor, state: dict[str, Any], hyper: dict[str, Any]) -> dict[str, Any]:
    """The state that a stat makes of one."""
    try:
        found: object = stat.update(p, state, **hyper)
    except KeyError as error:
        if error.args and error.args[0] in state:
            raise
        raise KeyError(
            f"{type(stat).__name__}.update wants {error}, and the state has "
            f"{', '.join(map(repr, state))}: was it loaded from an optimizer with other stats?"
        ) from error
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise TypeError(f"{type(stat).__name__}.update must return the state, got {kind}")
    return cast("dict[str, Any]", found)


def _on_gradient(stepper: Stepper) -> bool:
    return bool(getattr(_inner(stepper), "on_gradient", False))


def _name(stepper: Stepper) -> str:
    return getattr(_inner(stepper), "__name__", type(stepper).__name__)


def _inner(stepper: Stepper) -> Any:
    return stepper.func if isinstance(stepper, partial) else stepper


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


def _required(stepper: Stepper) -> dict[str, str]:
    """What a stepper must be given beside p, by name, each with the stepper's own."""
    arguments, empty = _arguments(stepper), inspect.Parameter.empty
    named = _update_names(stepper)
    return {name: _name(stepper) for name in named if arguments[name].default is empty}


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
