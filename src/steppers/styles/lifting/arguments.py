"""What a procedure is called with: p, its gradient, the state, and the rest by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ...names import RANGES, SHORT
from .rebinding import Rebinder
from .worlds import World

HYPERS = frozenset({*RANGES, *SHORT, "beta", "nu_1", "nu_2", "trust_coeff"})
P, G = ("p", "param", "parameter"), ("g", "grad", "gradient")


@dataclass(frozen=True)
class Asked:
    """What the caller of lift says about names."""

    hypers: frozenset[str] = frozenset()
    constants: frozenset[str] = frozenset()
    guess: bool = True  # names without a default may be state; else they are hypers


@dataclass(frozen=True)
class Procedure:
    """One thing to run on a parameter: `start(rebinder)` gives what runs it in a World."""

    name: str
    start: Callable[[Rebinder, Asked], Callable[[World], None]]
    defaults: Mapping[str, float]  # numbers that the signature or the class gives
    module: str
    hypers: Mapping[str, Any]  # in order, with defaults or REQUIRED
    unclear: frozenset[str] = frozenset()  # names that may be state or hypers


def arguments(
    world: World,
    parameters: Iterable[inspect.Parameter],
    numbers: Mapping[str, float],
    constants: Mapping[str, Any],
    asked: Asked,
) -> tuple[list[Any], dict[str, Any]]:
    """What a function gets: p, its gradient, the state, and the rest by name."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    for i, arg in enumerate(parameters):
        if arg.kind in (arg.VAR_KEYWORD, arg.VAR_POSITIONAL):
            continue
        given = _argument(world, arg, i, numbers, constants, asked)
        if given is _LEFT_OUT:
            continue
        if arg.kind is arg.POSITIONAL_ONLY:
            args.append(given)
        else:
            kwargs[arg.name] = given
    return args, kwargs


_LEFT_OUT = object()


def _argument(
    world: World,
    arg: inspect.Parameter,
    place: int,
    numbers: Mapping[str, float],
    constants: Mapping[str, Any],
    asked: Asked,
) -> Any:
    name = arg.name
    whole = {**dict.fromkeys(P, world.p), **dict.fromkeys(G, world.g), "state": world.state}
    if name in world.state:
        return world.state[name]
    if name in constants:
        return constants[name]
    if name in numbers or name in asked.hypers:
        return world.hyper(name)
    if name in whole and arg.default is arg.empty:
        return whole[name]
    if arg.default is not arg.empty:
        return _LEFT_OUT
    if place == 0 and not asked.guess:
        return world.p
    if name == "step":
        return world.counter()
    return world.hyper(name, guess=asked.guess and name not in HYPERS)


@contextmanager
def unwritten(world: World, copied: Any) -> Generator[None]:
    """Raise for an attribute that the code sets within a with-block: it would be lost."""
    before = dict(getattr(copied, "__dict__", {}))
    yield
    for name, value in getattr(copied, "__dict__", {}).items():
        if before.get(name, before) is not value:
            world.recorder.refuse(
                f"sets self.{name} in a step", "keep in the state what changes from step to step"
            )


def snake(name: str) -> str:
    """A class's name as a function's: ada_belief."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
