"""The base of the styles: a torch optimizer that runs a procedure parameter by parameter."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, TypeAlias, cast

import torch
from torch import Tensor
from torch.optim.optimizer import required

from .. import names
from ..shell.work import no_autocast, refuse_sparse
from ..spread import spread
from .groups import (
    ALIASES,
    Group,
    GroupHypers,
    as_groups,
    check_key,
    check_value,
    hypers_of,
    listed,
    replace_params,
    set_hypers,
)

__all__ = ["PerParameter", "hypers_of"]

State: TypeAlias = dict[str, Any]
# What torch itself puts into an optimizer's attributes; the rest is the subclass's and is pickled.
_TORCHS = ("_optimizer_", "_zero_grad_profile", "_warned_capturable", "_opt_called")
_RUN_TIME = ("step", "defaults", "state", "param_groups", "grad_scale", "found_inf")


class PerParameter(torch.optim.Optimizer, ABC):
    """A torch optimizer whose step is plain Python: a procedure for one parameter after another.

    `steppers.Optimizer` is the library's shell around rules. A style keeps whatever it likes in a
    parameter's state and changes the parameter in place, which no chain of rules can express, so
    this is the second direct subclass of torch's optimizer.

    `params`: tensors; lists, tuples or generators of tensors, one group each; dicts; one tensor.
    `defaults`: the hyper-parameters; a list or a slice gives one value a group (see `spread`).
    `known`: names of further hyper-parameters that the procedure reads; None where any may be.
    `strict`: a hyper-parameter that is in neither, or that no optimizer has, is a TypeError, and a
    value out of its range a ValueError; False takes everything in silence.

    Groups are dicts, written and read by torch's tools; where they hold `mom` and `wd`, these are
    found as `momentum` and `weight_decay` too, so that OneCycleLR cycles them.

    A subclass states `update_parameter`:

    >>> class Descent(PerParameter):
    ...     def update_parameter(self, p, state, group):
    ...         p.sub_(group["lr"] * p.grad)
    >>> w = torch.ones(2, requires_grad=True)
    >>> optimizer = Descent([w], dict(lr=0.5))
    >>> w.sum().backward(); optimizer.step(); w.tolist()
    [0.5, 0.5]
    """

    ranges: ClassVar[Mapping[str, str]] = {}
    """Of hyper-parameters of the subclass's own: "> 0", "in [0, 1)"."""

    def __init__(
        self,
        params: Any,
        defaults: Mapping[str, Any],
        *,
        strict: bool = True,
        known: Iterable[str] | None = (),
    ) -> None:
        owner = type(self).__name__
        groups = as_groups(owner, params)
        self.strict = strict
        self._known = None if known is None else frozenset(defaults) | frozenset(known)
        shared = _shared_out(owner, groups, defaults)
        if strict:
            for name, value in shared.items():
                check_value(owner, name, value, ranges=self._ranges)
        super().__init__(groups, Group(shared))

    @property
    def _ranges(self) -> Mapping[str, str]:
        return {**names.RANGES, **self.ranges}

    # --- what a style states --------------------------------------------------------------------

    @abstractmethod
    def update_parameter(self, p: Tensor, state: State, group: dict[str, Any]) -> None:
        """Move one parameter that has a gradient, under no_grad; `state` is its own dict.

        `group` is the group itself; `hypers_of(group)` are its hyper-parameters.
        """

    def after_step(self) -> None:
        """Called once in each step, when all parameters are done."""

    # --- groups and hyper-parameters ------------------------------------------------------------

    # torch declares an attribute; a property gives groups that are assigned what they lack
    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The groups, each a dict with `params` and its hyper-parameters.

        Assigned groups are taken over with their parameters. What they lack comes from the present
        group at that place, else from the defaults.
        """
        return vars(self)["param_groups"]

    @param_groups.setter
    def param_groups(  # pyright: ignore[reportIncompatibleVariableOverride]  # see above
        self, groups: list[dict[str, Any]]
    ) -> None:
        if type(groups) is not list or not all(isinstance(group, Group) for group in groups):
            present: list[Group] = vars(self)["param_groups"]
            groups = [
                group if isinstance(group, Group) else self._completed(group, present[i : i + 1])
                for i, group in enumerate(groups)
            ]
        vars(self)["param_groups"] = groups

    def _completed(self, given: Mapping[str, Any], present: Sequence[Group]) -> Group:
        if not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # input
            raise TypeError(f"{type(self).__name__}: a parameter group is a dict, got {given!r}")
        self._check_group(given)
        group = Group(present[0] if present else self._defaults())
        group.update(given)
        if "params" not in group:
            raise ValueError(f"{type(self).__name__}: a new parameter group lacks 'params'")
        params = group["params"]
        group["params"] = [params] if isinstance(params, Tensor) else list(params)
        return group

    def _defaults(self) -> dict[str, Any]:
        return {name: value for name, value in self.defaults.items() if value is not required}

    def _check_group(self, given: Mapping[str, Any]) -> None:
        for name, value in given.items() if self.strict else ():
            if self._known is not None:
                check_key(type(self).__name__, name, self._known)
            check_value(type(self).__name__, name, value, ranges=self._ranges)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with their own hyper-parameters; what they lack comes from the defaults.

        Keys that no optimizer knows are kept, unless they are nearly a known one: TypeError.
        """
        if not isinstance(param_group, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"param_group must be a dict, got {type(param_group).__name__}")
        self._check_group(param_group)
        group = Group(self._defaults())
        group.update(param_group)
        super().add_param_group(group)

    @property
    def hypers(self) -> list[GroupHypers]:
        """One mapping of hyper-parameters for each group, without `params`; writes the group."""
        owner = type(self).__name__
        known, strict, ranges = self._known, self.strict, self._ranges
        return [GroupHypers(owner, g, known, strict, ranges) for g in self.param_groups]

    @property
    def param_lists(self) -> list[list[Tensor]]:
        """The parameters of each group, in the groups' own lists."""
        return [group["params"] for group in self.param_groups]

    @param_lists.setter
    def param_lists(self, lists: Iterable[Iterable[Tensor]]) -> None:
        replace_params(self, lists)

    def set_hyper(self, name: str, value: Any) -> None:
        """Set a hyper-parameter in all groups: one value, one a group, or a slice (see `spread`).

        Raises TypeError for an unknown name, ValueError for a wrong count or a value out of range;
        then no group has changed.
        """
        set_hypers(type(self).__name__, self.hypers, {name: value})

    def set_hypers(self, **values: Any) -> None:
        """`set_hyper` for each; if one is wrong, none is set."""
        set_hypers(type(self).__name__, self.hypers, values)

    # --- a step ---------------------------------------------------------------------------------

    # torch.compiler.disable would import dynamo with this module, which takes a second
    @torch._disable_dynamo  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Run the procedure on each parameter that has a gradient; returns the closure's loss.

        Raises RuntimeError for sparse gradients, before anything moves.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        owner = type(self).__name__
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    refuse_sparse(owner, p.grad)
        with torch.no_grad(), no_autocast():
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        self.update_parameter(p, self.state[p], group)
            self.after_step()
        return loss

    # --- checkpoints and copies -----------------------------------------------------------------

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load torch's format. State is copied and keeps its own dtype; it goes to p's device.

        Hyper-parameters that the checkpoint lacks stay as they are. Raises ValueError for other
        numbers of groups or parameters, before anything changes.
        """
        if not isinstance(state_dict, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
            kind = type(state_dict).__name__
            raise TypeError(f"{type(self).__name__}: a state dict must be a dict, got {kind}")
        handle = self.register_load_state_dict_pre_hook(_prepare)  # after the user's
        try:
            super().load_state_dict(state_dict)
        finally:
            handle.remove()

    def __getstate__(self) -> dict[str, Any]:
        own = {
            name: value
            for name, value in vars(self).items()
            if not name.startswith(_TORCHS) and name not in _RUN_TIME
        }
        return {**own, **super().__getstate__()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        groups = [g if isinstance(g, Group) else Group(g) for g in state["param_groups"]]
        kept = state["state"]
        for p, value in kept.items():
            if isinstance(value, _Kept):
                kept[p] = value.copy_for(p)
        super().__setstate__({**state, "param_groups": groups})


class _Kept:
    """A parameter's saved state, which torch's load leaves alone: it would cast and alias it."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self.state = state

    def copy_for(self, p: Tensor) -> State:
        return {name: _copied(name, value, p) for name, value in self.state.items()}


