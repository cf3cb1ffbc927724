"""The forms that people write optimizers in, each as procedures that a World can run.

A callback or a stepper is a function of p and names; a stat an object with init_state and update; a
class has opt_step and reg_step, step_param, update_parameter or a step of its own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch

from ...chain import REQUIRED
from ...optimizer import Optimizer
from . import symbols
from .arguments import (
    HYPERS,
    Asked,
    G,
    P,
    Procedure,
    arguments,
    assigned_in,
    keywords_of,
    snake,
    unwritten,
)
from .classes import METHODS, built_of, differing, group_of, methods_of
from .rebinding import Rebinder
from .worlds import World, is_hyper


def procedures(
    what: Any, method: str | None, asked: Asked, options: Mapping[str, Any]
) -> list[Procedure]:
    """The procedures of a function, an object or a class, in the order in which they run."""
    _refuse_others(what)
    if isinstance(what, type) and hasattr(what, "init_state") and hasattr(what, "update"):
        what = what(**options)
    if method is None and not isinstance(what, type) and _is_stat(what):
        return [_stat(what, asked)]
    is_class = isinstance(what, type) or any(hasattr(what, m) for m in ("opt_step", *METHODS))
    if is_class or method or not callable(what):
        built = built_of(what, options) if isinstance(what, type) else what
        return methods_of(built, what, method, asked, options)
    return [_function(what, asked, options)]


def parts(what: Any) -> list[Any] | None:
    """The callbacks of an optimizer that has them, or its stats and steppers; None for others."""
    if isinstance(what, type) or not isinstance(what, torch.optim.Optimizer):
        return None
    if any(held.get("do_wd") is False for held in what.state.values()):
        raise TypeError(
            f"lift: parameters of {type(what).__name__} are marked do_wd=False, and a rule is the "
            "same for all of a group; lift one without marks, and give them a group with wd=0"
        )
    callbacks = getattr(what, "cbs", None)
    if isinstance(callbacks, list | tuple):  # one of them may hold several, composed
        return [one for each in callbacks for one in getattr(each, "steppers", (each,))]
    steppers = getattr(what, "steppers", None)
    if not isinstance(steppers, list | tuple):
        return None
    return [*getattr(what, "stats", ()), *sorted(steppers, key=lambda s: getattr(s, "_order", 0))]


def with_hypers(found: list[Procedure], optimizer: Any) -> list[Procedure]:
    """Procedures whose defaults are the hypers of an optimizer, where its groups have the same."""
    given = {n: v for n, v in group_of(optimizer).items() if is_hyper(v)}
    given |= dict.fromkeys(given.keys() & differing(optimizer), REQUIRED)
    return [
        replace(each, hypers={n: given.get(n, d) for n, d in each.hypers.items()}) for each in found
    ]


def _refuse_others(what: Any) -> None:
    """Raise TypeError for what is no code of somebody's."""
    if isinstance(what, str | torch.Tensor) or not (callable(what) or hasattr(what, "__dict__")):
        raise TypeError(f"lift: it takes a function, a class or an optimizer, got {what!r}")
    cls = what if isinstance(what, type) else type(what)
    if issubclass(cls, Optimizer):
        raise TypeError(f"lift: {cls.__name__} is made of rules already: pass it as it is")
    if issubclass(cls, torch.optim.Optimizer) and cls.__module__.startswith("torch."):
        raise TypeError(
            f"lift: torch.optim.{cls.__name__} keeps its maths in kernels; steppers has its own: "
            f"steppers.create({cls.__name__.lower()!r}, …)"
        )
    if inspect.isbuiltin(what):
        raise TypeError(f"lift: {what!r} has no Python code to run on stand-ins")


def _is_stat(what: Any) -> bool:
    return hasattr(what, "init_state") and hasattr(what, "update")


# --- functions ---------------------------------------------------------------------------------


