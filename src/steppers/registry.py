"""Optimizers by name: create one for a model, list them, add your own."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, overload

from torch import nn

from . import catalogue, groups
from .optimizer import FLAGS, Optimizer

Class = TypeVar("Class", bound=type[Optimizer])

# fmt: off
ALIASES = {  # what timm, Transformers and others call them, where it is not our class's name
    "adamwtorch": "AdamW", "adamwhf": "AdamW", "adamwtorchfused": "AdamW",
    "adamwschedulefree": "ScheduleFreeAdamW", "sfadamw": "ScheduleFreeAdamW",
    "nadamw": "NAdam", "radamw": "RAdam", "lionw": "Lion",
    "momentum": "SGD", "rmsproptorch": "RMSprop",
}
PRESETS: dict[str, dict[str, Any]] = {  # what a name of theirs says of the hyper-parameters
    "nadamw": {"decoupled_weight_decay": True}, "radamw": {"decoupled_weight_decay": True},
    "momentum": {"momentum": 0.9},
}
# fmt: on
_registered: dict[str, type[Optimizer]] = {}
"""Classes added by `register`, by the names they go by: the registry that a program builds up."""


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _classes() -> dict[str, type[Optimizer]]:
    """All classes by the names that are listed."""
    return {**{name: getattr(catalogue, name) for name in catalogue.__all__}, **_registered}


def _find(name: str) -> type[Optimizer] | None:
    plain = _plain(ALIASES.get(_plain(name), name))
    return next((cls for listed, cls in _classes().items() if _plain(listed) == plain), None)


def get_class(name: str) -> type[Optimizer]:
    """The class of that name; case, '-' and '_' do not matter.

    Raises ValueError for an unknown name, with the nearest; TypeError for what is no string.
    """
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # input
        raise TypeError(f"an optimizer's name is a string like 'AdamW', got {name!r}")
    found = _find(name)
    if found is None:
        listed = {_plain(each): each for each in _classes()}
        near = [listed[p] for p in difflib.get_close_matches(_plain(name), listed, 3, 0.5)]
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"no optimizer is called {name!r}{hint} (see steppers.list_optimizers())")
    return found


def preset(name: str) -> dict[str, Any]:
    """What a name of timm's says beside the class: "nadamw" is NAdam with decoupled decay."""
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # input
        raise TypeError(f"an optimizer's name is a string like 'AdamW', got {name!r}")
    return dict(PRESETS.get(_plain(name), {}))


def list_optimizers(pattern: str = "*") -> list[str]:
    """Names of the optimizers that match a pattern (`*` and `?`, case-blind), sorted."""
    names = sorted(_classes(), key=str.lower)
    return [name for name in names if fnmatch.fnmatch(name.lower(), pattern.lower())]


@overload
def register(entry: Class) -> Class: ...
@overload
def register(entry: str) -> Callable[[Class], Class]: ...
def register(entry: Any) -> Any:
    """Add an Optimizer class under its own name, or under another: `@register` or `@register("x")`.

    Raises ValueError for a name that is taken or has no letters, TypeError for what is no
    steppers.Optimizer class with rules of its own.
    """
    if isinstance(entry, str):
        return lambda cls: _add(entry, cls)
    return _add(getattr(entry, "__name__", ""), entry)


def _add(name: str, cls: Any) -> Any:
    if not (inspect.isclass(cls) and issubclass(cls, Optimizer)):
        raise TypeError(f"register takes a subclass of steppers.Optimizer, got {cls!r}")
    if not cls.recipes():
        raise TypeError(
            f"register takes a class that states its rules, but {cls.__name__} has none; state "
            "steps (or chains) in it"
        )
    if not _plain(name):
        raise ValueError(f"register wants a name with letters, like 'my-adam', got {name!r}")
    taken = _find(name)
    if taken not in (None, cls):
        raise ValueError(f"an optimizer called {name!r} exists; register yours under another name")
    if taken is None:
        _registered[name] = cls
    return cls


def create(name: str, model_or_params: Any, **hypers: Any) -> Optimizer:
    """An optimizer by name, for a module or for anything that the class takes as parameters.

    A module's parameters that require gradients are grouped, named, with no decay on biases and
    norms and on what `model.no_weight_decay()` lists. For a matrix optimizer (Muon) hidden
    matrices go to it and the rest to AdamW, with `adamw=dict(…)` for its hyper-parameters.

    A name of timm's brings its settings: "nadamw" decouples decay, "momentum" has 0.9.

    Raises ValueError for an unknown name and for a module with nothing to train, and what the
    class raises.

    >>> import torch, steppers
    >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.LayerNorm(2))
    >>> optimizer = steppers.create("adamw", model, lr=1e-3, weight_decay=0.1)
    >>> [group["weight_decay"] for group in optimizer.param_groups]
    [0.1, 0.0]
    """
    cls = get_class(name)
    hypers = {**preset(name), **hypers}
    if not isinstance(model_or_params, nn.Module):
        return cls(model_or_params, **hypers)
    named = [(n, p) for n, p in model_or_params.named_parameters() if p.requires_grad]
    if not named:
        raise ValueError(
            f"create: the model, a {type(model_or_params).__name__}, has no parameter that "
            "requires a gradient; call requires_grad_(True) on what is to be trained"
        )
    if not cls.takes_vectors():
        return _with_adamw(cls, model_or_params, **hypers)
    if "weight_decay" not in cls.fields():
        return cls(named, **hypers)
    return cls(groups.no_decay(model_or_params, named=True), **hypers)


def _with_adamw(
    cls: type[Optimizer],
    model: nn.Module,
    adamw: dict[str, Any] | None = None,
    engine: str = "auto",
    **hypers: Any,
) -> Optimizer:
    """Matrices by `cls`, the rest by AdamW, which does not decay unless `adamw` says so."""
    name = cls.__name__.lower()
    switches = {n: hypers.pop(n) for n in ("seed", *FLAGS) if n in hypers}  # these are for both
    made = groups.by_ndim(
        model,
        matrices={"chain": name, **_complete(cls, hypers)},
        others={
            "chain": "adamw",
            **_complete(catalogue.AdamW, {"weight_decay": 0.0}, adamw or {}),
        },
        named=True,
    )
    made = [part for group in made for part in _undecayed_apart(group, model)]
    chains = {name: cls, "adamw": catalogue.AdamW}
    return Optimizer(made, chains=chains, engine=engine, **switches)


def _complete(cls: type[Optimizer], *layers: dict[str, Any]) -> dict[str, Any]:
    """All hypers of a class by group key; raises as its constructor does."""
    return next(iter(cls.recipes().values())).complete(cls.__name__, *layers)


def _undecayed_apart(group: dict[str, Any], model: nn.Module) -> list[dict[str, Any]]:
    """A group in two, where it decays but `groups.no_decay` says that parts of it should not."""
    if not group.get("weight_decay"):
        return [group]
    parts: list[dict[str, Any]] = groups.no_decay(model)
    apart = {p for part in parts if "weight_decay" in part for p in part["params"]}
    pairs = list(zip(group["params"], group["param_names"], strict=True))
    found: list[dict[str, Any]] = []
    for stays, hypers in ((False, group), (True, {**group, "weight_decay": 0.0})):
        members = [(p, n) for p, n in pairs if (p in apart) is stays]
        if members:
            params, names = zip(*members, strict=True)
            found.append({**hypers, "params": list(params), "param_names": list(names)})
    return found
