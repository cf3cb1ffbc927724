"""What `state_dtype` and `rounding` ask for: the dtype of new slots, and how stores are rounded.

Both are keys of a group: None, one word for everything, or words by name. `state_dtype` says how
slots are made; one that exists keeps its dtype. `rounding` holds for p and for slots of 16 bits;
for float32 only kahan means anything, and only where a name asks for it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from ..chain import suggest
from ..engines.storage import LOW, Format, draw_of
from ..program import Programs
from ..slots import Initialiser, low_of
from .recipe import Recipe

OPTIONS: dict[str, Any] = {"state_dtype": None, "rounding": None}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
ROUNDINGS = ("nearest", "stochastic", "kahan")
NARROW = (torch.bfloat16, torch.float16)
PARTS = {torch.complex64: torch.float32, torch.complex128: torch.float64}
WANTED = {
    "state_dtype": "one of torch.float32, torch.bfloat16, torch.float16 (or their names)",
    "rounding": "one of 'nearest', 'stochastic', 'kahan'",
}


# --- what was asked ----------------------------------------------------------------------------


def plain(owner: str, option: str, value: Any) -> Any:
    """An option's value as a group keeps it, in words; TypeError or ValueError for another."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        named = cast("Mapping[Any, Any]", value)
        return {str(name): _word(owner, option, each, name) for name, each in named.items()}
    return _word(owner, option, value)


def _word(owner: str, option: str, value: Any, name: Any = None) -> str:
    known: Iterable[str] = DTYPES if option == "state_dtype" else ROUNDINGS
    word = str(value).removeprefix("torch.")
    if isinstance(value, str | torch.dtype) and word in known:
        return word
    where = option if name is None else f"{option}[{name!r}]"
    why = "; float64 state comes with float64 parameters" if word == "float64" else ""
    raise (ValueError if isinstance(value, str | torch.dtype) else TypeError)(
        f"{owner}: {where} must be {WANTED[option]}, or a dict of these by slot, got {value!r}"
        f"{why or suggest(word, known)}"
    )


def check_names(owner: str, option: str, value: Any, recipes: Iterable[Recipe]) -> None:
    """Raise ValueError for a name by which nothing is stored, and for one number."""
    if not isinstance(value, Mapping):
        return
    slots = {name: slot for recipe in recipes for name, slot in _every_slot(recipe)}
    tensors = {name for name, slot in slots.items() if slot.shape != "scalar"}
    known = tensors | ({"p"} if option == "rounding" else set[str]())
    for name in cast("Mapping[str, Any]", value):
        if name == "p" and name not in known:
            why = "; p has the dtype of the model: use model.to(dtype)"
        elif name in slots and name not in known:
            why = "; that slot is one number, and stays float32"
        else:
            why = suggest(name, known)
        if name not in known:
            raise ValueError(
                f"{owner}: {option} names {name!r}, but it is for "
                f"{', '.join(sorted(known)) or 'nothing here: no tensor is kept'}{why}"
            )


def _every_slot(recipe: Recipe) -> Iterator[tuple[str, Initialiser]]:
    """All slots, with the default options and with each option changed."""
    default = recipe.key(recipe.defaults)
    keys = [default]
    for i, value in enumerate(default):
        if isinstance(value, bool):
            keys.append((*default[:i], not value, *default[i + 1 :]))
    for key in keys:
        with contextlib.suppress(ValueError):  # options that do not go together
            for programs in recipe.all_programs(key):
                yield from programs.binding.slots.items()


def check(owner: str, group: Mapping[str, Any], programs: Iterable[Programs]) -> None:
    """Raise for options that this group's parameters and slots cannot have."""
    slots = {n: slot for each in programs for n, slot in each.binding.slots.items()}
    names = [name for name, slot in slots.items() if slot.shape != "scalar"]
    rounding, dtype = group.get("rounding"), group.get("state_dtype")
    pairs = isinstance(rounding, Mapping) and _asked(rounding, "p") == "kahan"
    narrow = any(slot_dtype(group, name) in NARROW for name in names)
    for p in group["params"]:
        if p.is_complex() and narrow:
            raise RuntimeError(
                f"{owner} does not support complex parameters with 16-bit state, got {p.dtype} "
                f"and state_dtype={dtype!r}; torch has no such dtype"
            )
        if pairs and _part(p) == torch.float64:
            raise ValueError(
                f"{owner}: rounding of p is 'kahan', but a parameter is {p.dtype}, and there "
                "is no wider arithmetic that could hold a pair of these; leave p out"
            )
    for name in ("p", *names):
        if name + LOW in slots and _asked(rounding, name) == "kahan":
            raise ValueError(
                f"{owner}: with rounding 'kahan' of {name} its low part is called {name + LOW}, "
                "but that is a slot of the chain; give the slot another name"
            )


