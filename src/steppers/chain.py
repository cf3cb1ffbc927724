"""A chain: rules in order. Reads their signatures, and finds what is wrong with a single rule.

It knows names, not tensors. How the names of several rules fit together is seen in binding.py.
"""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

RESERVED = ("p", "g", "u", "t", "params", "step", "chain", "seed", "betas")
SWITCHES = (  # arguments of the constructor and keys of a group, so that no hyper is called that
    "maximize", "foreach", "fused", "capturable", "differentiable", "engine", "steps", "chains",
    "further", "evaluate", "train_mode", "skip_nonfinite", "state_dtype", "rounding",
)  # fmt: skip
REQUIRED: Any = inspect.Parameter.empty


class Initialiser(Protocol):
    """What a slot's default must offer (slots.py has those of the library)."""

    name: str
    shape: str

    def hyper(self) -> str | None: ...


@dataclass(frozen=True)
class Rule:
    """One step of a chain: a pure function and what its signature declares."""

    name: str
    fn: Callable[..., Any]
    bound: tuple[tuple[str, Any], ...]  # constants given by functools.partial
    exact: str  # how these print: 0.0 == -0.0 and 1 == True, but they are not one rule
    by_place: tuple[str, ...]  # those of the arguments that cannot be passed by name
    reads: tuple[str, ...]  # positional arguments: tensors, by name
    slots: tuple[tuple[str, Any], ...]  # those of them that it keeps, with their initialisers
    keywords: tuple[tuple[str, Any], ...]  # t, hypers and kept scalars, with defaults

    def __call__(self, values: Mapping[str, Any]) -> Any:
        """Call the function on the values of its names."""
        by_name = (*self.reads[len(self.by_place) :], *(name for name, _ in self.keywords))
        return self.fn(
            *(values[name] for name in self.by_place),
            **{name: values[name] for name in by_name},
            **dict(self.bound),
        )


@dataclass(frozen=True)
class ByShape:
    """A step that chooses by a parameter's ndim: `matrices` for ndim >= 2, `others` below."""

    matrices: tuple[Rule, ...] | None
    others: tuple[Rule, ...] | None


Step: TypeAlias = Rule | ByShape
Steps: TypeAlias = Sequence[Any]


def by_shape(*, matrices: Steps | None = None, others: Steps | None = None) -> ByShape:
    """One step that runs other rules for matrices (ndim >= 2) than for the other parameters.

    A side left out refuses such parameters when they are added to the optimizer.
    """
    if matrices is None and others is None:
        raise TypeError(
            "by_shape: it chooses between matrices and others, got neither; "
            "write by_shape(matrices=[…], others=[…])"
        )
    return ByShape(*(None if s is None else flatten(s) for s in (matrices, others)))


def flatten(steps: Steps | Callable[..., Any]) -> tuple[Rule, ...]:
    """Rules of a list without choices by shape."""
    rules = [read_step(step) for step in (steps if isinstance(steps, Sequence) else (steps,))]
    for rule in rules:
        if isinstance(rule, ByShape):
            raise TypeError("by_shape: a choice by shape cannot hold another one")
    return tuple(rules)  # pyright: ignore[reportReturnType]


def read_step(step: Any) -> Step:
    """A function, a functools.partial of one, or the result of `by_shape`, as a step."""
    return step if isinstance(step, Rule | ByShape) else _read_rule(step)


def _read_rule(given: Any) -> Rule:
    fn, bound = _unbind(given)
    name = _name(fn)
    reads: list[str] = []
    by_place: list[str] = []
    slots: list[tuple[str, Any]] = []
    keywords: list[tuple[str, Any]] = []
    arguments = _arguments(name, fn)
    for arg in arguments.values():
        if arg.kind in (arg.VAR_POSITIONAL, arg.VAR_KEYWORD):
            raise TypeError(f"{name}: rules have no *args or **kwargs, got {arg}; name each value")
        if arg.name in bound:
            continue
        if arg.kind is arg.KEYWORD_ONLY:
            keywords.append((arg.name, _keyword_default(name, arg)))
            continue
        reads.append(arg.name)
        if arg.kind is arg.POSITIONAL_ONLY:
            by_place.append(arg.name)
        if arg.default is not arg.empty:
            slots.append((arg.name, _initialiser(name, arg)))
    for unknown in sorted(set(bound) - set(arguments)):
        raise TypeError(f"{name}: it has no argument {unknown!r} to bind")
    _refuse_reserved(name, (n for n, _ in slots), RESERVED)
    _refuse_reserved(name, (n for n, _ in keywords if n != "t"), (*RESERVED, *SWITCHES))
    constants = tuple(sorted(bound.items()))
    return Rule(
        name, fn, constants, repr(constants), tuple(by_place), tuple(reads), tuple(slots),
        tuple(keywords),
    )  # fmt: skip


