"""timm's Lookahead around any optimizer: slow weights are first copied at the first sync."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from ...optimizer import Optimizer

SLOW = "lookahead_slow_buff"


class Lookahead(torch.optim.Optimizer):
    """Every k steps of the optimizer inside, pull its weights and slow ones together.

    Zhang et al. 2019, arXiv:1907.08610. The slow weights are copied at the first sync, which so
    moves nothing; the rule `lookahead` copies them before the first step. Groups are those of the
    optimizer inside, with `lookahead_alpha`, `lookahead_k` and `lookahead_step` of their own.
    Parameters without a gradient are left alone. Raises ValueError for alpha outside [0, 1] and k
    below 1 or not whole, TypeError for what is no optimizer.

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
        found = cast("object", base_optimizer)
        if not isinstance(found, torch.optim.Optimizer):
            got = type(base_optimizer).__name__
            raise TypeError(f"Lookahead goes around an optimizer, got {got}; make that one first")
        if isinstance(base_optimizer, Lookahead):
            raise TypeError("Lookahead goes around no other: they would share a group's count")
        if not 0 <= alpha <= 1:
            raise ValueError(f"Lookahead: alpha must be in [0, 1], got {alpha!r}")
        if not (k >= 1 and k == int(k)):
            raise ValueError(f"Lookahead: k must be >= 1 and whole, got {k!r}")
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
        """The state of the optimizer inside, with each parameter's slow weights in its state."""
        inside = self._base.state_dict()
        state = dict(inside["state"])
        for i, p in self._numbered(inside):
            if p in self.state:
                state[i] = {**state.get(i, {}), SLOW: self.state[p][SLOW]}
        return {**inside, "state": state}

    @torch.no_grad()
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave, or the optimizer inside did; slow weights are copied.

        Raises as the optimizer inside does, and then nothing has changed.
        """
        saved: Any = state_dict
        if not (isinstance(saved, dict) and isinstance(saved.get("state"), dict)):
            got = type(state_dict).__name__
            raise ValueError(f"Lookahead: a state dict holds 'state' and 'param_groups', got {got}")
        states = {i: dict(each or {}) for i, each in state_dict["state"].items()}
        slow = {i: each.pop(SLOW) for i, each in states.items() if SLOW in each}
        inside = {i: each for i, each in states.items() if each or i not in slow}
        self._base.load_state_dict({**state_dict, "state": inside})
        self.param_groups = self._base.param_groups
        for group in self.param_groups:
            for name, value in self._own.items():
                group.setdefault(name, value)
        self.state.clear()
        for i, p in self._numbered(state_dict):
            if i in slow:
                self.state[p][SLOW] = slow[i].detach().to(p, copy=True)

    def _numbered(self, saved: Mapping[str, Any]) -> Iterator[tuple[int, Tensor]]:
        """The numbers that a state dict has for the parameters: by name where ours goes by it."""
        theirs, ours = saved["param_groups"], self.param_groups
        numbers = [i for group in theirs for i in group["params"]]
        params = [p for group in ours for p in group["params"]]
        if isinstance(self._base, Optimizer) and all("param_names" in g for g in (*theirs, *ours)):
            names = [name for group in theirs for name in group["param_names"]]
            by_name = dict(zip(names, numbers, strict=True))
            numbers = [by_name[name] for group in ours for name in group["param_names"]]
        return zip(numbers, params, strict=True)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_base": self._base, "_own": self._own}
