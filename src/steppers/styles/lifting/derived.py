"""What a class computes from its arguments when it is made, and a live hyper would not follow."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from .worlds import is_hyper, members

Rules = tuple[Callable[..., Any], ...]


def arguments_of(cls: type, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a class is made with: hypers that were not given and have no default are 1."""
    listed = list(inspect.signature(cls).parameters.values())[1:]
    plain = [a for a in listed if a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)]
    return {a.name: 1.0 if a.default is a.empty else a.default for a in plain} | dict(options)


def refuse_derived(
    cls: type,
    options: Mapping[str, Any],
    rules: Rules,
    again: Callable[[Mapping[str, Any]], Rules],
) -> None:
    """Raise if a rule holds a number that was computed from one of its own hypers.

    The class is lifted again with other values of its hypers: the rules must be the same.
    """
    for by in (1, 3):
        _refuse_moved(cls, options, rules, again, by)


def _refuse_moved(
    cls: type,
    options: Mapping[str, Any],
    rules: Rules,
    again: Callable[[Mapping[str, Any]], Rules],
    by: int,
) -> None:
    live = {name for rule in rules for name in inspect.signature(rule).parameters}
    given = arguments_of(cls, options)
    moved = {name: _moved(value, by) for name, value in given.items()
             if _names(name, value) & live or _is_missing(cls, name, options)}  # fmt: skip
    moved = {name: value for name, value in moved.items() if value != given[name]}
    own = frozenset[str]().union(*(_names(name, value) for name, value in moved.items()))
    if not moved or _same(rules, again, {**options, **moved}, own):
        return
    for name, value in moved.items():
        if not _same(rules, again, {**options, name: value}, own):
            raise TypeError(
                f"lift: {cls.__name__} computes something from {name} when it is made, and the "
                f"rule would not follow {name}; compute it in the step, or give {name}=… and "
                f"constants=({name!r},) to lift"
            )


def _is_missing(cls: type, name: str, options: Mapping[str, Any]) -> bool:
    arg = inspect.signature(cls).parameters.get(name)
    return arg is not None and arg.default is arg.empty and name not in options


def _names(name: str, value: Any) -> set[str]:
    """The hypers that an argument gives."""
    if isinstance(value, tuple | list) and value and all(map(is_hyper, value)):
        return set(members(name, len(value)))
    return {name} if is_hyper(value) else set()


def _moved(value: Any, by: int) -> Any:
    """Another value within the same range."""
    if isinstance(value, tuple | list):
        return type(value)(_moved(v, by) for v in value) if all(map(is_hyper, value)) else value
    if not is_hyper(value):
        return value
    return value + by if isinstance(value, int) else value * (1 - by / 32)


def _same(
    rules: Rules,
    again: Callable[[Mapping[str, Any]], Rules],
    options: Mapping[str, Any],
    own: frozenset[str],
) -> bool:
    """True if the class gives these rules with other options, but for the defaults of `own`."""
    try:
        others = again(options)
    except ValueError:  # the class does not take these values: nothing is known of them
        return True
    return [_fixed(rule, own) for rule in rules] == [_fixed(rule, own) for rule in others]


def _fixed(rule: Any, own: frozenset[str]) -> tuple[str, dict[str, Any]]:
    """What a rule does, and the defaults that are not those of the names `own`."""
    arguments = inspect.signature(rule).parameters
    defaults = {name: arg.default for name, arg in arguments.items() if name not in own}
    return inspect.getsource(rule).split('"""')[2], defaults
