"""Statistics as objects: what is kept for each parameter, and how a gradient changes it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

State = dict[str, Any]


class Stat:
    """Something kept for each parameter: how it starts, and how each step changes it.

    Its `_defaults` are hyper-parameters that the optimizer gets where it was given none.
    """

    _defaults: dict[str, Any] = {}

    # The course's base methods raise when they are called, and its code may leave one out: no ABC.
    def init_state(self, p: Tensor) -> State:
        """What a parameter's state holds before its first step. To be written by a subclass."""
        raise NotImplementedError(
            f"{type(self).__name__} must have init_state(p), returning a dict"
        )

    def update(self, p: Tensor, state: State, **kwargs: Any) -> State:
        """The state after a step with p.grad; it may be the same dict, changed."""
        raise NotImplementedError(
            f"{type(self).__name__} must have update(p, state, **hypers), returning the state"
        )


class AverageGrad(Stat):
    """Decayed sum of the gradients, or with `dampening` their average: `grad_avg`.

    `mom_damp` is the weight of the newest gradient, 1 or 1 - mom. Both start at 0.
    """

    _defaults = dict(mom=0.9)

    def __init__(self, dampening: bool = False) -> None:
        self.dampening = dampening

    def init_state(self, p: Tensor) -> State:
        return {"grad_avg": torch.zeros_like(p)}

    def update(self, p: Tensor, state: State, *, mom: float, **kwargs: Any) -> State:
        state["mom_damp"] = 1 - mom if self.dampening else 1.0
        state["grad_avg"].mul_(mom).add_(p.grad, alpha=state["mom_damp"])
        return state


class AverageSqrGrad(Stat):
    """Average of the squared gradients, or without `dampening` their decayed sum: `sqr_avg`."""

    _defaults = dict(sqr_mom=0.99)

    def __init__(self, dampening: bool = True) -> None:
        self.dampening = dampening

    def init_state(self, p: Tensor) -> State:
        return {"sqr_avg": torch.zeros_like(p)}

    def update(self, p: Tensor, state: State, *, sqr_mom: float, **kwargs: Any) -> State:
        state["sqr_damp"] = 1 - sqr_mom if self.dampening else 1.0
        g: Any = p.grad
        state["sqr_avg"].mul_(sqr_mom).addcmul_(g, g, value=state["sqr_damp"])
        return state


class StepCount(Stat):
    """How many steps a parameter has taken: `step`, 1 in the first."""

    def init_state(self, p: Tensor) -> State:
        return {"step": 0}

    def update(self, p: Tensor, state: State, **kwargs: Any) -> State:
        state["step"] += 1
        return state


def debias(mom: float, damp: float, step: int) -> float:
    """What a decayed sum of ones comes to after so many steps: divide by it.

    It is damp * (1 - mom**step) / (1 - mom), which is 1 - mom**step with damp = 1 - mom, and
    damp * step where nothing decays.

    >>> round(debias(0.9, 1.0, 2), 6), round(debias(0.9, 0.1, 2), 6)
    (1.9, 0.19)
    """
    return damp * (step if mom == 1 else (1 - mom**step) / (1 - mom))


def lin_comb(v1: Any, v2: Any, beta: float) -> Any:
    """beta * v1 + (1 - beta) * v2, for numbers and tensors."""
    return beta * v1 + (1 - beta) * v2


ewma = lin_comb
