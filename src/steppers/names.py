"""Names and ranges of hyper-parameters: torch's tuples, fastai's short names, what is valid.

A rule says `beta1`; the group stores torch's `betas`. This mapping, the short names and the table
of valid ranges live here and nowhere else.
"""

from __future__ import annotations

import functools
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any, TypeAlias

from torch import Tensor

# fmt: off
TUPLES: dict[str, tuple[str, ...]] = {  # group key: the hypers that it holds, in order
    "betas": ("beta1", "beta2", "beta3", "beta4"),
    "eps": ("eps1", "eps2"),
    "etas": ("etaminus", "etaplus"),
    "step_sizes": ("step_size_min", "step_size_max"),
    "nus": ("nu1", "nu2"),
}
SHORT: dict[str, tuple[str, ...]] = {  # fastai's names: the first of ours that the chain has
    "wd": ("weight_decay",),
    "mom": ("momentum", "beta1"),
    "sqr_mom": ("beta2", "alpha", "rho"),
}
RANGES: dict[str, str] = {  # by hyper name; NaN is in none of them
    "lr": ">= 0", "weight_decay": ">= 0", "momentum": ">= 0", "eps": ">= 0",
    "eps1": ">= 0", "eps2": ">= 0", "beta1": "in [0, 1)", "beta2": "in [0, 1)",
    "beta3": "in [0, 1)", "beta4": "in [0, 1)", "alpha": ">= 0", "rho": "in [0, 1]",
    "lr_decay": ">= 0", "initial_accumulator_value": ">= 0", "momentum_decay": ">= 0",
    "beta2_decay": "<= 0", "d0": "> 0", "d_coef": "> 0", "growth_rate": ">= 1",
    "etaminus": "in (0, 1)", "etaplus": "> 1", "step_size_min": ">= 0", "step_size_max": ">= 0",
    "max_norm": ">= 0", "trust_clip": "> 0", "ema_decay": "in [0, 1)",
    "warmup_steps": ">= 0", "trust_coefficient": "> 0", "clip_value": ">= 0",
    "clip_factor": ">= 0", "clip_eps": ">= 0", "initial_lr": ">= 0", "total_steps": ">= 0",
    "d_model": "> 0", "batch_tokens": ">= 0", "trust_coeff": "> 0", "softplus_beta": "in (0, inf)",
    "nu2": "in [0, 1]", "max_lr": ">= 0",
}
# fmt: on
ANY = "a number other than NaN"
OPTIONAL = ("eps", "eps1")  # None: the machine epsilon of the parameter's dtype

Place: TypeAlias = tuple[str, int | None]  # group key, and index where the key holds a tuple


def places(hypers: Iterable[str], defaults: Mapping[str, Any]) -> dict[str, Place]:
    """Where a group stores each hyper of a chain: under its own name, or within torch's tuple.

    A tuple of the class's defaults fixes how many it holds; without one, it holds all that the
    chain declares from the first on, if these are two or more.
    """
    found: dict[str, Place] = {name: (name, None) for name in hypers}
    declared = set(found)
    for key, members in TUPLES.items():
        present = members[: len(defaults[key])] if _is_tuple(defaults.get(key)) else ()
        if key not in defaults:
            run = [m for i, m in enumerate(members) if set(members[: i + 1]) <= declared]
            present = tuple(run) if len(run) > 1 else ()
        for i, member in enumerate(present):
            found[member] = (key, i)
    return found


def _is_tuple(value: object) -> bool:
    return isinstance(value, tuple | list)


def get(group: Mapping[str, Any], place: Place) -> Any:
    """The value that a group holds at a place."""
    key, index = place
    return group[key] if index is None else group[key][index]


def put(group: dict[str, Any], place: Place, value: Any) -> None:
    """Write a value at a place of a group; a tuple is replaced by a new one."""
    key, index = place
    if index is None:
        group[key] = value
    else:
        old = tuple(group[key])
        group[key] = (*old[:index], value, *old[index + 1 :])


def resolve(name: str, hypers: Iterable[str]) -> str:
    """The chain's name for a hyper that may be given by its short name."""
    known = set(hypers)
    return next((long for long in SHORT.get(name, ()) if long in known), name)


def plain(value: Any) -> Any:
    """Lists as tuples, NumPy's and other real numbers as floats, the rest as it is."""
    if isinstance(value, list | tuple):
        return tuple(plain(each) for each in value)  # pyright: ignore[reportUnknownVariableType]
    exact = value.__class__ in (bool, int, float)
    return float(value) if isinstance(value, Real) and not exact else value


