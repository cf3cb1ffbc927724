"""Optimizers as classes: opt_step and reg_step, step_param, update_parameter, or an own step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ...chain import REQUIRED
from ..base import PerParameter
from .arguments import Asked, Procedure, arguments, snake, unwritten
from .derived import arguments_of
from .rebinding import Rebinder
from .stepping import stepping_of
from .worlds import Group, States, World, is_hyper, members

METHODS = ("step_param", "update_parameter", "step")


def built_of(cls: type, options: Mapping[str, Any]) -> Any:
    """An optimizer of that class around one number; hypers that have no default are 1."""
    required = {a.name for a in inspect.signature(cls).parameters.values() if a.default is a.empty}
    given = {n: v for n, v in arguments_of(cls, options).items() if n in required | {*options}}
    return cls([torch.nn.Parameter(torch.zeros(1))], **given)


def methods_of(
    built: Any, what: Any, method: str | None, asked: Asked, options: Mapping[str, Any]
) -> list[Procedure]:
    """The procedures of an optimizer's methods: `what` is it, or the class that it was built of."""
    own = type(built)
    found = [method] if method else [m for m in ("reg_step", "opt_step") if hasattr(built, m)]
    if "opt_step" not in found and not method:
        found = [m for m in METHODS if hasattr(built, m)][:1]
    for each in found:
        if not callable(getattr(built, each, None)):
            raise TypeError(f"lift: {own.__name__} has no method {each!r}")
    if not found:
        raise TypeError(
            f"lift: {own.__name__} has none of opt_step, {', '.join(METHODS)}; name one: method=…"
        )
    class_ = _Class(built, what, options, asked)
    if found != ["step"] and not method:
        found = class_.ordered(found)
    return [class_.procedure(each) for each in found]


class _Class:
    """An optimizer whose methods are lifted: its group, its numbers, what its step counts."""

    def __init__(self, built: Any, what: Any, options: Mapping[str, Any], asked: Asked) -> None:
        self.built, self.group = built, group_of(built)
        self.all = _numbers(built)
        self.numbers = {n: v for n, v in self.all.items() if n not in asked.constants}
        self.required: set[str] = set()
        self.counters: dict[str, int] = {}
        self.inits = hasattr(built, "init_state")
        self.fresh = isinstance(what, type)
        if self.fresh:
            listed = list(inspect.signature(what).parameters.values())[1:]
            self.required = {a.name for a in listed if a.default is a.empty} - options.keys()
            self._check_given(what, arguments_of(what, options))

    def _check_given(self, cls: type, given: Mapping[str, Any]) -> None:
        """Raise for a hyper that the class holds as something else than it was given."""
        for name, value in given.items():
            held = self.all.get(name, value)
            if is_hyper(value) and held != value:
                raise TypeError(
                    f"lift: {cls.__name__} is given {name}={value} and holds {held} as {name}; "
                    "keep what it computes under another name, or compute it in the step"
                )

    def ordered(self, found: list[str]) -> list[str]:
        """The methods in the order of the class's step; it counts what its step counts."""
        stepping = stepping_of(self.built, found, lambda copied, world: self.furnish(copied, world))
        if stepping is None:
            return found
        for name, first in stepping.counters.items():
            if not self.fresh and vars(self.built)[name] > 1 and name != "i":
                raise TypeError(
                    f"lift: {type(self.built).__name__} has counted {vars(self.built)[name]} "
                    f"steps as {name}; lift the class, or an optimizer that has taken no step"
                )
            start = first - vars(self.built)[name] if name == "i" and not self.fresh else first
            self.counters[name] = start - 1
        if not isinstance(self.built, PerParameter):
            self.inits = "init_state" in stepping.calls
        return [name for name in stepping.calls if name != "init_state"]

    def furnish(self, copied: Any, world: World, constants: frozenset[str] = frozenset()) -> Group:
        """The copy's attributes: numbers as hypers, one group with p, state by parameter."""
        built = self.built
        for name in self.numbers:
            if is_hyper(_plain(vars(built).get(name))):
                copied.__dict__[name] = world.hyper(name)
        for name, offset in self.counters.items():
            copied.__dict__[name] = world.counter(offset)
        group = world.group({n: v for n, v in self.group.items() if n not in constants})
        for name in constants & self.group.keys():
            group.put(name, self.group[name])
        worlds = [*world.others, world]
        if hasattr(built, "param_groups"):
            group.put("params", [each.p for each in worlds])
            copied.__dict__["param_groups"] = [group]
            copied.__dict__["state"] = States(worlds)
            copied.__dict__["defaults"] = group
        elif "params" in vars(built):
            copied.__dict__["params"] = [each.p for each in worlds]
        return group

    def procedure(self, method: str) -> Procedure:
        """What runs one of the methods."""
        built = self.built
        parameters = list(inspect.signature(getattr(built, method)).parameters.values())
        numbers = self.numbers | {a.name: a.default for a in parameters if is_hyper(a.default)}
        hypers = {**{a.name: REQUIRED for a in parameters}, **self.all, **numbers}
        hypers |= {name: REQUIRED for name in self.required if name in hypers}

        def start(rebind: Rebinder, asked: Asked) -> Callable[[World], None]:
            def run(world: World) -> None:
                copied = rebind.instance(built)
                bound = {"group": self.furnish(copied, world, asked.constants)}
                if method == "step_param" and world.first and self.inits:
                    with world.state.keeping():
                        _call(copied.init_state, world, bound, {}, asked)
                with unwritten(world, rebind, copied):
                    _call(getattr(copied, method), world, bound, numbers, asked)
                if hasattr(built, "param_groups"):
                    copied.__dict__["state"].check()

            return run

        name = f"{snake(type(built).__name__)}_{method}"
        loops = hasattr(built, "param_groups")
        return Procedure(
            name, start, numbers, type(built).__module__, hypers, loops=loops,
            signed=frozenset(a.name for a in parameters),
        )  # fmt: skip


