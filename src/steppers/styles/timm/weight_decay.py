"""Groups of parameters that decay and of those that do not, as timm makes them."""

from __future__ import annotations

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
    is False), and what a name or pattern of the list matches. Names in `fallback_list` form groups
    of their own, flagged `use_fallback`. Without weight_decay nothing decays. Empty groups are
    left out. Options are keyword-only: timm has changed what the third position means.

    >>> groups = param_groups_weight_decay(nn.Linear(3, 2), 0.05)
    >>> [(group["weight_decay"], len(group["params"])) for group in groups]
    [(0.0, 1), (0.05, 1)]
    """
    spared, others = list(no_weight_decay_list), list(fallback_list)
    decay, found = weight_decay or 0.0, dict[tuple[bool, bool], Group]()
    for name, p in model.named_parameters():
        if not p.requires_grad:
            continue
        fallback = _matches(name, others)
        decays = bool(decay) and not exempt(name, p, spared, weight_decay_exclude_1d)
        decays = decays and not (fallback and fallback_no_weight_decay)
        start: Group = {"params": [], "weight_decay": decay if decays else 0.0}
        start |= {"use_fallback": True} if fallback else {}
        found.setdefault((fallback, decays), start)["params"].append(p)
    return [found[key] for key in sorted(found)]


def exempt(name: str, p: Tensor, spared: Iterable[str], exclude_1d: bool) -> bool:
    """True for a parameter that does not decay."""
    return (exclude_1d and (p.ndim <= 1 or name.endswith(".bias"))) or _matches(name, spared)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
