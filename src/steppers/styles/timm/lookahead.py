"""timm's Lookahead around any optimizer: slow weights are first copied at the first sync."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

SLOW = "lookahead_slow_buff"


class Lookahead(torch.optim.Optimizer):
    """Every k steps of the optimizer inside, pull its weights and slow ones together.

    Zhang et al. 2019, arXiv:1907.08610. The slow weights are copied at the first sync, which so
    moves nothing; the rule `lookahead` copies them before the first step. Groups are those of the
    optimizer inside, with `lookahead_alpha`, `lookahead_k` and `lookahead_step` of their own.
    Parameters without a gradient are left alone. Raises ValueError for alpha outside [0, 1] and k
    below 1.

    >>> w = torch.ones(1, requires_grad=True)
    >>> optimizer = Lookahead(torch.optim.SGD([w], lr=0.1), alpha=0.5, k=1)
    >>> for _ in range(2):
    ...     w.grad = torch.ones(1); optimizer.step(); print(round(w.item(), 2))
    0.9
    0.85
    """

    def __init__(
        self, base_optimizer: torch.optim.Optimizer, alpha: float = 0.5, k: int = 6
    ) -> None:
        if not 0 <= alpha <= 1:
            raise ValueError(f"Lookahead: alpha must be in [0, 1], got {alpha!r}")
        if not k >= 1:
            raise ValueError(f"Lookahead: k must be >= 1, got {k!r}")
        self._base = base_optimizer
        self._own = dict(lookahead_alpha=alpha, lookahead_k=k, lookahead_step=0)
        super().__init__(base_optimizer.param_groups, dict(base_optimizer.defaults))
        self.param_groups = base_optimizer.param_groups

    @property
    def base_optimizer(self) -> torch.optim.Optimizer:
        """The optimizer inside."""
        return self._base

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters to the optimizer inside."""
        groups = self._base.param_groups
        if not any(group is param_group for group in groups):  # else its own, in the constructor
            self._base.add_param_group(param_group)
        added = next((g for g in groups if g is param_group), groups[-1])
        for name, value in self._own.items():
            added.setdefault(name, value)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step the optimizer inside, and sync the groups whose turn it is."""
        loss = self._base.step(closure)
        for group in self.param_groups:
            group["lookahead_step"] += 1
            if group["lookahead_step"] % group["lookahead_k"] == 0:
                self._sync(group)
        return loss

    def sync_lookahead(self) -> None:
        """Sync all groups now, whatever their count: timm's trainer does before it evaluates."""
        for group in self.param_groups:
            self._sync(group)

    @torch.no_grad()
    def _sync(self, group: dict[str, Any]) -> None:
        for p in group["params"]:
            if p.grad is None:
                continue
            slow: Tensor = self.state[p].setdefault(SLOW, p.detach().clone())
            slow.lerp_(p, group["lookahead_alpha"])
            p.copy_(slow)

    def state_dict(self) -> dict[str, Any]:
        """The state of the optimizer inside, with the slow weights under "lookahead"."""
        params = [p for group in self.param_groups for p in group["params"]]
        slow = {i: self.state[p][SLOW] for i, p in enumerate(params) if p in self.state}
        return {**self._base.state_dict(), "lookahead": slow}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave; the slow weights are copied."""
        inside = {name: value for name, value in state_dict.items() if name != "lookahead"}
        self._base.load_state_dict(inside)
        self.param_groups = self._base.param_groups
        for group in self.param_groups:
            for name, value in self._own.items():
                group.setdefault(name, value)
        params = [p for group in self.param_groups for p in group["params"]]
        self.state.clear()
        for i, slow in state_dict.get("lookahead", {}).items():
            self.state[params[i]][SLOW] = slow.detach().to(params[i], copy=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_base": self._base, "_own": self._own}
