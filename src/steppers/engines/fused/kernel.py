"""A pass as a kernel: what is done for each element, for each tensor, and what is left to torch.

Nothing here depends on a target. A kernel computes values shaped as p, and the per-tensor and
global numbers that these need. Values of other shapes (rows, columns, matrices of a side) and
matrix ops are torch's work between the kernels.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from ...passes import Selection, Step, select
from ...program import Program
from ...tracing import FIRST, FULL, GLOBAL, PER_TENSOR, Value

DECIDED = 3  # conditions that choose between variants; of others both sides are computed
FLAT, LAST, REST = "flat", "last", "rest"  # how a kernel walks: elements, rows, first-axis slices
Taken: TypeAlias = tuple[bool | None, ...]


@dataclass(frozen=True, eq=False)
class Kernel:
    """One variant of a pass: its conditions decided."""

    steps: tuple[Step, ...]  # per-tensor values and values shaped as p, in order
    shared: tuple[tuple[Value, tuple[Any, ...]], ...]  # global values, in double precision
    reads: tuple[tuple[str, Value], ...]  # p, g and slots, and which value each holds by now
    given: tuple[Value, ...]  # shaped as p, made by torch: results of matrix ops
    small: tuple[Value, ...]  # slots and values of other shapes
    stores: tuple[tuple[str, Any], ...]
    handed: tuple[tuple[Value, int, Any], ...]  # operands of matrix ops: op, position, value
    sums: tuple[tuple[Value, tuple[Any, ...]], ...]  # reductions and totals of what is shaped as p

    @property
    def idle(self) -> bool:
        """Nothing to do."""
        return not (self.stores or self.handed or self.sums)


def is_small(value: Any) -> bool:
    """True for a value that has axes, but not p's."""
    return isinstance(value, Value) and not isinstance(value.extent, str) and value.extent != FULL


def is_full(value: Any) -> bool:
    """True for a value shaped as p."""
    return isinstance(value, Value) and value.extent == FULL


@functools.cache
def selection(program: Program, number: int, taken: Taken) -> Selection:
    """A pass with its conditions decided."""
    decided = dict(zip(program.conditions, taken, strict=True))
    return select(program.passes[number], program.outputs.values(), decided)


def variants(program: Program) -> list[Taken]:
    """Every way to decide the conditions that choose between variants."""
    count = len(program.conditions)
    left = (None,) * max(0, count - DECIDED)
    return [(*each, *left) for each in itertools.product((False, True), repeat=min(count, DECIDED))]


def variant_of(taken: Taken) -> int:
    """The place of a decision in `variants`."""
    place = 0
    for each in taken[:DECIDED]:
        place = 2 * place + bool(each)
    return place


@functools.cache
def kernel(
    program: Program, number: int, taken: Taken, exact: frozenset[str] = frozenset()
) -> Kernel:
    """What a pass does for the elements of p.

    A slot of those that are stored `exact`, as they were computed, may be stored before its last
    pass: where an earlier one computes the new value anyway, and no later one needs the old.
    """
    chosen, moved = selection(program, number, taken), early(program, taken, exact)
    held = {v: name for v, (name, place) in moved.items() if place < number}
    roots, stores, handed, sums = _roots(program, number, taken)
    stores = [(n, v) for n, v in stores if v not in moved or moved[v][0] != n]
    stores += [(name, v) for v, (name, place) in moved.items() if place == number]
    roots = [*(v for _, v in stores), *roots]
    made = {step.value: step for step in chosen.steps if not is_small(step.value)}
    made_globals = dict(chosen.shared)
    made = {v: step for v, step in made.items() if v not in held}
    reached = _reach(roots, made, made_globals)
    inputs = {v: None for v in reached if v not in made and v not in made_globals}
    read = [(name, v) for name, v in program.inputs.items() if v in inputs and is_full(v)]
    read += [(name, v) for v, name in held.items() if v in inputs]
    return Kernel(
        steps=tuple(step for value, step in made.items() if value in reached),
        shared=tuple((v, args) for v, args in made_globals.items() if v in reached),
        reads=tuple(read),
        given=tuple(v for v in inputs if is_full(v) and not v.is_input and v not in held),
        small=tuple(v for v in inputs if is_small(v)),
        stores=tuple(stores),
        handed=tuple(handed),
        sums=tuple(sums),
    )


