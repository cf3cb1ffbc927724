"""What a procedure is called with: p, its gradient, the state, and the rest by name."""

from __future__ import annotations

import dis
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
    absent: frozenset[str] = frozenset()  # names that are None if nobody gives them
    signed: frozenset[str] = frozenset()  # the names of its signature
    keywords: str = ""  # the name of its **kwargs, if it uses them
    loops: bool = False  # it goes through parameters on its own


def arguments(
    world: World,
    parameters: Iterable[inspect.Parameter],
    numbers: Mapping[str, float],
    constants: Mapping[str, Any],
    asked: Asked,
    first_is_p: bool = True,
) -> tuple[list[Any], dict[str, Any]]:
    """What a function gets: p, its gradient, the state, and the rest by name.

    Where no argument is called p, the first one is p, whatever its name.
    """
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    listed = list(parameters)
    unnamed = first_is_p and not any(arg.name in P for arg in listed)
    for i, arg in enumerate(listed):
        if arg.kind is arg.VAR_KEYWORD:
            kwargs |= world.more
        if arg.kind in (arg.VAR_KEYWORD, arg.VAR_POSITIONAL):
            continue
        given = _argument(world, arg, unnamed and i == 0, numbers, constants, asked)
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
    may_be_p: bool,
    numbers: Mapping[str, float],
    constants: Mapping[str, Any],
    asked: Asked,
) -> Any:
    name = arg.name
    whole = {**dict.fromkeys(P, world.p), **dict.fromkeys(G, world.g), "state": world.state}
    if name in constants:
        return constants[name]
    if name in whole and arg.default is arg.empty:
        return whole[name]
    if may_be_p and arg.default is arg.empty and name not in asked.hypers:
        return world.p
    if name in world.state:
        return world.state[name]
    if name in numbers or name in asked.hypers:
        return world.hyper(name)
    if arg.default is not arg.empty:
        return _LEFT_OUT
    if name == "step":
        return world.counter()
    world.required.add(name)
    return world.hyper(name, guess=asked.guess and name not in HYPERS)


@contextmanager
def unwritten(world: World, rebind: Rebinder, copied: Any) -> Generator[None]:
    """Raise for what the code sets on its object within a with-block: it would be lost."""
    before = dict(getattr(copied, "__dict__", {}))
    for name, value in before.items():
        rebind.watch.add(value, f"self.{name}")
    yield
    for name, value in getattr(copied, "__dict__", {}).items():
        if before.get(name, before) is not value:
            world.recorder.refuse(
                f"sets self.{name} in a step", "keep in the state what changes from step to step"
            )


def assigned_in(fn: Any) -> set[str]:
    """The variables that a function binds to something of its own."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    steps = dis.get_instructions(code) if code else ()
    stored = (step.argval for step in steps if "STORE" in step.opname)
    return {n for argval in stored for n in (argval if isinstance(argval, tuple) else (argval,))}


def keywords_of(fn: Any) -> str:
    """The name of a function's **kwargs if its code uses them, else ""."""
    code = getattr(getattr(fn, "__func__", fn), "__code__", None)
    if code is None or not code.co_flags & inspect.CO_VARKEYWORDS:
        return ""
    place = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & inspect.CO_VARARGS)
    name = code.co_varnames[place]
    used = (step.argval for step in dis.get_instructions(code) if step.opname.startswith("LOAD"))
    return name if any(name in (u if isinstance(u, tuple) else (u,)) for u in used) else ""


def snake(name: str) -> str:
    """A class's name as a function's: ada_belief."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
