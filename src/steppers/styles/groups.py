"""Parameter groups of the styles: from any form that people give them in, under short names too."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, cast

import torch
from torch import Tensor

from .. import names

# What a group holds beside its hyper-parameters: torch's own keys, and its schedulers' notes.
NOTES = frozenset({
    "params", "param_names", "name", "initial_lr", "max_lr", "min_lr", "swa_lr",
    "max_momentum", "base_momentum", "lr_scale", "differentiable",
})  # fmt: skip
ALIASES = {"momentum": "mom", "weight_decay": "wd"}


class Group(dict[str, Any]):
    """A parameter group whose `mom` and `wd` torch's tools find as `momentum` and `weight_decay`.

    A group that holds the long names itself is a plain dict. The keys stay the short ones.

    >>> group = Group(mom=0.9)
    >>> group["momentum"] = 0.8
    >>> group, "momentum" in group
    ({'mom': 0.8}, True)
    """

    def _key(self, key: str) -> str:
        short = ALIASES.get(key, key)
        named = dict.__contains__(self, short) and not dict.__contains__(self, key)
        return short if named else key

    def __getitem__(self, key: str) -> Any:
        return super().__getitem__(self._key(key))

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(self._key(key), value)

    def __contains__(self, key: object) -> bool:
        return super().__contains__(self._key(cast("str", key)))

    def get(self, key: str, default: Any = None) -> Any:
        return super().get(self._key(key), default)

    def setdefault(self, key: str, default: Any = None) -> Any:
        return super().setdefault(self._key(key), default)

    def update(self, *args: Any, **values: Any) -> None:
        for key, value in dict(*args, **values).items():
            self[key] = value


class GroupHypers(MutableMapping[str, Any]):
    """The hyper-parameters of one group: reads and writes the group itself.

    With `known` an unknown name is an error, and so is a value out of its hyper's range.
    """

    def __init__(self, owner: str, group: dict[str, Any], known: frozenset[str] | None) -> None:
        self._owner, self._group, self._known = owner, group, known

    def __getitem__(self, name: str) -> Any:
        if name in NOTES:
            raise KeyError(name)
        return self._group[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self.check(name, value)
        self._group[name] = value

    def check(self, name: str, value: object) -> None:
        """Raise TypeError for a name that the optimizer does not know, ValueError for a value."""
        if name in NOTES:
            raise TypeError(f"{self._owner}: {name} is no hyper-parameter; write to param_groups")
        if self._known is not None and name not in self._group:
            check_name(self._owner, name, self._known | set(self))
        if self._known is not None:
            check_value(self._owner, name, value)

    def __delitem__(self, name: str) -> None:
        del self._group[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._group if name not in NOTES)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))


def hypers_of(group: Mapping[str, Any]) -> dict[str, Any]:
    """A group's hyper-parameters as a new dict: what a procedure is called with.

    >>> hypers_of({"params": [], "lr": 0.1, "initial_lr": 0.1})
    {'lr': 0.1}
    """
    return {name: value for name, value in group.items() if name not in NOTES}


def check_name(owner: str, name: str, known: Iterable[str]) -> None:
    """Raise TypeError for a hyper-parameter that the optimizer does not know, with the nearest."""
    found = set(known)
    if name not in found:
        near = difflib.get_close_matches(name, found, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(sorted(found))}"
        raise TypeError(
            f"{owner} has no hyper-parameter {name!r}; {hint} (strict=False takes any name)"
        )


def check_key(owner: str, name: str, known: frozenset[str]) -> None:
    """Raise TypeError for a group's key that is nearly a known name; others are the user's own."""
    near = difflib.get_close_matches(name, known, 1, 0.85)
    if name not in known and near and ALIASES.get(name) not in known:
        raise TypeError(f"{owner}: a group has {name!r}; did you mean {near[0]!r}?")


def check_value(owner: str, name: str, value: object) -> None:
    """Raise ValueError for a number out of its hyper-parameter's range, TypeError for a text."""
    long = next(iter(names.SHORT.get(name, (name,))))
    if long not in names.RANGES or not isinstance(value, float | int | str):
        return
    try:
        names.check_value(owner, long, (long, None), value)
    except ValueError:
        wanted = names.RANGES[long]
        raise ValueError(f"{owner}: {name} must be {wanted}, got {value!r}") from None
    except TypeError:
        raise TypeError(f"{owner}: {name} must be a number, got {value!r}") from None


def as_groups(owner: str, params: Any) -> list[dict[str, Any]]:
    """Parameters in any form as torch's list of groups; the caller's dicts stay as they are.

    One tensor, or tensors: one group. Lists, tuples, generators of tensors: one group each. Dicts
    with "params": torch's groups. Tensors may come as (name, tensor).
    """
    if isinstance(params, Tensor):
        return [{"params": [params]}]
    if isinstance(params, torch.nn.Module):
        raise TypeError(f"{owner}: params must be parameters: pass model.parameters()")
    if isinstance(params, Mapping | set | frozenset | str) or not isinstance(params, Iterable):
        raise TypeError(
            f"{owner}: params must be tensors, lists of tensors, or a list of dicts with 'params', "
            f"got {type(params).__name__}"
        )
    items: list[Any] = list(cast("Iterable[Any]", params))
    if not items:
        raise ValueError(f"{owner}: got an empty parameter list")
    kinds = [_kind(owner, i, item) for i, item in enumerate(items)]
    if len(set(kinds)) > 1:
        raise TypeError(
            f"{owner}: params must be all tensors, all lists or all dicts, but element 0 is a "
            f"{kinds[0]} and another is a {next(k for k in kinds if k != kinds[0])}"
        )
    if kinds and kinds[0] == "dict":
        return [dict(item) for item in items]
    return (
        [{"params": list(item)} for item in items]
        if kinds and kinds[0] == "list"
        else ([{"params": items}])
    )


def _kind(owner: str, place: int, item: Any) -> str:
    if isinstance(item, Tensor) or (
        isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)
    ):
        return "tensor"
    if isinstance(item, Mapping):
        return "dict"
    if isinstance(item, Iterable) and not isinstance(item, str | set | frozenset):
        return "list"
    raise TypeError(
        f"{owner}: params must be tensors, lists of tensors or dicts, but element {place} is a "
        f"{type(item).__name__}: {item!r}"
    )
