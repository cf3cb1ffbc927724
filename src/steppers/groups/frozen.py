"""Frozen parameters: what a step does with the gradients that they still have."""

from __future__ import annotations

from typing import Any

import torch


def skip_frozen(optimizer: torch.optim.Optimizer, args: Any = (), kwargs: Any = None) -> None:
    """Drop the gradients of parameters that are frozen, so that the step leaves these alone.

    A parameter whose requires_grad became False keeps its last gradient, and torch's optimizers,
    ours too, go on moving it by that. As a hook this drops it ahead of every step, of any torch
    optimizer; called by itself, now. A closure's gradients are of trained parameters only.

    >>> w = torch.ones(1, requires_grad=True)
    >>> optimizer = torch.optim.SGD([w], lr=0.5)
    >>> handle = optimizer.register_step_pre_hook(skip_frozen)
    >>> w.sum().backward()
    >>> w.requires_grad_(False)  # frozen, its gradient still there
    tensor([1.])
    >>> optimizer.step(); w
    tensor([1.])
    """
    for group in optimizer.param_groups:
        for p in group["params"]:
            if not p.requires_grad:
                p.grad = None
