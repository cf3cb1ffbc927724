"""Loading state: torch's format, by name where parameters are named, checked before it is taken."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from typing import Any

import torch
from torch import Tensor

from .. import slots
from ..engines.storage import LOW
from . import precision
from .protocol import Shell
from .views import SAVED, SAVED_LOW

PRESENT = (  # where and when it runs, not what it is
    "foreach", "fused", "capturable", "differentiable", "skip_nonfinite",
    *precision.OPTIONS,
)  # fmt: skip


def load(
    optimizer: Shell, torch_load: Callable[[dict[str, Any]], None], state_dict: dict[str, Any]
) -> None:
    """Align a state dict with the optimizer's groups, let torch load it, restore the slots' dtypes.

    The alignment runs after the user's pre-hooks and the restoring before the user's post-hooks.
    """
    if not isinstance(state_dict, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
        owner, got = type(optimizer).__name__, type(state_dict).__name__
        raise ValueError(
            f"{owner}: a state dict is a dict with 'state' and 'param_groups', got {got}"
        )
    aligned: dict[str, Any] = {}

    def align(_: Any, given: dict[str, Any]) -> dict[str, Any]:
        aligned.update(_align(optimizer, given))
        return aligned

    def restore(_: Any) -> None:
        _restore(optimizer, aligned["state"])

    before = optimizer.register_load_state_dict_pre_hook(align)
    after = optimizer.register_load_state_dict_post_hook(restore, prepend=True)
    try:
        torch_load(state_dict)
    finally:
        before.remove()
        after.remove()


def _restore(optimizer: Shell, saved: Mapping[Any, Any]) -> None:
    """Replace what torch cast to the parameter's dtype or aliased by copies of what was saved."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    on_host = {"step"}
    for group in optimizer.param_groups:
        recipe = optimizer.recipe_of(group)
        on_host |= recipe.host_slots(recipe.key(group))
    for i, p in enumerate(params):
        for name, value in (saved.get(i) or {}).items():
            if isinstance(value, Tensor):
                stays = value.ndim == 0 and value.device.type == "cpu" and name in on_host
                device = value.device if stays else p.device
                optimizer.state[p][name] = value.detach().to(device, copy=True)
        if p in optimizer.state and optimizer.state[p] is None:  # another rank's, under ZeRO
            del optimizer.state[p]
        if optimizer.state.get(p):  # slots without a count are torch's SGD's: one step was taken
            optimizer.state[p].setdefault("step", torch.tensor(1.0))


# --- alignment ---------------------------------------------------------------------------------


def _align(optimizer: Shell, given: dict[str, Any]) -> dict[str, Any]:
    """The state dict in the order of the optimizer's groups; ValueError for what does not fit."""
    owner = type(optimizer).__name__
    _check_form(owner, given)
    groups, saved = optimizer.param_groups, given["param_groups"]
    named = all("param_names" in g for g in (*groups, *saved))
    pairs = _by_name(owner, groups, saved) if named else _by_order(owner, groups, saved)
    ids = {i for source in saved for i in source["params"]}
    state: dict[Any, Any] = {k: v for k, v in given["state"].items() if k not in ids}
    result: list[dict[str, Any]] = []
    number = 0
    for group, (source, ids) in zip(groups, pairs, strict=True):
        numbers = range(number, number + len(ids))
        recipe = optimizer.recipe_of(group)
        result.append(_group(recipe.fields(recipe.key(group)), group, source, list(numbers)))
        _check_choice(optimizer, owner, group, result[-1])
        recipe.check(owner, result[-1], recipe.key(result[-1]))
        for new, old, p in zip(numbers, ids, group["params"], strict=True):
            if old in given["state"]:
                state[new] = given["state"][old]
                _check_state(optimizer, owner, result[-1], new, p, state[new])
        number += len(ids)
    return {**given, "state": state, "param_groups": result}


