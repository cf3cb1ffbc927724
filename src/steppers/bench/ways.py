"""Ways to take the same step: ours, torch's, other libraries'."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch.nn import Parameter

Params = list[Parameter]
Family = Literal["steppers", "torch", "peer"]
# torch's implementations of one class, by the flag that asks for them.
FLAGS = {
    "fused": {"fused": True},
    "foreach": {"foreach": True},
    "loop": {"foreach": False},
}


class Stepper(Protocol):
    """Whatever takes steps."""

    def step(self) -> object:
        """Take one step on the present gradients."""
        ...


@dataclass(frozen=True)
class Way:
    """One implementation: its name, whose it is, and how it is made for some parameters."""

    label: str
    family: Family
    make: Callable[[Params], Stepper]
    version: str = ""


def torch_ways(name: str, hypers: Mapping[str, Any]) -> tuple[Way, ...]:
    """torch.optim's implementations of the class of that name; none where it has no such class."""
    cls = getattr(torch.optim, name, None)
    if cls is None:
        return ()
    known = inspect.signature(cls).parameters
    flags = {way: flag for way, flag in FLAGS.items() if flag.keys() <= known.keys()}
    return tuple(
        Way(f"torch {way}".strip(), "torch", maker(cls, {**hypers, **flag}), torch.__version__)
        for way, flag in (flags or {"": {}}).items()
    )


def maker(cls: Callable[..., Stepper], options: Mapping[str, Any]) -> Callable[[Params], Stepper]:
    """A function that makes an optimizer with these options."""

    def make(params: Params) -> Stepper:
        return cls(params, **options)

    return make