def _function(what: Any, asked: Asked, options: Mapping[str, Any]) -> Procedure:
    fn, bound = _unbound(what)
    bound = {**bound, **options}
    name = getattr(fn, "__name__", type(fn).__name__)
    named = "lifted" if name == "<lambda>" else name
    parameters = inspect.signature(fn).parameters
    open_ended = any(arg.kind is arg.VAR_KEYWORD for arg in parameters.values())
    for unknown in sorted(bound.keys() - parameters.keys() if not open_ended else ()):
        raise TypeError(f"lift: {name} takes no {unknown!r}; it has {', '.join(parameters)}")
    slots = any(hasattr(arg.default, "hyper") for arg in parameters.values())
    if slots or str(fn.__module__).startswith("steppers.rules"):
        raise TypeError(f"lift: {name} is a rule already: pass it as it is")
    attached = {n: v for n, v in _attached(fn).items() if is_hyper(v)}
    signed = {a.name: a.default for a in parameters.values() if a.default is not a.empty}
    numbers = {n: v for n, v in {**signed, **attached, **bound}.items()
               if is_hyper(v) and n not in asked.constants}  # fmt: skip
    constants = {n: v for n, v in bound.items() if n not in numbers}

    def start(rebind: Rebinder, asked: Asked) -> Callable[[World], None]:
        def run(world: World) -> None:
            copied = rebind(fn) if inspect.isroutine(fn) else rebind.instance(fn)
            args, kwargs = arguments(world, parameters.values(), numbers, constants, asked)
            with unwritten(world, rebind, copied):
                _take(world, copied(*args, **kwargs), whole="state" in kwargs)

        return run

    required = {a.name: REQUIRED for a in parameters.values() if a.name not in numbers}
    unclear = _unclear(parameters.values(), {*numbers, *constants})
    assigned = assigned_in(fn)
    absent = frozenset(n for n, d in signed.items() if d is None and n not in {*bound, *assigned})
    return Procedure(
        named, start, numbers, fn.__module__, {**required, **numbers}, unclear, absent,
        frozenset(parameters), keywords_of(fn if inspect.isroutine(fn) else type(fn).__call__),
    )  # fmt: skip


def _unclear(arguments: Iterable[inspect.Parameter], settled: set[str]) -> frozenset[str]:
    """Names without a default that may be hypers or state."""
    bare = {a.name for a in arguments if a.default is a.empty
            and a.kind not in (a.VAR_KEYWORD, a.VAR_POSITIONAL)}  # fmt: skip
    return frozenset(bare - settled - HYPERS - {*P, *G, "state", "group", "step"})


def _unbound(what: Any) -> tuple[Any, dict[str, Any]]:
    bound: dict[str, Any] = {}
    while isinstance(what, functools.partial):
        if what.args:
            raise TypeError(f"lift: bind the arguments of {what.func!r} by keyword")
        bound = {**what.keywords, **bound}
        what = what.func
    return what, bound


def _attached(fn: Any) -> dict[str, Any]:
    """Defaults that a callback carries as an attribute."""
    found: dict[str, Any] = {}
    for name in ("_defaults", "defaults"):
        given = getattr(fn, name, None)
        found |= given if isinstance(given, dict) else {}
    return found


def _take(world: World, result: Any, whole: bool) -> None:
    """A returned dict is new state, or all of it; p itself may be returned, and nothing else."""
    if isinstance(result, Mapping):
        if result is not world.state:
            for name, value in result.items():
                world.state[name] = value
            lacking = world.state.items_.keys() - result.keys()
            if whole and lacking:
                world.recorder.refuse(
                    f"returns a state without {min(lacking)}", "return all of the state"
                )
    elif symbols.is_stand(result) and result.lift_cell is not world.p.lift_cell:
        world.recorder.refuse(
            "returns another tensor than p", "change p in place, or return new state as a dict"
        )
    elif isinstance(result, tuple | list):
        world.recorder.refuse(f"returns a {type(result).__name__}", "return new state as a dict")


# --- stats -------------------------------------------------------------------------------------


def _stat(stat: Any, asked: Asked) -> Procedure:
    name = snake(type(stat).__name__)
    numbers = {n: v for n, v in _attached(stat).items() if is_hyper(v)}
    parameters = list(inspect.signature(stat.update).parameters.values())
    numbers |= {a.name: a.default for a in parameters if is_hyper(a.default)}

    def start(rebind: Rebinder, asked: Asked) -> Callable[[World], None]:
        def run(world: World) -> None:
            copied = rebind.instance(stat)
            if world.first:
                for key, value in copied.init_state(world.p).items():
                    if key not in world.state:
                        world.state[key] = value
            args, kwargs = arguments(world, parameters, numbers, {}, asked)
            with unwritten(world, rebind, copied):
                _take(world, copied.update(*args, **kwargs), whole=True)

        return run

    required = {a.name: REQUIRED for a in parameters if a.name not in numbers}
    unclear = _unclear(parameters, set(numbers))
    module = type(stat).__module__
    return Procedure(
        name, start, numbers, module, {**required, **numbers}, unclear,
        signed=frozenset(a.name for a in parameters), keywords=keywords_of(stat.update),
    )  # fmt: skip
