"""Jobs of several parts: what a training loop does in calls, ours does in one chain of rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..optimizer import Optimizer
from ..rules import (
    adam,
    average_grad,
    average_square,
    clip_by_global_norm,
    decay,
    descend,
    ema,
    use_average,
)
from .ways import Params, Stepper, Way

CLIP_ADAMW_EMA = "clip+adamw+ema"
LR, MAX_NORM, DECAY, WEIGHT_DECAY = 1e-3, 1.0, 0.999, 1e-2
CHAIN = (clip_by_global_norm, decay, average_grad, average_square, adam, descend, ema)


def clip_adamw_ema(params: Params, engine: str) -> Optimizer:
    """Clipping by the global norm, AdamW, and an average of the weights as one chain."""
    return Optimizer(
        params,
        steps=CHAIN,
        evaluate=use_average,
        engine=engine,
        lr=LR,
        weight_decay=WEIGHT_DECAY,
        max_norm=MAX_NORM,
        ema_decay=DECAY,
    )


class Calls:
    """Three calls after one another: clip, step, average."""

    def __init__(self, *calls: Callable[[], object]) -> None:
        self.calls = calls

    def step(self) -> None:
        """Take one step."""
        for call in self.calls:
            call()


class Average:
    """The weights' average, one multi-tensor call a step."""

    def __init__(self, params: Params) -> None:
        self.params = params
        self.held = [p.detach().clone() for p in params]
        self.lerp_: Any = vars(torch)["_foreach_lerp_"]  # torch has no public name for it

    def __call__(self) -> None:
        with torch.no_grad():
            self.lerp_(self.held, self.params, 1 - DECAY)


def torch_calls(flags: dict[str, Any]) -> Callable[[Params], Stepper]:
    """torch's clip_grad_norm_, one of its AdamWs, and the average."""

    def make(params: Params) -> Stepper:
        optimizer = torch.optim.AdamW(params, lr=LR, weight_decay=WEIGHT_DECAY, **flags)

        def clip() -> Tensor:
            return torch.nn.utils.clip_grad_norm_(params, MAX_NORM, foreach=True)

        return Calls(clip, optimizer.step, Average(params))

    return make


def scaled_in_fused(params: Params) -> Stepper:
    """The fused AdamW divides the gradients by `grad_scale`, so that clipping needs no own pass.

    It is the hook that torch.amp.GradScaler uses, not a documented interface.
    """
    optimizer: Any = torch.optim.AdamW(params, lr=LR, weight_decay=WEIGHT_DECAY, fused=True)
    optimizer.found_inf = torch.zeros((), dtype=torch.float32, device=params[0].device)

    def measure() -> None:
        norm = torch.nn.utils.get_total_norm(list(gradients(params)), foreach=True)
        optimizer.grad_scale = ((norm + 1e-6) / MAX_NORM).clamp(min=1.0).float()

    return Calls(measure, optimizer.step, Average(params))


def gradients(params: Params) -> Iterator[Tensor]:
    """The gradients that there are."""
    return (p.grad for p in params if p.grad is not None)


TORCH_WAYS = (
    Way("torch clip, fused, lerp", "torch", torch_calls({"fused": True}), torch.__version__),
    Way("torch norm in fused, lerp", "torch", scaled_in_fused, torch.__version__),
    Way("torch clip, foreach, lerp", "torch", torch_calls({"foreach": True}), torch.__version__),
    Way("torch clip, loop, lerp", "torch", torch_calls({"foreach": False}), torch.__version__),
)
