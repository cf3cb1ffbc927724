"""The first drafts' form: stats `(state, p, **hypers)`, then steppers that are composed.

`Optimizer` and `StatefulOptimizer` here take their functions by position, as the drafts did, and
the ready-made ones take `true_wd`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import wraps
from typing import Any

from torch import Tensor

from ..base import PerParameter, State, hypers_of
from . import callbacks, ready
from .callbacks import (
    Callback,
    adam_step,
    l2_reg,
    lamb_step,
    larc_step,
    momentum_step,
    rms_prop_step,
    sgd_step,
    unchanged_gradient,
    weight_decay,
)
from .composing import compose
from .defaults import changes_gradient, check_given, gathered, hyper_names, listed
from .freezing import Layered
from .optimizer import Optimizer as Final

__all__ = [
    "SGD",
    "Adam",
    "Lamb",
    "Larc",
    "Optimizer",
    "RMSProp",
    "StatefulOptimizer",
    "adam_step",
    "average_grad",
    "average_sqr_grad",
    "l2_reg",
    "lamb_step",
    "larc_layer_lr",
    "larc_step",
    "momentum_step",
    "rms_prop_step",
    "sgd_step",
    "step_stat",
    "weight_decay",
]


class StatefulOptimizer(Layered, PerParameter):
    """Stats in order, which make a parameter's state, then steppers, which get it by name.

    A stat is `(state, p, **hypers)` and returns the state; the state of a parameter starts empty.
    A stepper is `(p, **state, **hypers)` and returns p. Either may be one function. Defaults: those
    given, else those of the first function that names them, stats before steppers.

    Where state and a hyper have one name, it is a TypeError; `clash="hyper"` lets the hyper win, as
    the later drafts did. Where there are stats, steppers of ours that change the gradient
    (`l2_reg`) run before them, so that momentum sees the decay; `stats_first=True` is the drafts'
    own order, in which it has no effect on a step along an average. After a step p.grad is as
    before; `keep_grads=False` leaves what such a stepper made of it.
    """

    def __init__(
        self,
        params: Any,
        steppers: Any,
        stats: Any = None,
        *,
        clash: str = "error",
        stats_first: bool = False,
        keep_grads: bool = True,
        strict: bool = True,
        **defaults: Any,
    ) -> None:
        owner = type(self).__name__
        if clash not in ("error", "hyper"):
            raise ValueError(f"{owner}: clash must be 'error' or 'hyper', got {clash!r}")
        self.steppers, self.stats = listed(steppers, owner), listed(stats or (), owner)
        self.clash, self.stats_first, self.keep_grads = clash, stats_first, keep_grads
        functions = [*self.stats, *self.steppers]
        known = hyper_names(functions)
        values = {**gathered(functions, first_wins=True), **defaults}
        if strict:
            check_given(owner, values, known)
        super().__init__(params, values, strict=strict, known=known)

    def update_parameter(self, p: Tensor, state: State, group: dict[str, Any]) -> None:
        """Run the stats, keep the state, run the steppers."""
        writers = [f for f in self.steppers if changes_gradient(f)]
        early = writers if self.stats and not self.stats_first else []
        late = [f for f in self.steppers if f not in early]
        hypers = hypers_of(group)
        with unchanged_gradient(p) if writers and self.keep_grads else nullcontext():
            moved = compose(early, p, self._named(state, hypers))
            self.state[p] = state = self._stated(p, state, hypers)
            compose(late, moved, self._named(state, hypers))

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


class Optimizer(StatefulOptimizer):
    """Steppers, composed in order; with `stats`, as the later drafts had it, a stateful one too.

    >>> import torch
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> w.grad = torch.tensor([0.5])
    >>> optimizer = Optimizer([w], sgd_step, lr=1.0)
    >>> optimizer.step(); w.item()
    0.5
    """


def _as_stat(callback: Callback) -> Callable[..., State]:
    """A statistic of the final form, which is called without the state and returns what is new."""

    @wraps(callback)
    def stat(state: State, p: Tensor, *args: Any, **hypers: Any) -> State:
        return {**state, **callback(p, *args, **{**state, **hypers})}

    stat.__module__ = __name__  # it is pickled by its name here
    return stat


average_grad = _as_stat(callbacks.average_grad)
average_sqr_grad = _as_stat(callbacks.average_sqr_grad)
step_stat = _as_stat(callbacks.step_stat)
larc_layer_lr = _as_stat(callbacks.larc_layer_lr)


def _with_true_wd(factory: Callable[..., Final]) -> Callable[..., Final]:
    """A ready-made optimizer whose `decouple_wd` is called `true_wd`."""

    @wraps(factory)
    def made(
        params: Any, lr: Any, *args: Any, true_wd: bool | None = None, **options: Any
    ) -> Final:
        if true_wd is not None:
            options["decouple_wd"] = true_wd
        return factory(params, lr, *args, **options)

    made.__module__ = __name__  # it is pickled by its name here
    del vars(made)["__wrapped__"]  # its signature is its own
    return made


SGD, RMSProp, Adam = map(_with_true_wd, (ready.SGD, ready.RMSProp, ready.Adam))
Larc, Lamb = map(_with_true_wd, (ready.Larc, ready.Lamb))