def refuse_live(owner: str, rounding: Any, flags: Mapping[str, Any]) -> None:
    """Raise for a rounding that a step on the device alone, or under autograd, cannot do."""
    words = set(rounding.values()) if isinstance(rounding, Mapping) else {rounding}
    if flags["capturable"] and "stochastic" in words:
        raise RuntimeError(
            f"{owner}: rounding='stochastic' does not work with capturable=True: its random bits "
            "come from the step count on the host, so a replayed graph would draw the same bits at "
            "each step; use rounding='kahan'"
        )
    if flags["differentiable"] and words & {"stochastic", "kahan"}:
        raise RuntimeError(
            f"{owner}: rounding={rounding!r} does not work with differentiable=True, which stores "
            "to the nearest; leave rounding out"
        )


def draws(rounding: Any) -> bool:
    """True if anything is rounded at random."""
    words = rounding.values() if isinstance(rounding, Mapping) else (rounding,)
    return "stochastic" in words


def _asked(value: Any, name: str) -> Any:
    """What an option says of a name."""
    return value.get(name) if isinstance(value, Mapping) else value


# --- what it comes to --------------------------------------------------------------------------


def slot_dtype(group: Mapping[str, Any], name: str) -> torch.dtype | None:
    """The dtype in which a tensor slot is made; None: as the parameter."""
    asked = _asked(group.get("state_dtype"), name)
    return None if asked is None else DTYPES[str(asked).removeprefix("torch.")]


def rounding_of(group: Mapping[str, Any], name: str, dtype: torch.dtype) -> str:
    """How a name that is stored in a dtype is rounded."""
    rounding = group.get("rounding")
    asked = _asked(rounding, name) or "nearest"
    if dtype in NARROW:
        return asked
    named = isinstance(rounding, Mapping) and PARTS.get(dtype, dtype) == torch.float32
    return asked if named and asked == "kahan" else "nearest"


def _part(x: Tensor) -> torch.dtype:
    return PARTS.get(x.dtype, x.dtype)


def formats(
    group: Mapping[str, Any], chain: str, stored: Mapping[str, Tensor]
) -> dict[str, Format]:
    """How p and tensor slots are stored; nothing where all of it is plain.

    What `evaluate` makes of p is a copy to look at, so it is never rounded at random.
    """
    if group.get("rounding") is None:
        return {}
    found: dict[str, Format] = {}
    for name, x in stored.items():
        rounding = rounding_of(group, name, x.dtype)
        if rounding == "stochastic" and chain == "evaluate" and name == "p":
            rounding = "nearest"
        found[name] = Format(_part(x), rounding, draw_of(name, chain))
    return found


def keep_lows(
    group: Mapping[str, Any],
    p: Tensor,
    state: dict[str, Any],
    slots: Mapping[str, Initialiser],
    fresh: Container[str],
    hypers: Mapping[str, Any],
) -> None:
    """Make the low parts that are missing, and drop those that nothing asks for any more.

    What is dropped is half a unit of its high part at most: that is rounding to the nearest.
    """
    tensors = {name: state[name] for name, slot in slots.items() if slot.shape != "scalar"}
    for name, high in {"p": p.detach(), **tensors}.items():
        key = name + LOW
        if rounding_of(group, name, high.dtype) != "kahan":
            if key not in slots:
                state.pop(key, None)
        elif state.get(key) is None:
            new = name in fresh
            state[key] = low_of(slots[name], high, p, hypers) if new else torch.zeros_like(high)
        elif state[key].dtype != high.dtype:  # the model changed its dtype
            state[key] = state[key].to(high.dtype)
