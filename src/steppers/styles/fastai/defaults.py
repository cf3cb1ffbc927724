"""The hyper-parameters that callbacks bring along, and the names that they read."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from ..groups import NOTES, check_name


def listed(callbacks: Any, owner: str) -> list[Callable[..., Any]]:
    """One function, or several in any order-keeping collection, as a list."""
    if callable(callbacks):
        return [callbacks]
    if isinstance(callbacks, Mapping | set | frozenset) or not isinstance(callbacks, Iterable):
        raise TypeError(f"{owner}: wants a function or a list of functions, got {callbacks!r}")
    found = list(cast("Iterable[Any]", callbacks))
    for each in found:
        if not callable(each):
            raise TypeError(f"{owner}: wants functions, got {each!r} ({type(each).__name__})")
    return found


def brought_by(callback: Any) -> dict[str, Any]:
    """The hypers of one callback's `defaults`, or `_defaults`; a partial's with what it binds.

    >>> from .callbacks import adam_step
    >>> brought_by(functools.partial(adam_step, eps=1e-3))
    {'eps': 0.001}
    """
    if isinstance(callback, functools.partial):
        inner = brought_by(callback.func)
        bound = {n: v for n, v in callback.keywords.items() if n in inner}
        return {**inner, **bound, **_stated(callback)}
    return _stated(callback)


def _stated(callback: Any) -> dict[str, Any]:
    """What a callback says itself; the first drafts' attribute has no underscore."""
    found = getattr(callback, "defaults", None) or getattr(callback, "_defaults", None) or {}
    if not isinstance(found, Mapping):
        raise TypeError(f"the defaults of {name_of(callback)} must be a dict, got {found!r}")
    return dict(cast("Mapping[str, Any]", found))


def gathered(callbacks: Iterable[Any], first_wins: bool) -> dict[str, Any]:
    """The hypers that callbacks bring along; of two values for one, the last wins, or the first."""
    found: dict[str, Any] = {}
    for callback in callbacks:
        brought = brought_by(callback)
        found = {**brought, **found} if first_wins else {**found, **brought}
    return found


def read_by(callbacks: Iterable[Any]) -> set[str] | None:
    """The names that callbacks read; None where one reads what its signature does not say."""
    found: set[str] = set()
    for callback in callbacks:
        names = _arguments(callback)
        if names is None:
            return None
        found |= names | set(brought_by(callback))
    return found


def hyper_names(callbacks: Iterable[Any]) -> set[str] | None:
    """The names that hyper-parameters of callbacks may have; None where any may be.

    A rate, momentum and decay may always be given: lists of callbacks differ in using them.
    """
    read = read_by(callbacks)
    return None if read is None else read - {"p", "state"} | {"lr", "mom", "wd"}


def check_given(owner: str, given: Iterable[str], known: set[str] | None) -> None:
    """Raise TypeError for a hyper-parameter that no callback reads, or whose name is torch's."""
    for name in given:
        if name in NOTES:
            raise TypeError(f"{owner}: torch keeps notes in a group under {name!r}; rename it")
        if known is not None:
            check_name(owner, name, known)


def _arguments(callback: Any) -> set[str] | None:
    """A callback's arguments by name; None for one that takes but p and **kwargs."""
    if hasattr(callback, "reads"):
        return callback.reads
    try:
        parameters = inspect.signature(callback).parameters.values()
    except (TypeError, ValueError):
        return None
    named = {q.name for q in parameters if q.kind in (q.POSITIONAL_OR_KEYWORD, q.KEYWORD_ONLY)}
    catches = any(q.kind == q.VAR_KEYWORD for q in parameters)
    return None if catches and len(named) < 2 else named


def changes_gradient(callback: Any) -> bool:
    """True for a callback that is marked as writing to p.grad, and for a partial of one."""
    inner = callback.func if isinstance(callback, functools.partial) else callback
    return bool(getattr(inner, "on_gradient", False))


def name_of(callback: Any) -> str:
    """What to call a callback in a message."""
    inner = callback.func if isinstance(callback, functools.partial) else callback
    return str(getattr(inner, "__name__", None) or type(inner).__name__)