def _check_form(owner: str, given: Any) -> None:
    """A state dict's outer form: groups that are dicts with lists of numbers, states by number."""
    groups = given.get("param_groups")
    if not isinstance(groups, list) or not isinstance(given.get("state"), dict):
        raise ValueError(
            f"{owner}: a state dict holds 'state' and 'param_groups', a dict and a list; got one "
            f"that holds {', '.join(sorted(map(repr, given))) or 'nothing'}"
        )
    for i, group in enumerate(groups):
        if not isinstance(group, dict) or not isinstance(group.get("params"), list):
            got = "no list of params" if isinstance(group, dict) else f"a {type(group).__name__}"
            raise ValueError(
                f"{owner}: group {i} of a state dict is a dict with a list of params, got {got}"
            )
        names = group.get("param_names", group["params"])
        if not isinstance(names, list) or len(names) != len(group["params"]):
            raise ValueError(
                f"{owner}: group {i} has {len(group['params'])} params and param_names {names!r}; "
                "there must be one name for each"
            )


def _by_order(
    owner: str, groups: list[dict[str, Any]], saved: list[dict[str, Any]]
) -> list[tuple[dict[str, Any], list[Any]]]:
    sizes, wanted = [len(g["params"]) for g in saved], [len(g["params"]) for g in groups]
    if sizes != wanted:
        raise ValueError(
            f"{owner}: the checkpoint has groups of {sizes} parameters, the optimizer of {wanted}; "
            "load into the model and groups it was saved from, or name parameters "
            "(model.named_parameters()) to load by name"
        )
    return [(group, list(group["params"])) for group in saved]


def _by_name(
    owner: str, groups: list[dict[str, Any]], saved: list[dict[str, Any]]
) -> list[tuple[dict[str, Any], list[Any]]]:
    found = {
        name: (group, i)
        for group in saved
        for name, i in zip(group["param_names"], group["params"], strict=True)
    }
    wanted = [name for group in groups for name in group["param_names"]]
    missing = [n for n in wanted if n not in found]
    extra = [n for n in found if n not in set(wanted)]
    if missing or extra:
        parts = [
            f"{what}: {_few(n)}" for what, n in (("missing", missing), ("left over", extra)) if n
        ]
        raise ValueError(f"{owner}: the checkpoint's parameters do not fit; {'; '.join(parts)}")
    pairs: list[tuple[dict[str, Any], list[Any]]] = []
    for group in groups:
        sources = [found[name][0] for name in group["param_names"]]
        for other in sources:
            _same_hypers(owner, sources[0], other)
        pairs.append((sources[0] if sources else {}, [found[n][1] for n in group["param_names"]]))
    return pairs


