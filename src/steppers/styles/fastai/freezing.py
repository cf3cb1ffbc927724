"""An optimizer's parameters by layer groups: listed with what belongs to them, and frozen."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeAlias

from torch import Tensor

from ..groups import HypersView
from .flags import flags_of

Entry: TypeAlias = tuple[Tensor, list[Tensor], dict[str, Any], HypersView]


class Layered:
    """What an optimizer can do that has `param_lists`, `hypers` and flags in `state`."""

    frozen_idx: int = 0
    if TYPE_CHECKING:  # the optimizer's
        state: Any

        @property
        def param_lists(self) -> list[list[Tensor]]: ...
        @param_lists.setter
        def param_lists(self, lists: Iterable[Iterable[Tensor]]) -> None: ...
        @property
        def hypers(self) -> list[Any]: ...

    def all_params(
        self, n: slice | SupportsIndex = slice(None), with_grad: bool = False
    ) -> list[Entry]:
        """(p, its group's parameters, its state, its group's hypers), of the groups `n`."""
        groups = list(zip(self.param_lists, self.hypers, strict=True))
        chosen = groups[n] if isinstance(n, slice) else [groups[n]]
        return [
            (p, params, self.state[p], hypers)
            for params, hypers in chosen
            for p in params
            if not with_grad or p.grad is not None
        ]

    def grad_params(self) -> list[tuple[Tensor, HypersView]]:
        """(p, its group's hypers) of the parameters that have a gradient."""
        pairs = zip(self.param_lists, self.hypers, strict=True)
        return [(p, hypers) for params, hypers in pairs for p in params if p.grad is not None]

    def freeze_to(self, n: int) -> None:
        """Train groups [n:] only and, of those before, parameters with the flag force_train.

        A parameter that is not trained loses its gradient, which would move it otherwise. A
        negative n counts from the end. Raises ValueError for an n beyond the groups, TypeError for
        one that is no whole number.
        """
        first = self._place(n)
        if first == len(self.param_lists):
            warnings.warn(
                f"{type(self).__name__}: every group is frozen; pass a smaller n", stacklevel=2
            )
        self.frozen_idx = first
        for i in range(len(self.param_lists)):
            self.set_freeze(i, i >= first)

    def freeze(self) -> None:
        """Train the last group only. Raises ValueError if there is but one."""
        if (count := len(self.param_lists)) < 2:
            owner = type(self).__name__
            raise ValueError(f"{owner}: freeze needs 2 groups or more, there is {count}")
        self.freeze_to(-1)

    def unfreeze(self) -> None:
        """Train all groups."""
        self.freeze_to(0)

    def set_freeze(self, n: int, rg: bool, ignore_force_train: bool = False) -> None:
        """Train group n, if `rg`, or freeze it but for parameters with the flag force_train."""
        for p in self.param_lists[n]:
            forced = flags_of(self.state, p).get("force_train", False) and not ignore_force_train
            p.requires_grad_(bool(rg or forced))
            if not p.requires_grad:
                p.grad = None

    def _place(self, n: int) -> int:
        owner, count = type(self).__name__, len(self.param_lists)
        try:
            place = operator.index(n)
        except TypeError:
            raise TypeError(f"{owner}: freeze_to wants a whole number, got {n!r}") from None
        if not -count <= place <= count:
            raise ValueError(f"{owner}: freeze_to got {n}, but there are {count} groups")
        return place if place >= 0 else count + place
