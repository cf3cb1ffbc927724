"""Parameter groups of the styles: from any form that people give them in, under short names too."""

from __future__ import annotations

import difflib
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.optimizer import required

from .. import names
from ..spread import spread

# What a group holds beside its hyper-parameters: torch's own keys, and its schedulers' notes.
NOTES = frozenset({
    "params", "param_names", "name", "initial_lr", "max_lr", "min_lr", "swa_lr",
    "max_momentum", "base_momentum", "lr_scale", "differentiable",
})  # fmt: skip
ALIASES = {"momentum": "mom", "weight_decay": "wd"}
_MEANINGS = {"nu_2": "nu2"}  # names of fastai's that go by the range of ours


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


class HypersView(MutableMapping[str, Any]):
    """Hyper-parameters of one group as a mapping that reads and writes the group itself.

    `copy()` and `|` give plain dicts, and so do copies and pickles of it.
    """

    @abstractmethod
    def check(self, name: str, value: object) -> None:
        """Raise for a name that the group cannot have, or for a value out of its range."""

    def copy(self) -> dict[str, Any]:
        """The hyper-parameters as a dict of their own."""
        return dict(self)

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (dict(self),)

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self, **other}

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**other, **self}

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return repr(dict(self))


class GroupHypers(HypersView):
    """The hyper-parameters of one group under the group's own names.

    If `strict`, a value out of its hyper's range is an error, and with `known` an unknown name.
    """

    def __init__(
        self,
        owner: str,
        group: dict[str, Any],
        known: frozenset[str] | None,
        strict: bool = True,
        ranges: Mapping[str, str] = names.RANGES,
    ) -> None:
        self._owner, self._group, self._known, self._strict = owner, group, known, strict
        self._ranges = ranges

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
        if not self._strict:
            return
        if self._known is not None and name not in self._group:
            check_name(self._owner, name, self._known | set(self))
        present = self._group.get(name)
        single = isinstance(present, int | float)
        check_value(self._owner, name, value, ranges=self._ranges, single=single)
        if isinstance(present, tuple) and name in names.TUPLES:
            places = names.places(names.TUPLES[name][: len(present)], {name: present})
            names.check(self._owner, {name: value}, places)

    def __delitem__(self, name: str) -> None:
        del self._group[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._group if name not in NOTES)


def set_hypers(owner: str, views: Sequence[HypersView], values: Mapping[str, Any]) -> None:
    """Set hyper-parameters in all groups: each one value, one a group, or a slice (see `spread`).

    Everything is checked before any group changes. A tuple is one value for a hyper that is one.
    """
    shared: dict[str, list[object]] = {}
    for name, given in values.items():
        value = listed(given)
        single = isinstance(value, tuple) and isinstance(views[0].get(name), tuple)
        shared[name] = spread([value] if single else value, len(views), f"{owner}: {name}")
        for view, each in zip(views, shared[name], strict=True):
            view.check(name, each)
    for name, each_value in shared.items():
        for view, value in zip(views, each_value, strict=True):
            view[name] = value


def listed(value: object) -> Any:
    """An iterator's values as a list, which can be counted; anything else as it is."""
    return list(cast("Iterator[object]", value)) if isinstance(value, Iterator) else value


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
    possible = known | NOTES | {long for long, short in ALIASES.items() if short in known}
    near = difflib.get_close_matches(name, possible, 1, 0.85)
    if near and name not in possible:
        raise TypeError(f"{owner}: a group has {name!r}; did you mean {near[0]!r}?")


def check_value(
    owner: str,
    name: str,
    value: object,
    meaning: str | None = None,
    ranges: Mapping[str, str] = names.RANGES,
    single: bool = False,
) -> None:
    """Raise ValueError for a number out of its hyper-parameter's range, TypeError for no number.

    Names without a range may hold anything, and torch's pairs (eps, betas) are not looked into,
    unless the hyper-parameter is known to be a `single` number. `meaning` is the name that the
    range goes by, where that is another.
    """
    long = meaning or _MEANINGS.get(name) or next(iter(names.SHORT.get(name, (name,))))
    pair = isinstance(value, tuple | list) and long in names.TUPLES
    if long not in ranges or value is required or (pair and not single):
        return
    if single and value is None:
        raise TypeError(f"{owner}: {name} must be a number, got None")
    try:
        names.check(owner, {long: names.plain(value)}, {long: (long, None)}, ranges)
    except ValueError:
        wanted = ranges[long]
        raise ValueError(f"{owner}: {name} must be {wanted}, got {value!r}") from None
    except TypeError:
        raise TypeError(f"{owner}: {name} must be a number, got {value!r}") from None


def replace_params(opt: torch.optim.Optimizer, lists: Iterable[Iterable[Tensor]]) -> None:
    """Give each group other parameters; the state of those that have left is dropped.

    Raises ValueError for another number of lists.
    """
    found, groups = [list(params) for params in lists], opt.param_groups
    if len(found) != len(groups):
        owner = type(opt).__name__
        raise ValueError(f"{owner}: got {len(found)} lists of parameters for {len(groups)} groups")
    for group, params in zip(groups, found, strict=True):
        group["params"] = params
    held = {p for params in found for p in params}
    for p in set(opt.state) - held:
        del opt.state[p]


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
    if kinds[0] == "dict":
        return [dict(item) for item in items]
    if kinds[0] == "list":
        return [{"params": list(item)} for item in items]
    return [{"params": items}]


def _kind(owner: str, place: int, item: Any) -> str:
    if isinstance(item, Tensor) or (
        isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)
    ):
        return "tensor"
    if isinstance(item, Mapping):
        return "dict"
    if isinstance(item, torch.nn.Module) and not isinstance(item, torch.nn.ParameterList):
        kind = type(item).__name__
        raise TypeError(f"{owner}: element {place} of params is a {kind}: pass its .parameters()")
    if isinstance(item, Iterable) and not isinstance(item, str | set | frozenset):
        return "list"
    raise TypeError(
        f"{owner}: params must be tensors, lists of tensors or dicts, but element {place} is a "
        f"{type(item).__name__}: {item!r}"
    )