def _copied(name: str, value: Any, p: Tensor) -> Any:
    """A copy of what a checkpoint holds, on the parameter's device; a step count stays put."""
    if isinstance(value, Tensor):
        return value.detach().to(value.device if name == "step" else p.device, copy=True)
    if isinstance(value, dict):
        return {k: _copied(k, v, p) for k, v in cast("dict[str, Any]", value).items()}
    if type(value) in (list, tuple):
        return type(value)(_copied("", v, p) for v in value)
    return copy.deepcopy(value)


def _prepare(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> dict[str, Any]:
    """A state dict whose groups have all keys, under the present names, and whose state is kept."""
    if not {"state", "param_groups"} <= saved.keys():
        raise ValueError(
            f"{type(optimizer).__name__}: a state dict holds 'state' and 'param_groups', got one "
            f"that holds {', '.join(map(repr, saved)) or 'nothing'}"
        )
    present, groups = optimizer.param_groups, saved["param_groups"]
    if len(present) == len(groups):  # else torch says so
        groups = [_filled(group, source) for group, source in zip(present, groups, strict=True)]
    ids = {i for group in groups for i in group["params"]}
    state = {
        i: _Kept(value) if i in ids and isinstance(value, Mapping) else value
        for i, value in saved["state"].items()
    }
    return {**saved, "state": state, "param_groups": groups}


def _filled(group: dict[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    filled = Group({k: v for k, v in group.items() if k != "params"})
    filled.update(source)
    return filled


def _shared_out(
    owner: str, groups: list[dict[str, Any]], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """The defaults as single values; lists and slices go to the groups, one value each."""
    shared: dict[str, Any] = {}
    for name, given in defaults.items():
        value = listed(given)
        several = isinstance(value, Sequence | slice) or getattr(value, "ndim", 0) == 1
        pair = isinstance(value, tuple) and name in names.TUPLES
        if not several or pair or isinstance(value, str | bytes):
            shared[name] = value
            continue
        values = spread(value, len(groups), f"{owner}: {name}")
        shared[name] = values[-1]  # what groups that are added later get
        for group, each in zip(groups, values, strict=True):
            if not any(ALIASES.get(key) == name for key in group):
                group.setdefault(name, each)
    return shared
