"""fastai's Optimizer: one list of callbacks, run on each parameter in turn."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from ..base import PerParameter, State, hypers_of
from ..groups import GroupHypers, check_name
from . import freezing
from .callbacks import unchanged_gradient
from .composing import Composed
from .defaults import changes_gradient, gathered, listed, read_by


class Optimizer(PerParameter):
    """An optimizer as a list of callbacks `cb(p, **state, **hypers)` (fastai 2.8).

    Each is called on each parameter that has a gradient, in the order given, with the parameter's
    state and its group's hypers by name; a hyper wins over state of the same name. What it returns,
    if it is a dict, updates the state, which the next callback sees.

    Defaults: those given, else those of the last callback that brings the name along; partials
    count. `steppers=` instead of `cbs` composes functions as the first drafts did: the first that
    names a default wins, and each gets what the one before returned.

    Unlike the original's: gradients that a callback of ours changes (`l2_reg`) are as before after
    the step (`keep_grads=False` leaves them changed, so that a second step counts decay twice);
    closures work; a name that no callback reads is a TypeError (`strict=False` takes it).

    >>> import torch
    >>> from . import sgd_step, weight_decay
    >>> w = torch.tensor([1.0], requires_grad=True)
    >>> w.grad = torch.tensor([0.1])
    >>> optimizer = Optimizer([w], [weight_decay, sgd_step], lr=1.0, wd=0.1)
    >>> optimizer.step(); round(w.item(), 6)
    0.8
    """

    def __init__(
        self,
        params: Any,
        cbs: Any = None,
        *,
        steppers: Any = None,
        train_bn: bool | None = None,
        keep_grads: bool = True,
        strict: bool = True,
        **defaults: Any,
    ) -> None:
        owner = type(self).__name__
        if (cbs is None) == (steppers is None):
            raise TypeError(f"{owner}: give callbacks, or steppers=, and not both")
        if train_bn is not None:
            warnings.warn(
                f"{owner}: train_bn has no effect here; give it to the Learner, or call mark()",
                stacklevel=2,
            )
        self.cbs = [Composed(listed(steppers, owner))] if cbs is None else listed(cbs, owner)
        names = read_by(self.cbs)
        values = {**gathered(self.cbs, first_wins=False), **defaults}
        if strict and names is not None:
            check_given(owner, defaults, names)
        self.keep_grads, self.frozen_idx = keep_grads, 0
        self._marked: tuple[list[Any], bool] = ([], False)
        strict = strict and names is not None
        super().__init__(params, values, strict=strict, known=hyper_names(names))

    def update_parameter(self, p: Tensor, state: State, group: dict[str, Any]) -> None:
        """Call the callbacks on one parameter."""
        if not self._changes_gradients():
            return self._call(p, state, hypers_of(group))
        with unchanged_gradient(p):
            self._call(p, state, hypers_of(group))

    def _call(self, p: Tensor, state: State, hypers: dict[str, Any]) -> None:
        for cb in self.cbs:
            found = cb(p, **{**state, **hypers})
            if isinstance(found, dict):
                state.update(found)

    def _changes_gradients(self) -> bool:
        """Whether gradients are to be put back; looked up again when the list has changed."""
        if self._marked[0] != self.cbs:
            changes = self.keep_grads and any(changes_gradient(cb) for cb in self.cbs)
            self._marked = (list(self.cbs), changes)
        return self._marked[1]

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Zero the gradients in place, as fastai does; True sets them to None, as torch does."""
        super().zero_grad(set_to_none)

    # --- parameters -----------------------------------------------------------------------------

    def all_params(
        self, n: slice | int = slice(None), with_grad: bool = False
    ) -> list[tuple[Tensor, list[Tensor], State, GroupHypers]]:
        """(p, its group's parameters, its state, its group's hypers), of the groups `n`."""
        chosen = list(zip(self.param_lists, self.hypers, strict=True))
        chosen = [chosen[n]] if isinstance(n, int) else chosen[n]
        return [
            (p, params, self.state[p], hypers)
            for params, hypers in chosen
            for p in params
            if not with_grad or p.grad is not None
        ]

    def grad_params(self) -> list[tuple[Tensor, GroupHypers]]:
        """(p, its group's hypers) of the parameters that have a gradient."""
        pairs = zip(self.param_lists, self.hypers, strict=True)
        return [(p, hypers) for params, hypers in pairs for p in params if p.grad is not None]

    # --- freezing -------------------------------------------------------------------------------

    def freeze_to(self, n: int) -> None:
        """Train groups [n:] only, and parameters with the flag force_train (see `mark`)."""
        lists = self.param_lists
        self.frozen_idx = freezing.freeze_to(type(self).__name__, lists, self.state, n)

    def freeze(self) -> None:
        """Train the last group only. Raises ValueError if there is but one."""
        freezing.check_several(type(self).__name__, self.param_lists)
        self.freeze_to(-1)

    def unfreeze(self) -> None:
        """Train all groups."""
        self.freeze_to(0)

    # --- state ----------------------------------------------------------------------------------

    def clear_state(self) -> None:
        """Drop all state but the flags force_train and do_wd."""
        freezing.clear(self.state, self.param_lists)

    def fastai_state_dict(self) -> dict[str, Any]:
        """fastai's own format: {'state': one dict a parameter, 'hypers': one dict a group}.

        `state_dict()` has torch's, which torch's tools want; `load_state_dict` takes both.
        """
        state = [dict(self.state.get(p) or {}) for params in self.param_lists for p in params]
        return {"state": state, "hypers": [dict(hypers) for hypers in self.hypers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a checkpoint in fastai's format or in torch's; tensors are copied.

        Flags that the checkpoint lacks stay. Raises ValueError for other numbers of groups or
        parameters, before anything changes.
        """
        params = [p for each in self.param_lists for p in each]
        flags = {p: freezing.flags_of(self.state, p) for p in params}
        if "hypers" in state_dict and "param_groups" not in state_dict:
            state_dict = self._as_torchs(state_dict)
        super().load_state_dict(state_dict)
        for p, kept in flags.items():
            if kept:
                self.state[p] = {**kept, **self.state[p]}

    def _as_torchs(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        sizes = [len(params) for params in self.param_lists]
        if len(saved["hypers"]) != len(sizes) or len(saved["state"]) != sum(sizes):
            raise ValueError(
                f"{type(self).__name__}: the checkpoint has {len(saved['state'])} parameters in "
                f"{len(saved['hypers'])} groups, the optimizer {sum(sizes)} in {len(sizes)}"
            )
        firsts = [sum(sizes[:i]) for i in range(len(sizes))]
        groups = [
            {**hypers, "params": list(range(first, first + size))}
            for hypers, first, size in zip(saved["hypers"], firsts, sizes, strict=True)
        ]
        state = {i: state for i, state in enumerate(saved["state"]) if state}
        return {"state": state, "param_groups": groups}


def check_given(owner: str, given: Iterable[str], read: set[str]) -> None:
    """Raise TypeError for a hyper-parameter that no callback reads.

    A rate, momentum and decay may always be given: lists of callbacks differ in using them.
    """
    for name in given:
        check_name(owner, name, hyper_names(read))


def hyper_names(read: set[str] | None) -> set[str]:
    """The names that may be hyper-parameters, of those that callbacks read."""
    return (read or set()) - {"p", "state"} | {"lr", "mom", "wd"}
