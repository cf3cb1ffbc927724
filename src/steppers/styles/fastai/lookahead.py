"""Lookahead: every k steps, fast and slow weights meet (Zhang et al. 2019, arXiv:1907.08610)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .around import Around, clear_state


class Lookahead(Around):
    """An optimizer with slow weights, which every k-th step takes alpha of the way to the fast.

    The slow weights are copied before the first step, of all parameters, those without gradients
    too. Any optimizer may be inside; it keeps its groups, state and methods. Chains have the rule
    `lookahead` for this, inside the kernel.

    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> w.grad = torch.tensor([0.1])
    >>> optimizer = Lookahead(torch.optim.SGD([w], lr=0.1), k=2)
    >>> optimizer.step(); optimizer.step(); round(w.item(), 6)
    0.99
    """

    def __init__(self, opt: torch.optim.Optimizer, k: int = 6, alpha: float = 0.5) -> None:
        if k < 1 or k != int(k):
            raise ValueError(f"Lookahead: k must be a whole number from 1 on, got {k!r}")
        if not 0 <= alpha <= 1:
            raise ValueError(f"Lookahead: alpha must be in [0, 1], got {alpha!r}")
        super().__init__(opt)
        self.k, self.alpha, self.count = k, alpha, 0
        self.slow_weights: list[list[Tensor]] | None = None

    @torch._disable_dynamo  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step the inner optimizer; every k-th time move both weights together."""
        slow = self.slow_weights = self.slow_weights or []
        slow += [[p.detach().clone() for p in each] for each in self._lists()[len(slow) :]]
        loss = super().step(closure)
        self.count += 1
        if self.count % self.k == 0:
            self._meet(slow)
        return loss

    def _lists(self) -> list[list[Tensor]]:
        return [group["params"] for group in self.param_groups]

    @torch.no_grad()
    def _meet(self, slow: list[list[Tensor]]) -> None:
        for params, slows in zip(self._lists(), slow, strict=True):
            for p, slow_p in zip(params, slows, strict=True):
                slow_p.lerp_(p, self.alpha)
                p.copy_(slow_p)

    def clear_state(self) -> None:
        """Drop the inner optimizer's state, the slow weights and the count."""
        clear_state(self.opt)
        self.slow_weights, self.count = None, 0

    def state_dict(self) -> dict[str, Any]:
        """The inner optimizer's state dict with `count` and `slow_weights`."""
        return {**super().state_dict(), "count": self.count, "slow_weights": self.slow_weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave, and copy it; without slow weights they start afresh.

        Raises ValueError for slow weights of other shapes, before anything changes.
        """
        own = ("count", "slow_weights")
        slow = state_dict.get("slow_weights")
        copied = None if slow is None else _copied(slow, self._lists())
        super().load_state_dict({k: v for k, v in state_dict.items() if k not in own})
        self.slow_weights, self.count = copied, int(state_dict.get("count", 0))


def _copied(slow: Sequence[Sequence[Tensor]], lists: list[list[Tensor]]) -> list[list[Tensor]]:
    wanted = [[tuple(p.shape) for p in params] for params in lists]
    got = [[tuple(p.shape) for p in params] for params in slow]
    if got != wanted:
        raise ValueError(f"Lookahead: slow weights have shapes {got}, the parameters {wanted}")
    return [
        [s.detach().to(p.device, copy=True) for s, p in zip(slows, params, strict=True)]
        for slows, params in zip(slow, lists, strict=True)
    ]
