"""Optimizers as classes: opt_step and reg_step, step_param, update_parameter, or an own step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from ...chain import REQUIRED
from .arguments import Asked, Procedure, arguments, snake, unwritten
from .rebinding import Rebinder
from .worlds import World, is_hyper, members

METHODS = ("step_param", "update_parameter", "step")


def built_of(cls: type, options: Mapping[str, Any]) -> Any:
    """An optimizer of that class around one number; hypers that have no default are 1."""
    given: dict[str, Any] = {}
    for arg in list(inspect.signature(cls).parameters.values())[1:]:
        if arg.default is arg.empty and arg.kind not in (arg.VAR_POSITIONAL, arg.VAR_KEYWORD):
            given[arg.name] = 1.0
    return cls([torch.nn.Parameter(torch.zeros(1))], **{**given, **options})


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
    required = _required(what, options)
    return [_method(built, each, asked, required) for each in found]


def _required(what: Any, options: Mapping[str, Any]) -> set[str]:
    """Hypers of a class that were not given: they have no default in the rule either."""
    if not isinstance(what, type):
        return set()
    arguments = list(inspect.signature(what).parameters.values())[1:]
    return {a.name for a in arguments if a.default is a.empty and a.name not in options}


def _method(built: Any, method: str, asked: Asked, required: set[str]) -> Procedure:
    numbers = _numbers(built, asked)
    group = group_of(built)
    parameters = list(inspect.signature(getattr(built, method)).parameters.values())
    numbers |= {a.name: a.default for a in parameters if is_hyper(a.default)}
    hypers = {**{a.name: REQUIRED for a in parameters}, **numbers}
    hypers |= {name: REQUIRED for name in required if name in hypers}

    def start(rebind: Rebinder, asked: Asked) -> Callable[[World], None]:
        def run(world: World) -> None:
            copied = rebind.instance(built)
            mine = world.group({n: v for n, v in group.items() if n not in asked.constants})
            for name in asked.constants & group.keys():
                mine.put(name, group[name])  # pyright: ignore[reportAttributeAccessIssue]
            _furnish(copied, world, mine, numbers, built)
            bound = {"group": mine}
            if method == "step_param" and world.first and hasattr(copied, "init_state"):
                with world.state.keeping():
                    _call(copied.init_state, world, bound, {}, asked)
            with unwritten(world, copied):
                _call(getattr(copied, method), world, bound, numbers, asked)

        return run

    name = f"{snake(type(built).__name__)}_{method}"
    return Procedure(name, start, numbers, type(built).__module__, hypers)


def _call(
    fn: Any,
    world: World,
    bound: Mapping[str, Any],
    numbers: Mapping[str, float],
    asked: Asked,
) -> Any:
    parameters = inspect.signature(fn).parameters.values()
    args, kwargs = arguments(world, parameters, numbers, bound, asked)
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


def _numbers(built: Any, asked: Asked) -> dict[str, float]:
    """The hypers of an optimizer: numbers of its group, and attributes that its arguments set."""
    found: dict[str, float] = {}
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
    return {n: v for n, v in found.items() if n not in asked.constants}


def _furnish(
    copied: Any, world: World, group: Any, numbers: Mapping[str, float], built: Any
) -> None:
    """The copy's attributes: numbers as hypers, one group with p, state by parameter."""
    for name in numbers:
        if is_hyper(_plain(vars(built).get(name))):
            copied.__dict__[name] = world.hyper(name)
    if "i" in vars(built) and is_hyper(vars(built)["i"]):  # miniai's count of steps
        copied.__dict__["i"] = world.counter(-1)
    if hasattr(built, "param_groups"):
        group.put("params", [world.p])
        copied.__dict__["param_groups"] = [group]
        copied.__dict__["state"] = {world.p: world.state}
        copied.__dict__["defaults"] = group
    elif "params" in vars(built):
        copied.__dict__["params"] = [world.p]