def _few(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _same_hypers(owner: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    for key in a.keys() | b.keys():
        if key not in ("params", "param_names") and repr(a.get(key)) != repr(b.get(key)):
            raise ValueError(
                f"{owner}: a group's parameters were saved in groups that differ in {key} "
                f"({a.get(key)!r} and {b.get(key)!r}); group them as they were saved"
            )


def _group(
    fields: Container[str], group: Mapping[str, Any], source: Mapping[str, Any], numbers: list[int]
) -> dict[str, Any]:
    """The saved values of a group; what the checkpoint lacks comes from the present one."""
    present = {k: v for k, v in group.items() if k != "params"}
    kept = {k: present[k] for k in (*PRESENT, "param_names") if k in present}
    if "initial_lr" in fields and "lr" in source:  # saved without a scheduler: lr is what it was
        lr = source["lr"]
        present["initial_lr"] = lr.clone() if isinstance(lr, Tensor) else lr
    found = {**present, **source, **kept, "params": numbers}
    return {k: tuple(v) if isinstance(v, list) and k in fields else v for k, v in found.items()}


def _check_choice(
    optimizer: Shell, owner: str, group: Mapping[str, Any], source: Mapping[str, Any]
) -> None:
    """The same chain and the same static options."""
    saved = source.get("chain", group["chain"])
    if saved != group["chain"]:
        raise ValueError(
            f"{owner}: the checkpoint was saved by the chain {saved!r}, this group runs "
            f"{group['chain']!r}; build the optimizer that was saved, or start afresh"
        )
    recipe = optimizer.recipe_of(group)
    for option in recipe.options.keys() - set(recipe.gates):
        if option in source and source[option] != group.get(option):
            raise ValueError(
                f"{owner}: the checkpoint has {option}={source[option]!r}, the optimizer "
                f"{option}={group.get(option)!r}; build it with the saved value"
            )


def _check_state(
    optimizer: Shell, owner: str, group: dict[str, Any], number: int, p: Tensor, state: Any
) -> None:
    """Just the slots that the chain keeps, each of the shape that it has, and a count."""
    names = group.get("param_names") or []
    which = f"parameter {number}" + (f" ({names[group['params'].index(number)]})" if names else "")
    if state is None:  # ZeroRedundancyOptimizer: another rank holds it
        return
    if not isinstance(state, dict):
        raise ValueError(f"{owner}: the state of {which} is a dict, got {type(state).__name__}")
    if not state:
        return
    recipe = optimizer.recipe_of(group)
    wanted = recipe.programs(recipe.key(group, owner, state), p.ndim).binding.slots
    held = {k for k, v in state.items() if v is not None} - {"step", SAVED, SAVED_LOW}
    held -= _check_lows(owner, which, group, p, state, wanted)
    if held != set(wanted):
        missing, extra = sorted(set(wanted) - held), sorted(held - set(wanted))
        raise ValueError(
            f"{owner}: the state of {which} is another optimizer's: it lacks "
            f"{', '.join(missing) or 'nothing'} and has {', '.join(extra) or 'nothing'} left over"
        )
    for name, slot in wanted.items():
        value, shape = state[name], slots.shape_of(slot, p)
        if not isinstance(value, Tensor):
            raise ValueError(
                f"{owner}: the slot {name} of {which} is a tensor, got {type(value).__name__}"
            )
        if tuple(value.shape) != shape:
            raise ValueError(
                f"{owner}: the slot {name} of {which} has shape {tuple(value.shape)}, but the "
                f"parameter wants {shape}"
            )
    _check_count(owner, which, state.get("step", 1.0))
    if group.get("train_mode") is False and SAVED not in state:
        raise ValueError(
            f"{owner}: {which} was saved in the evaluation view, without its training weights; "
            "call optimizer.train() before saving"
        )


def _check_lows(
    owner: str,
    which: str,
    group: Mapping[str, Any],
    p: Tensor,
    state: Mapping[str, Any],
    wanted: Mapping[str, slots.Initialiser],
) -> set[str]:
    """The names of the low parts in a state; ValueError for one that the group would not keep."""
    found: set[str] = set()
    for name, high in {"p": p, **{n: state.get(n) for n in wanted}}.items():
        low = state.get(name + LOW)
        if low is None or name + LOW in wanted or not isinstance(high, Tensor):
            continue
        if precision.rounding_of(group, name, high.dtype) != "kahan":
            raise ValueError(
                f"{owner}: {which} was saved with rounding 'kahan' of {name}, in {name} and "
                f"{name + LOW}, but this group stores {name} in {high.dtype} with "
                f"rounding={group['rounding']!r}; build the optimizer with rounding='kahan', or "
                f"take {name + LOW} out of the checkpoint to round {name} to the nearest"
            )
        if not isinstance(low, Tensor) or low.shape != high.shape or low.dtype != high.dtype:
            got = f"{tuple(low.shape)} {low.dtype}" if isinstance(low, Tensor) else repr(low)
            raise ValueError(
                f"{owner}: {name + LOW} of {which} must be like {name}, {tuple(high.shape)} "
                f"{high.dtype}, got {got}"
            )
        found.add(name + LOW)
    return found


def _check_count(owner: str, which: str, count: Any) -> None:
    number = count.item() if isinstance(count, Tensor) and count.numel() == 1 else count
    if not isinstance(number, float | int) or not number >= 0:
        raise ValueError(
            f"{owner}: the step of {which} is a count, a number from 0 on, got {count!r}"
        )