def _unbind(fn: Any) -> tuple[Any, dict[str, Any]]:
    """A function and the constants that functools.partial bound to it."""
    bound: dict[str, Any] = {}
    while isinstance(fn, functools.partial):
        if fn.args:
            raise TypeError(f"{_name(fn.func)}: bind constants by keyword, not by position")
        bound = {**fn.keywords, **bound}
        fn = fn.func
    if not callable(fn):
        raise TypeError(f"steps holds functions, got {fn!r} ({type(fn).__name__})")
    try:
        hash(tuple(bound.values()))
    except TypeError:
        raise TypeError(f"{_name(fn)}: bound constants must be hashable, got {bound}") from None
    return fn, bound


def _arguments(name: str, fn: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(fn).parameters
    except ValueError:  # a builtin
        raise TypeError(
            f"steps holds functions whose arguments Python can read, got {fn!r}; write a rule "
            f"that calls {name}: def rule(g): return dict(g={name}(g))"
        ) from None


def _name(fn: Any) -> str:
    return getattr(fn, "__name__", type(fn).__name__)


def _keyword_default(rule: str, arg: inspect.Parameter) -> Any:
    if arg.name == "t" and arg.default is not arg.empty:
        raise TypeError(f"{rule}: t is the step count and takes no default; write `*, t`")
    if hasattr(arg.default, "hyper"):
        raise TypeError(
            f"{rule}: {arg.name} is a slot ({arg.default!r}), and slots are positional; "
            f"put {arg.name} before the *"
        )
    if arg.default is not arg.empty and not isinstance(arg.default, int | float):
        raise TypeError(
            f"{rule}: hyper-parameter {arg.name} needs a number as default or none, "
            f"got {arg.default!r}; bind other constants with functools.partial"
        )
    return arg.default


def _initialiser(rule: str, arg: inspect.Parameter) -> Any:
    if not hasattr(arg.default, "hyper"):
        raise TypeError(
            f"{rule}: the positional argument {arg.name}={arg.default!r} is read as a slot, whose "
            "default is an initialiser (zeros, copy_of_p, …); a hyper-parameter goes after the *"
        )
    return arg.default


def _refuse_reserved(rule: str, names: Iterable[str], reserved: tuple[str, ...]) -> None:
    for name in names:
        if name in reserved:
            raise TypeError(
                f"{rule}: {name!r} is reserved and names neither a slot nor a hyper-parameter "
                f"(reserved: {', '.join(reserved)})"
            )


# --- rules in order ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Chain:
    """`steps` and further chains (`evaluate`, …) over the same slots, for one static choice."""

    name: str
    chains: tuple[tuple[str, tuple[Step, ...]], ...]

    def at(self, ndim: int) -> dict[str, tuple[Rule, ...]]:
        """The rules of each chain for parameters of that many dimensions."""
        return {which: self._flat(steps, ndim) for which, steps in self.chains}

    def _flat(self, steps: tuple[Step, ...], ndim: int) -> tuple[Rule, ...]:
        flat: list[Rule] = []
        for step in steps:
            if isinstance(step, Rule):
                flat.append(step)
                continue
            side = step.matrices if ndim >= 2 else step.others
            if side is None:
                wanted = "matrices (ndim >= 2)" if ndim < 2 else "vectors and scalars (ndim < 2)"
                dimensions = f"{ndim} dimension{'s' * (ndim != 1)}"
                raise ValueError(
                    f"{self.name} only takes {wanted}, got a parameter of {dimensions}; "
                    "give the others another chain or optimizer (steppers.groups.by_ndim splits)"
                )
            flat.extend(side)
        return tuple(flat)

    def shapes(self) -> tuple[int, ...]:
        """An ndim for each class of shapes that the chain takes (2 for matrices, 1 for others)."""
        sides = [s for _, steps in self.chains for s in steps if isinstance(s, ByShape)]
        if not sides:
            return (2,)
        return tuple(
            ndim
            for ndim in (2, 1)
            if all((s.matrices if ndim == 2 else s.others) is not None for s in sides)
        )


def make_chain(name: str, steps: Any, further: Mapping[str, Any] | None = None) -> Chain:
    """Read the signatures of `steps` and of further chains into a Chain."""
    named = {"steps": steps, **(further or {})}
    chains: list[tuple[str, tuple[Step, ...]]] = []
    for which, given in named.items():
        listed = given if isinstance(given, list | tuple) else (given,)
        if not listed:
            raise TypeError(f"{name}: {which} is empty; an optimizer needs at least one rule")
        chains.append((which, tuple(read_step(step) for step in listed)))
    return Chain(name, tuple(chains))


def suggest(word: str, known: Iterable[str]) -> str:
    """'; did you mean "x"?' for the nearest known name, or nothing."""
    near = difflib.get_close_matches(word, sorted(known), 1, 0.6)
    return f"; did you mean {near[0]!r}?" if near else ""