def normalise(
    owner: str, given: Mapping[str, Any], where: Mapping[str, Place], base: Mapping[str, Any]
) -> dict[str, Any]:
    """Given hypers by group key: short names spelt out, `beta1=` put into `betas`.

    Elements of a tuple that are not given come from `given`'s own tuple, else from `base`. Raises
    TypeError where two names give one value.
    """
    result: dict[str, Any] = {}
    elements: list[tuple[Place, Any]] = []
    seen: dict[Place, str] = {}
    for name, value in given.items():
        place = where.get(resolve(name, where), (name, None))
        if place in seen:
            raise TypeError(f"{owner} got two values for one hyper: {seen[place]} and {name}")
        seen[place] = name
        if place[1] is None:
            result[place[0]] = plain(value)
        else:
            elements.append((place, plain(value)))
    for place, value in elements:
        result.setdefault(place[0], base[place[0]])
        key = place[0]
        _check_tuple(owner, key, result[key], TUPLES[key], len(base[key]), mixed=True)
        put(result, place, value)
    return result


def check(
    owner: str,
    group: Mapping[str, Any],
    where: Mapping[str, Place],
    ranges: Mapping[str, str] = RANGES,
    mixed: bool = False,
) -> None:
    """Raise ValueError or TypeError for the first hyper of a group that is out of range.

    A hyper without a range may be any number. With `mixed` a tuple may hold numbers and tensors.
    """
    for key, members in TUPLES.items():
        held = [name for name, place in where.items() if place[0] == key and place[1] is not None]
        if held and key in group:
            _check_tuple(owner, key, group[key], members, len(held), mixed)
    for name, place in where.items():
        if place[0] in group:
            _check_one(owner, name, place, get(group, place), ranges.get(name, ANY))


def check_value(owner: str, name: str, place: Place, value: Any) -> None:
    """Raise ValueError or TypeError for a hyper's value that is out of range."""
    _check_one(owner, name, place, value, RANGES.get(name, ANY))


def _check_tuple(
    owner: str, key: str, value: Any, members: tuple[str, ...], size: int, mixed: bool
) -> None:
    if not _is_tuple(value) or len(value) != size:
        wanted = ", ".join(members[:size])
        raise ValueError(f"{owner}: {key} must be {size} numbers ({wanted}), got {value!r}")
    if len({isinstance(v, Tensor) for v in value}) > 1 and not mixed:
        raise ValueError(f"{owner}: {key} must be all numbers or all tensors, got {value!r}")


def _check_one(owner: str, name: str, place: Place, value: Any, wanted: str) -> None:
    shown = name if place[1] is None else f"{place[0]}[{place[1]}] ({name})"
    if value is None and name in OPTIONAL:
        return
    if isinstance(value, Tensor):
        if value.numel() != 1:
            raise ValueError(
                f"{owner}: Tensor {shown} must be 1-element, got one of {value.numel()} elements"
            )
        try:
            value = value.detach().item()
        except RuntimeError:  # on the meta device, or under vmap: there is no one number
            return
    if isinstance(value, bool) or not isinstance(value, float | int):
        kind = type(value).__name__
        raise TypeError(f"{owner}: {shown} must be a number, got {value!r} ({kind})")
    if not _within(value, wanted):
        raise ValueError(f"{owner}: {shown} must be {wanted}, got {value!r}")


_RANGE = re.compile(r"(>=|<=|>|<) *([-+.\w]+)|in ([\[(])([-+.\w]+), *([-+.\w]+)([\])])")


def check_range(owner: str, name: str, text: str) -> None:
    """Raise ValueError for a range that is not written as `RANGES` has them."""
    try:
        _within(0.5, text)
    except (AttributeError, TypeError, ValueError):
        raise ValueError(
            f"{owner}: the range of {name} must be like '>= 0', '< 1' or 'in [0, 1)', got {text!r}"
        ) from None


def _within(value: float, wanted: str) -> bool:
    if math.isnan(value):
        return False
    if wanted == ANY:
        return True
    return _inside(wanted)(value)


@functools.cache
def _inside(wanted: str) -> Callable[[float], bool]:
    """What tells whether a value is in a range; read once, it is asked at every step."""
    found: Any = _RANGE.fullmatch(wanted)
    word, bound, left, low, high, right = found.groups()
    if word:
        compare = {">=": operator.ge, "<=": operator.le, ">": operator.gt, "<": operator.lt}[word]
        end = float(bound)
        return lambda value: compare(value, end)
    least, most = float(low), float(high)
    above = operator.ge if left == "[" else operator.gt
    below = operator.le if right == "]" else operator.lt
    return lambda value: above(value, least) and below(value, most)