def _call(
    fn: Any,
    world: World,
    bound: Mapping[str, Any],
    numbers: Mapping[str, float],
    asked: Asked,
) -> Any:
    parameters = inspect.signature(fn).parameters.values()
    args, kwargs = arguments(
        world, parameters, numbers, bound, asked, fn.__name__ in ("opt_step", "reg_step")
    )
    return fn(*args, **kwargs)


def group_of(built: Any) -> dict[str, Any]:
    """The first group of an optimizer; TypeError where the others would take other code."""
    groups = getattr(built, "param_groups", None)
    plain = [
        {n: _plain(v) for n, v in group.items() if n not in ("params", "param_names", "name")}
        for group in (groups if isinstance(groups, list) else [])
        if isinstance(group, dict)
    ]
    first = plain[0] if plain else {}
    for name, value in first.items():
        fixed = isinstance(value, bool | str | None)
        if fixed and any(group.get(name) != value for group in plain[1:]):
            raise TypeError(
                f"lift: the groups of {type(built).__name__} differ in {name}, which chooses what "
                "is run; lift an optimizer of each kind"
            )
    return first


def _plain(value: Any) -> Any:
    """A hyper that is a tensor of one number, as that number."""
    return value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value


def differing(built: Any) -> set[str]:
    """The names of which the groups of an optimizer have different values."""
    groups = getattr(built, "param_groups", [])
    plain = [{n: _plain(v) for n, v in group.items() if n != "params"} for group in groups]
    return {n for group in plain for n, v in group.items()
            if any(other.get(n) != v for other in plain)}  # fmt: skip


def _numbers(built: Any) -> dict[str, Any]:
    """The hypers of an optimizer: numbers of its group, and attributes that its arguments set."""
    found: dict[str, Any] = {}
    for name, value in group_of(built).items():
        if isinstance(value, tuple | list) and value and all(map(is_hyper, value)):
            found |= dict(zip(members(name, len(value)), value, strict=True))
        elif isinstance(value, int | float) and is_hyper(value):
            found[name] = value
    arguments = {n for cls in type(built).__mro__ if cls.__init__ is not object.__init__
                 for n in inspect.signature(cls.__init__).parameters}  # fmt: skip
    for name, held in vars(built).items():
        value = _plain(held)
        if name in arguments and is_hyper(value):
            found.setdefault(name, value)
    return found | dict.fromkeys(found.keys() & differing(built), REQUIRED)