def _roots(program: Program, number: int, taken: Taken) -> tuple[list[Any], ...]:
    """What a pass computes beside its stores, then the stores, operands and sums themselves."""
    chosen = selection(program, number, taken)
    stores = [(n, v) for n, v in chosen.stores.items() if full_slot(program, n)]
    handed = [(end, i, arg) for end, args in chosen.ends if end.kind == "matrix"
              for i, arg in enumerate(args) if is_full(arg)]  # fmt: skip
    sums = [(end, args) for end, args in chosen.ends if is_kernels(end, args)]
    roots = [*(v for _, _, v in handed), *(a for _, row in sums for a in row)]
    return roots, stores, handed, sums


@functools.cache
def early(program: Program, taken: Taken, exact: frozenset[str]) -> dict[Value, tuple[str, int]]:
    """New values that are stored before their last pass, and read again: their slots, and where."""
    found: dict[Value, tuple[str, int]] = {}
    count = range(len(program.passes))
    for number in count if exact else ():
        for name, value in _roots(program, number, taken)[1]:
            if name in exact and is_full(value) and not value.is_input and value not in found:
                places = (k for k in count[:number] if _may_store(program, taken, name, value, k))
                place = next(places, None)
                if place is not None:
                    found[value] = name, place
    return found


def _may_store(program: Program, taken: Taken, name: str, value: Value, place: int) -> bool:
    """True if a pass computes the value anyway, and no later one needs what the slot held."""
    if value not in _needs(program, place, taken, None):
        return False
    old = program.inputs.get(name)
    later = range(place + 1, len(program.passes))
    return all(old not in _needs(program, each, taken, value) for each in later)


def _needs(program: Program, number: int, taken: Taken, known: Value | None) -> dict[Any, None]:
    """All that a pass needs, where one value is known."""
    chosen, (roots, stores, *_) = selection(program, number, taken), _roots(program, number, taken)
    made = {step.value: step for step in chosen.steps if step.value is not known}
    kept = [v for _, v in stores] if known is not None else []
    return _reach([*kept, *roots], made, dict(chosen.shared))


def is_kernels(end: Value, args: Iterable[Any]) -> bool:
    """True for a reduction or total that a kernel makes: of what is shaped as p."""
    return end.kind in ("reduce", "total") and any(map(is_full, args))


def full_slot(program: Program, name: str) -> bool:
    """True for p and slots shaped as p."""
    return name == "p" or program.slots[name].shape == "p"


def _reach(
    roots: Iterable[Any], made: dict[Value, Step], shared: dict[Value, Any]
) -> dict[Value, None]:
    """All that the roots need, as the keys of a dict: the == of values is traced."""
    found: dict[Value, None] = {}
    stack = [v for v in roots if isinstance(v, Value)]
    while stack:
        value = stack.pop()
        if value not in found:
            found[value] = None
            args = wanted(made[value]) if value in made else shared.get(value, ())
            stack += [a for a in args if isinstance(a, Value)]
    return found


def wanted(step: Step) -> tuple[Any, ...]:
    """The operands whose values an element needs: of a draw and a spread the shape is known."""
    if step.value.kind == "random":
        return step.args[1:]
    return step.args[:1] if step.value.op == "spread" else step.args


@functools.cache
def walk_of(program: Program, number: int) -> str:
    """How a pass walks over memory: by elements, by rows, or by slices of the first axis."""
    if not _extents(program, number):
        return FLAT
    passes = range(len(program.passes))
    extents = set[Any]().union(*(_extents(program, each) for each in passes))
    return REST if extents == {FIRST} else LAST


def _extents(program: Program, number: int) -> set[Any]:
    """The other shapes that a pass reads or makes."""
    extents: set[Any] = set()
    for taken in variants(program):
        each = kernel(program, number, taken)
        extents |= {v.extent for v in each.small}
        extents |= {end.extent for end, _ in each.sums if end.extent not in (PER_TENSOR, GLOBAL)}
    return extents
