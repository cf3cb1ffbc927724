"""Lookahead: every k steps, fast and slow weights meet (Zhang et al. 2019, arXiv:1907.08610)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, cast

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
        if not isinstance(cast("object", k), Integral) or k < 1:
            raise ValueError(f"Lookahead: k must be a whole number from 1 on, got {k!r}")
        if not isinstance(cast("object", alpha), Real) or not 0 <= alpha <= 1:
            raise ValueError(f"Lookahead: alpha must be a number in [0, 1], got {alpha!r}")
        super().__init__(opt)
        self.k, self.alpha, self.count = k, alpha, 0
        self._slow: dict[Tensor, Tensor] = {}

    @property
    def slow_weights(self) -> list[list[Tensor]] | None:
        """The slow weights, group by group; None before the first step.

        A parameter that is new, which the next step copies, has itself.
        """
        if not self._slow:
            return None
        return [[self._slow.get(p, p.detach()) for p in params] for params in self.param_lists]

    @torch._disable_dynamo  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step the inner optimizer; every k-th time move both weights together."""
        params = [p for each in self.param_lists for p in each]
        self._slow = {p: self._slow[p] if p in self._slow else p.detach().clone() for p in params}
        loss = super().step(closure)
        self.count += 1
        if self.count % self.k == 0:
            self._meet()
        return loss

    @torch.no_grad()
    def _meet(self) -> None:
        for p, slow in self._slow.items():
            slow.lerp_(p, self.alpha)
            p.copy_(slow)

    def clear_state(self) -> None:
        """Drop the inner optimizer's state, the slow weights and the count."""
        clear_state(self.opt)
        self._slow, self.count = {}, 0

    def state_dict(self) -> dict[str, Any]:
        """The inner optimizer's state dict with `count` and `slow_weights`."""
        return {**super().state_dict(), **self._own()}

    def fastai_state_dict(self) -> dict[str, Any]:
        """The same in fastai's format, which an inner optimizer of this style has."""
        inner: Any = self.opt
        return {**inner.fastai_state_dict(), **self._own()}

    def _own(self) -> dict[str, Any]:
        return {"count": self.count, "slow_weights": self.slow_weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave, and copy it; without slow weights they start afresh.

        Raises ValueError for slow weights of other shapes, before anything changes.
        """
        own = ("count", "slow_weights")
        slow = state_dict.get("slow_weights")
        copied = {} if slow is None else _copied(slow, self.param_lists)
        super().load_state_dict({k: v for k, v in state_dict.items() if k not in own})
        self._slow, self.count = copied, int(state_dict.get("count", 0))


def _copied(slow: Sequence[Sequence[Tensor]], lists: list[list[Tensor]]) -> dict[Tensor, Tensor]:
    wanted = [[tuple(p.shape) for p in params] for params in lists]
    got = [[tuple(p.shape) for p in params] for params in slow]
    if got != wanted:
        raise ValueError(f"Lookahead: slow weights have shapes {got}, the parameters {wanted}")
    return {
        p: s.detach().to(p.device, copy=True)
        for params, slows in zip(lists, slow, strict=True)
        for p, s in zip(params, slows, strict=True)
    }
