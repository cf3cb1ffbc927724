"""Groups whose rate falls towards the input, as timm makes them: by an `lr_scale` each."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from .weight_decay import Group, checked_decay, exempt, flag, listed, matches

Key: TypeAlias = tuple[float, ...]
PREVIOUS = 99999.0  # at the end of a matcher's key: the layer before takes these parameters in
PER_LAYER = 12  # names in a layer where a model does not say what its layers are


def param_groups_layer_decay(
    model: nn.Module,
    weight_decay: float | None = 0.05,
    *,
    no_weight_decay_list: Iterable[str] = (),
    weight_decay_exclude_1d: bool = True,
    fallback_list: Iterable[str] = (),
    fallback_no_weight_decay: bool = False,
    layer_decay: float = 0.75,
    min_scale: float = 0.0,
    no_opt_scale: float | None = None,
    lr: float | None = None,
) -> list[Group]:
    """A group for each layer and decay, with `lr_scale` = layer_decay ** (layers above it).

    The layers are those of `model.group_matcher`, else 12 names each with the head last. A scale
    is at least `min_scale`; parameters of a layer below `no_opt_scale` are frozen and left out.
    Groups stand in the order in which the model's names come to them. Lists and fallback are those
    of `param_groups_weight_decay`. As in timm the scale waits for whoever sets the rate: a
    scheduler of timm's, or `update_groups`. With `lr` each group also gets lr * lr_scale, which
    torch's schedulers and ours then keep.

    Raises ValueError for scales that are no numbers from 0, and for a model all frozen.

    >>> model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(8)))
    >>> groups = param_groups_layer_decay(model, layer_decay=0.5, lr=1.0)
    >>> [(g["lr_scale"], g["weight_decay"], g["lr"]) for g in groups]
    [(0.25, 0.05, 0.25), (0.25, 0.0, 0.25), (0.5, 0.05, 0.5), (0.5, 0.0, 0.5), (1.0, 0.05, 1.0), \
(1.0, 0.0, 1.0)]
    """
    who = "param_groups_layer_decay"
    decay = checked_decay(who, model, weight_decay)
    _check_scales(who, layer_decay=layer_decay, min_scale=min_scale, no_opt_scale=no_opt_scale or 0)
    spared = listed(who, "no_weight_decay_list", no_weight_decay_list)
    others = listed(who, "fallback_list", fallback_list)
    others += spared if fallback_no_weight_decay else []
    layers, found = layers_of(model), dict[tuple[int, bool, bool], Group]()
    last = max(layers.values(), default=0)
    for name, p in model.named_parameters():
        scale = max(min_scale, layer_decay ** (last - layers[name]))
        if no_opt_scale and scale < no_opt_scale:
            p.requires_grad_(False)
        if not p.requires_grad:
            continue
        decays = bool(decay) and not exempt(name, p, spared, weight_decay_exclude_1d)
        fallback = matches(name, others)
        start = _group(scale, decay if decays else 0.0, lr) | flag(fallback)
        group = found.setdefault((layers[name], decays, fallback), start)
        group["params"].append(p)
        group["param_names"].append(name)
    if not found:
        raise ValueError(f"{who}: the model has no parameter to train")
    return list(found.values())


def _check_scales(who: str, **scales: Any) -> None:
    for name, value in scales.items():
        if not (isinstance(value, float | int) and value >= 0 and math.isfinite(value)):
            raise ValueError(f"{who}: {name} must be >= 0, got {value!r}")


def _group(scale: float, weight_decay: float, lr: float | None) -> Group:
    rate = {} if lr is None else {"lr": lr * scale}
    group = {"params": [], "param_names": [], "lr_scale": scale, "weight_decay": weight_decay}
    return {**group, **rate}


def update_groups(optimizer: torch.optim.Optimizer, value: Any, field: str = "lr") -> None:
    """Set a hyper in all groups as timm's schedulers do: times the group's `lr_scale`, if any.

    A tensor that a group holds is filled in place. Raises ValueError for a field that a group
    lacks; then none has changed.
    """
    for group in optimizer.param_groups:
        if field not in group:
            raise ValueError(f"update_groups: a group has no {field!r} (it has {', '.join(group)})")
    for group in optimizer.param_groups:
        scaled = value * group.get("lr_scale", 1.0)
        if isinstance(group[field], Tensor):
            group[field].fill_(scaled)
        else:
            group[field] = scaled


# --- the layers of a model -----------------------------------------------------------------------


def layers_of(model: nn.Module) -> dict[str, int]:
    """The layer of each parameter's name, from 0: by the model's own matcher, else by counting."""
    names = [name for name, _ in model.named_parameters()]
    matcher: Any = getattr(model, "group_matcher", None)
    if matcher is None:
        return _counted(names, _head_of(model, names))
    return matched(names, matcher(coarse=False))


def matched(names: Iterable[str], matcher: Any) -> dict[str, int]:
    """Layers by a matcher: a function of the name, or a dict of regular expressions in order.

    An entry is an expression, or a list of pairs of one with a suffix of the key. Keys are the
    entry's place, the numbers that the expression captured and the suffix; names that nothing
    matches come last. A key that ends in 99999 belongs to the layer before it.
    """
    key_of: Callable[[str], Key] = (
        (lambda name: _as_key(matcher(name))) if callable(matcher) else _keys(matcher)
    )
    by_name = {name: key_of(name) for name in names}
    layer, layers = -1, dict[Key, int]()
    for key in sorted(set(by_name.values())):
        layer += layer < 0 or key[-1] != PREVIOUS
        layers[key] = layer
    return {name: layers[key] for name, key in by_name.items()}


def _as_key(value: Any) -> Key:
    return tuple(map(float, value)) if isinstance(value, Iterable) else (float(value),)


def _keys(matcher: Mapping[str, Any]) -> Callable[[str], Key]:
    compiled: list[tuple[float, re.Pattern[str], Key]] = []
    for place, spec in enumerate(matcher.values()):
        entries: list[Any] = list(spec) if isinstance(spec, list | tuple) else [(spec, None)]
        for expression, suffix in entries if spec is not None else []:
            compiled.append((float(place), re.compile(expression), _as_key(suffix or ())))

    def key(name: str) -> Key:
        for place, expression, suffix in compiled:
            found = expression.match(name)
            if found:
                return (place, *_numbers(name, expression, found.groups()), *suffix)
        return (math.inf,)

    return key


def _numbers(name: str, expression: re.Pattern[str], captured: Iterable[str | None]) -> Key:
    try:
        return tuple(float(text) for text in captured if text is not None)
    except ValueError:
        raise ValueError(
            f"group_matcher: {expression.pattern!r} must capture numbers, the order of the layers; "
            f"of {name!r} it captured {tuple(captured)!r}: write (?:...) for other brackets"
        ) from None


def _counted(names: list[str], head: set[str]) -> dict[str, int]:
    """Layers of 12 names in the model's order, and one for the head."""
    trunk = [name for name in names if name not in head]
    top = -(-len(trunk) // PER_LAYER)
    return {**{name: i // PER_LAYER for i, name in enumerate(trunk)}, **dict.fromkeys(head, top)}


def _head_of(model: nn.Module, names: list[str]) -> set[str]:
    """Names under the classifier that the model states (as timm's do), else of its last module."""
    config: Any = getattr(model, "pretrained_cfg", None) or {}
    stated: Any = config.get("classifier")
    last = names[-1].rpartition(".")[0] if names else ""
    prefixes = [stated] if isinstance(stated, str) else list(stated or ([last] if last else []))
    return {name for name in names if any(f"{name}.".startswith(f"{p}.") for p in prefixes)}
