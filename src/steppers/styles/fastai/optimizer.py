"""fastai's Optimizer: one list of callbacks, run on each parameter in turn."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, cast

from torch import Tensor

from ..base import PerParameter, State, hypers_of
from . import flags
from .callbacks import unchanged_gradient
from .composing import Composed
from .defaults import changes_gradient, check_given, gathered, hyper_names, listed
from .freezing import Layered


class Optimizer(Layered, PerParameter):
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
        known = hyper_names(self.cbs)
        values = {**gathered(self.cbs, first_wins=False), **defaults}
        if strict:
            check_given(owner, values, known)
        self.keep_grads = keep_grads
        super().__init__(params, values, strict=strict, known=known)

    def update_parameter(self, p: Tensor, state: State, group: dict[str, Any]) -> None:
        """Call the callbacks on one parameter."""
        if not (self.keep_grads and any(map(changes_gradient, self.cbs))):
            return self._call(p, state, hypers_of(group))
        with unchanged_gradient(p):
            self._call(p, state, hypers_of(group))

    def _call(self, p: Tensor, state: State, hypers: dict[str, Any]) -> None:
        for cb in self.cbs:
            found = cb(p, **{**state, **hypers})
            if isinstance(found, dict):
                state.update(found)

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Zero the gradients in place, as fastai does; True sets them to None, as torch does."""
        super().zero_grad(set_to_none)

    # --- state ----------------------------------------------------------------------------------

    def clear_state(self) -> None:
        """Drop all state but the flags force_train and do_wd."""
        flags.clear(self.state, self.param_lists)

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
        marked = {p: flags.flags_of(self.state, p) for p in params}
        if "hypers" in state_dict and "param_groups" not in state_dict:
            state_dict = self._as_torchs(state_dict)
        super().load_state_dict(state_dict)
        for p, kept in marked.items():
            if kept:
                self.state[p] = {**kept, **self.state[p]}

    def _as_torchs(self, saved: Mapping[str, Any]) -> dict[str, Any]:
        owner, sizes = type(self).__name__, [len(params) for params in self.param_lists]
        hypers, state = (_dicts(owner, saved, name) for name in ("hypers", "state"))
        if len(hypers) != len(sizes) or len(state) != sum(sizes):
            raise ValueError(
                f"{owner}: the checkpoint has {len(state)} parameters in {len(hypers)} groups, "
                f"the optimizer {sum(sizes)} in {len(sizes)}"
            )
        firsts = [sum(sizes[:i]) for i in range(len(sizes))]
        groups = [
            {**each, "params": list(range(first, first + size))}
            for each, first, size in zip(hypers, firsts, sizes, strict=True)
        ]
        return {"state": {i: s for i, s in enumerate(state) if s}, "param_groups": groups}


def _dicts(owner: str, saved: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The list of dicts that a checkpoint in fastai's format holds under a name."""
    found = saved.get(name)
    if isinstance(found, Sequence):
        members = list(cast("Sequence[Any]", found))
        if all(isinstance(each, Mapping) for each in members):
            return members
    raise ValueError(
        f"{owner}: a checkpoint of fastai holds lists of dicts as 'hypers' and 'state', "
        f"got {found!r} as {name!r}"
    )
