"""One thing or several as a list, functions one after another, dicts filled with what they lack."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any, cast


def listify(o: Any) -> list[Any]:
    """A list of what is given: nothing for None, the members of an iterable, else the thing itself.

    >>> listify(None), listify("ab"), listify((1, 2)), listify(3)
    ([], ['ab'], [1, 2], [3])
    """
    if o is None:
        return []
    if isinstance(o, Iterable) and not isinstance(o, str | bytes) and not _is_scalar(o):
        return list(cast("Iterable[Any]", o))
    return [o]


def setify(o: Any) -> set[Any]:
    """The same as a set.

    >>> setify("aa"), setify(None), setify([1, 1])
    ({'aa'}, set(), {1})
    """
    return o if isinstance(o, set) else set(listify(o))


def uniqueify(x: Iterable[Any], sort: bool = False) -> list[Any]:
    """Each member once, in the order in which they are first seen, or sorted.

    >>> uniqueify([2, 1, 2]), uniqueify([2, 1, 2], sort=True)
    ([2, 1], [1, 2])
    """
    found = list(dict.fromkeys(x))
    return sorted(found) if sort else found


def _is_scalar(o: object) -> bool:
    return getattr(o, "ndim", None) == 0


def in_order(funcs: Any, order_key: str = "_order") -> list[Callable[..., Any]]:
    """Functions by their attribute `_order`, 0 where there is none; equal ones as they came."""
    return sorted(listify(funcs), key=lambda func: getattr(func, order_key, 0))


def compose(x: Any, funcs: Any, *args: Any, order_key: str = "_order", **kwargs: Any) -> Any:
    """Give x to the first function, what it returns to the next, and so on, by `_order`.

    >>> def add(x, by): return x + by
    >>> def double(x, **_): return 2 * x
    >>> double._order = -1
    >>> compose(3, [add, double], by=1)
    7
    """
    for func in in_order(funcs, order_key):
        x = func(x, *args, **kwargs)
    return x


def get_defaults(d: object) -> dict[str, Any]:
    """The `_defaults` of a function, a Stat or a partial of one; a partial's own values win."""
    inner: Any = getattr(d, "func", None)
    own: dict[str, Any] = {**getattr(d, "_defaults", {})}
    if callable(inner):
        return {**get_defaults(inner), **own, **getattr(d, "keywords", {})}
    return own


def maybe_update(
    os: Iterable[Any], dest: MutableMapping[str, Any], f: Callable[[Any], Mapping[str, Any]]
) -> None:
    """Give `dest` what each f(o) has and it lacks; the first that has a key decides its value."""
    for o in os:
        for key, value in f(o).items():
            dest.setdefault(key, value)
