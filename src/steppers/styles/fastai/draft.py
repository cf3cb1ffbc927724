"""The first drafts' form: stats `(state, p, **hypers)`, then steppers that are composed.

`Optimizer` and `StatefulOptimizer` here take their functions by position, as the drafts did, and
the ready-made ones take `true_wd`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from ..base import PerParameter, State, hypers_of
from ..groups import GroupHypers
from . import ready
from .callbacks import bringing, gradient, unchanged_gradient
from .composing import compose
from .defaults import changes_gradient, gathered, listed, read_by
from .optimizer import Optimizer as Final
from .optimizer import check_given, hyper_names


class StatefulOptimizer(PerParameter):
    """Stats in order, which make a parameter's state, then steppers, which get it by name.

    A stat is `(state, p, **hypers)` and returns the state; the state of a parameter starts empty.
    A stepper is `(p, **state, **hypers)` and returns p. Either may be one function. Defaults: those
    given, else those of the first function that names them, stats before steppers.

    Where state and a hyper have one name, it is a TypeError; `clash="hyper"` lets the hyper win, as
    the later drafts did. Steppers of ours that change the gradient (`l2_reg`) run before the stats,
    so that momentum sees the decay, and p.grad is put back; `stats_first=True` is the drafts' own
    order, in which it has no effect on a step along an average.
    """

    def __init__(
        self,
        params: Any,
        steppers: Any,
        stats: Any = None,
        *,
        clash: str = "error",
        stats_first: bool = False,
        strict: bool = True,
        **defaults: Any,
    ) -> None:
        owner = type(self).__name__
        if clash not in ("error", "hyper"):
            raise ValueError(f"{owner}: clash must be 'error' or 'hyper', got {clash!r}")
        self.steppers, self.stats = listed(steppers, owner), listed(stats or (), owner)
        self.clash, self.stats_first = clash, stats_first
        functions = [*self.stats, *self.steppers]
        names = read_by(functions)
        if strict and names is not None:
            check_given(owner, defaults, names)
        values = {**gathered(functions, first_wins=True), **defaults}
        strict = strict and names is not None
        super().__init__(params, values, strict=strict, known=hyper_names(names))

    def update_parameter(self, p: Tensor, state: State, group: dict[str, Any]) -> None:
        """Run the stats, keep the state, run the steppers."""
        early = [] if self.stats_first else [f for f in self.steppers if changes_gradient(f)]
        late = [f for f in self.steppers if f not in early]
        with unchanged_gradient(p) if early else nullcontext():
            hypers = hypers_of(group)
            compose(early, p, hypers)
            self.state[p] = state = self._stated(p, state, hypers)
            compose(late, p, self._named(state, hypers))

    def _stated(self, p: Tensor, state: State, hypers: dict[str, Any]) -> State:
        for stat in self.stats:
            state = stat(state, p, **hypers)
            if not isinstance(state, dict):  # pyright: ignore[reportUnnecessaryIsInstance]  # input
                raise TypeError(f"a stat must return the state, a dict, got {state!r}")
        return state

    def _named(self, state: State, hypers: Mapping[str, Any]) -> dict[str, Any]:
        both = sorted(state.keys() & hypers.keys())
        if both and self.clash == "error":
            raise TypeError(
                f"{type(self).__name__}: {both[0]!r} is in the state and a hyper-parameter; rename "
                "one, or pass clash='hyper' to let the hyper-parameter win"
            )
        return {**state, **hypers}

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Zero the gradients in place, as the drafts did; True sets them to None."""
        super().zero_grad(set_to_none)

    def grad_params(self) -> list[tuple[Tensor, GroupHypers]]:
        """(p, its group's hypers) of the parameters that have a gradient."""
        pairs = zip(self.param_lists, self.hypers, strict=True)
        return [(p, hypers) for params, hypers in pairs for p in params if p.grad is not None]


class Optimizer(StatefulOptimizer):
    """Steppers alone, composed in order.

    >>> from .callbacks import sgd_step
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> w.grad = torch.tensor([0.5])
    >>> optimizer = Optimizer([w], sgd_step, lr=1.0)
    >>> optimizer.step(); w.item()
    0.5
    """

    def __init__(self, params: Any, steppers: Any, **options: Any) -> None:
        super().__init__(params, steppers, None, **options)


@bringing(mom=0.9)
def average_grad(state: State, p: Tensor, mom: float, **_: Any) -> State:
    """Undampened momentum as a stat: what the draft's own, which was unfinished, was to be."""
    if "grad_avg" not in state:
        state["grad_avg"] = torch.zeros_like(gradient(p))
    state["grad_avg"].mul_(mom).add_(gradient(p))
    return state


def _with_true_wd(factory: Callable[..., Final]) -> Callable[..., Final]:
    """A ready-made optimizer whose `decouple_wd` is called `true_wd`."""

    @wraps(factory)
    def made(params: Any, lr: Any, *args: Any, true_wd: bool = True, **options: Any) -> Final:
        return factory(params, lr, *args, decouple_wd=true_wd, **options)

    return made


SGD, RMSProp, Adam = map(_with_true_wd, (ready.SGD, ready.RMSProp, ready.Adam))
Larc, Lamb = map(_with_true_wd, (ready.Larc, ready.Lamb))
