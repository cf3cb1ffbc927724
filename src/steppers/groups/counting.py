"""Step counts: one for each parameter, or by a hook one for each group."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def count_together(optimizer: torch.optim.Optimizer, args: Any = (), kwargs: Any = None) -> None:
    """Let all parameters of a group count its steps, with a gradient or without.

    A parameter that is trained from the tenth step on is debiased as at its first step; where
    the count is the group's (timm's Lamb, apex) as at the tenth. As a hook ahead of every step
    this sets the counts of a group to the largest of them. Works on state that has `step`; of
    torch's own optimizers a parameter gets its state, and so its count, with its first gradient.

    >>> import steppers
    >>> a, b = (torch.ones(1, requires_grad=True) for _ in range(2))
    >>> optimizer = steppers.Adam([a, b])
    >>> handle = optimizer.register_step_pre_hook(count_together)
    >>> for _ in range(3):
    ...     a.grad = torch.ones(1)
    ...     optimizer.step()
    >>> b.grad = torch.ones(1)
    >>> optimizer.step(); optimizer.state[b]["step"].item()
    4.0
    """
    make = getattr(optimizer, "init_state", None)
    if callable(make) and any(not optimizer.state.get(p) for p in _trained(optimizer)):
        make()
    for group in optimizer.param_groups:
        states = [optimizer.state[p] for p in group["params"] if p in optimizer.state]
        having = [state for state in states if "step" in state]
        most = max((float(state["step"]) for state in having), default=0.0)
        for state in having:
            step = state["step"]
            if isinstance(step, Tensor):
                step.fill_(most)
            else:
                state["step"] = type(step)(most)


def _trained(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
