"""Groups of parameters that decay and of those that do not, as timm makes them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

Group = dict[str, Any]


def param_groups_weight_decay(
    model: nn.Module,
    weight_decay: float | None = 1e-5,
    *,
    no_weight_decay_list: Iterable[str] = (),
    weight_decay_exclude_1d: bool = True,
    fallback_list: Iterable[str] = (),
    fallback_no_weight_decay: bool = False,
) -> list[Group]:
    """Two groups: what does not decay first, then the rest; frozen parameters are left out.

    Not decayed are vectors, scalars and names ending in ".bias" (unless `weight_decay_exclude_1d`
    is False), and what a name or pattern of the list matches. What `fallback_list` matches, and
    with `fallback_no_weight_decay` what `no_weight_decay_list` does, forms groups of its own after
    these, flagged `use_fallback`. Without weight_decay nothing decays. Empty groups are left out.
    Options are keyword-only: timm has changed what the third position means.

    >>> groups = param_groups_weight_decay(nn.Linear(3, 2), 0.05)
    >>> [(group["weight_decay"], len(group["params"])) for group in groups]
    [(0.0, 1), (0.05, 1)]
    """
    who = "param_groups_weight_decay"
    decay = checked_decay(who, model, weight_decay)
    spared = listed(who, "no_weight_decay_list", no_weight_decay_list)
    others = listed(who, "fallback_list", fallback_list)
    others += spared if fallback_no_weight_decay else []
    found = dict[tuple[bool, bool], Group]()
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        fallback = matches(name, others)
        decays = bool(decay) and not exempt(name, p, spared, weight_decay_exclude_1d)
        start: Group = {"params": [], "weight_decay": decay if decays else 0.0, **flag(fallback)}
        found.setdefault((fallback, decays), start)["params"].append(p)
    return [found[key] for key in sorted(found)]


def checked_decay(who: str, model: Any, weight_decay: Any) -> float:
    """The decay of a model, 0 for None; raises for what is no model and no number from 0 on."""
    if not isinstance(model, nn.Module):
        raise TypeError(
            f"{who} goes by a model's names, got {type(model).__name__}; give the model"
        )
    decay = 0.0 if weight_decay is None else weight_decay
    if not (isinstance(decay, float | int) and 0 <= decay < math.inf):
        raise ValueError(f"{who}: weight_decay must be a number >= 0 or None, got {decay!r}")
    return decay


def listed(who: str, argument: str, names: Iterable[str]) -> list[str]:
    """A list of names or patterns; TypeError for one string, whose letters would be the names."""
    if isinstance(names, str):
        raise TypeError(f"{who}: {argument} must be a list of names, got {names!r}; write [...]")
    return list(names)


def exempt(name: str, p: Tensor, spared: Iterable[str], exclude_1d: bool) -> bool:
    """True for a parameter that does not decay."""
    return (exclude_1d and (p.ndim <= 1 or name.endswith(".bias"))) or matches(name, spared)


def matches(name: str, patterns: Iterable[str]) -> bool:
    """True for a name that is one of the names or matches one of the patterns."""
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def flag(fallback: bool) -> Group:
    """How a group says that an optimizer of two kinds takes it by the second."""
    return {"use_fallback": True} if fallback else {}
