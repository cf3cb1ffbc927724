"""Optimizers by name: ours, and torch.optim's under `torch.`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ... import groups, names, registry
from ..spec import check_hypers, nearest, parse_spec, read_flags, read_value

# It gets the model, not its parameters: groups are made by walking modules.
MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


@dataclass(frozen=True)
class Found:
    """An optimizer class, with its name in full and its constructor's arguments."""

    name: str
    cls: type[torch.optim.Optimizer]
    defaults: Mapping[str, object]

    @property
    def ours(self) -> bool:
        """Whether it is one of this library's."""
        return not self.name.startswith("torch.")


def find(name: str) -> Found:
    """A class by name, case-blind; ValueError with the nearest for an unknown one."""
    if name.lower().startswith("torch."):
        cls = torch_class(name)
        return Found(f"torch.{cls.__name__}", cls, arguments(cls))
    cls = registry.get_class(name)
    # For a model, an optimizer of matrices comes with AdamW for the rest; so does `create`.
    rest: dict[str, object] = {} if cls.takes_vectors() else {"adamw": {}}
    return Found(cls.__name__, cls, {**arguments(cls), **rest})


def read_spec(text: str) -> tuple[Found, dict[str, object]]:
    """The class and the hypers in a spec like `lion(lr=1e-3)`; ValueError for an unknown one."""
    name, hypers = parse_spec(text)
    found = find(name)
    check_hypers(found.name, hypers, found.defaults)
    return found, {**(registry.preset(name) if found.ours else {}), **hypers}


def arguments(cls: type[torch.optim.Optimizer]) -> dict[str, object]:
    """The named arguments of a constructor, with their defaults; `params` is not among them."""
    named = inspect.signature(cls).parameters.values()
    return {one.name: one.default for one in named if one.default is not inspect.Parameter.empty}


def torch_class(name: str) -> type[torch.optim.Optimizer]:
    """The class in torch.optim; ValueError for one whose step needs a closure (LBFGS)."""
    found = {f"torch.{cls.__name__}".lower(): cls for cls in torch_classes()}
    cls = found.get(name.lower())
    if cls is None:
        hint = nearest(name, [f"torch.{cls.__name__}" for cls in torch_classes()])
        raise ValueError(f"no optimizer {name!r}{hint}")
    if inspect.signature(cls.step).parameters["closure"].default is inspect.Parameter.empty:
        raise ValueError(f"torch.{cls.__name__} runs the model in its step, this loop before it")
    return cls


def torch_classes() -> list[type[torch.optim.Optimizer]]:
    """All optimizers that this torch has."""
    return [
        cls
        for cls in vars(torch.optim).values()
        if isinstance(cls, type)
        and issubclass(cls, torch.optim.Optimizer)
        and cls is not torch.optim.Optimizer
    ]


def read_hypers(found: Found, rest: Sequence[str], flags: Sequence[str] = ()) -> dict[str, Any]:
    """The hypers among a command's arguments, typed as their defaults are."""
    texts = read_flags(rest)
    check_hypers(found.name, texts, found.defaults, flags)
    return {name: read_value(name, text, found.defaults[name]) for name, text in texts.items()}


def with_hyper(found: Found, hypers: Mapping[str, object], name: str, value: object) -> Any:
    """Hypers with one more, which may be an element of a tuple (beta2) or a short name (wd).

    Raises ValueError, with the nearest name, for a hyper that the class does not have.
    """
    key, index = place(found, name)
    if index is None:
        return {**hypers, key: value}
    before: Any = hypers.get(key, found.defaults[key])
    held = [*before]
    held[index] = value
    return {**hypers, key: tuple(held)}


def place(found: Found, name: str) -> names.Place:
    """Where a constructor takes a hyper: an argument, or an element of one of torch's tuples."""
    places: dict[str, names.Place] = {key: (key, None) for key in found.defaults}
    for key, members in names.TUPLES.items():
        if isinstance(held := found.defaults.get(key), tuple):
            places.update({member: (key, i) for i, member in enumerate(members[: len(held)])})
    long = names.resolve(name, places)
    check_hypers(found.name, [long], places)
    return places[long]


def default_of(found: Found, name: str) -> object:
    """The default of a hyper, wherever the constructor takes it."""
    key, index = place(found, name)
    held: Any = found.defaults[key]
    return held if index is None else held[index]


def maker(found: Found, hypers: Mapping[str, Any]) -> MakeOptimizer:
    """A function that makes the optimizer for a model; ValueError with its words if it cannot.

    All optimizers get the same groups: no weight decay on biases and norms.
    """

    def make(model: nn.Module) -> torch.optim.Optimizer:
        with value_errors(found):
            if found.ours:
                return registry.create(found.name, model, **hypers)
            return found.cls(grouped(found, model, hypers), **hypers)

    return make


def grouped(found: Found, model: nn.Module, hypers: Mapping[str, Any]) -> Any:
    """What `registry.create` gives our classes, for torch's."""
    if "weight_decay" not in found.defaults:
        return model.named_parameters()
    weight_decay = hypers.get("weight_decay", found.defaults["weight_decay"])
    return groups.no_decay(model, weight_decay=weight_decay, named=True)


@contextmanager
def value_errors(found: Found) -> Generator[None, None, None]:
    """Turn what a constructor raises into a ValueError that begins with the optimizer's name."""
    try:
        yield
    except (TypeError, ValueError) as error:
        message = str(error)
        own = message.startswith(found.name)
        raise ValueError(message if own else f"{found.name}: {message}") from error


def pairs(hypers: Mapping[str, object]) -> str:
    """Hypers as people write them: `lr=0.001, betas=(0.9, 0.99)`."""
    return ", ".join(f"{key}={value!r}" for key, value in hypers.items())


def label_of(name: str, hypers: Mapping[str, object]) -> str:
    """An optimizer as people write it: `Lion(lr=0.001)`, or its name alone."""
    return f"{name}({pairs(hypers)})" if hypers else name
