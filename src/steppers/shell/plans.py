"""Plans: what a run of a chain works on, kept from step to step while nothing of it has changed.

A step looks at columns: which parameters have gradients, whether groups, parameters, states and
slots are the objects they were. Only what has changed since is gathered anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from itertools import repeat
from operator import attrgetter, is_, is_not, itemgetter
from typing import Any, TypeAlias

import torch
from torch import Tensor

from .. import engines
from . import kept, storing, work
from .counters import Counters
from .protocol import Shell
from .recipe import is_live
from .work import Work

Pieces: TypeAlias = list[tuple[str, Work]]  # the engine that runs each
MARKS = ("capturable", "differentiable", "foreach", "fused", "state_dtype", "rounding")
_grad, _layout = attrgetter("grad"), attrgetter("layout")


def same(a: Iterable[Any], b: Sequence[Any]) -> bool:
    """True if both hold the same objects in the same order."""
    a = list(a)
    return len(a) == len(b) and all(map(is_, a, b))


class Plans:
    """The plans of one optimizer, and what they share."""

    def __init__(self) -> None:
        self.counters: dict[int, Counters] = {}
        self.checked: set[Any] = set()  # chains that cannot be traced, seen to be pure
        self.kept: dict[str, Plan] = {}
        self.unfit = ""  # why generated kernels could not run what they were chosen for

    def run(self, optimizer: Shell, which: str, counting: bool, within: Any = None) -> None:
        """Run a chain where there are gradients, or on what has state in the groups `within`."""
        plan = self.kept.pop(which, None) if within is None else None
        if plan is None or not plan.holds(optimizer):
            plan, self.unfit = Plan(self, optimizer, which, within), ""
        try:
            plan.run(optimizer, counting)
        except engines.Unfit:  # nothing has moved; the tensors are not what they were
            plan = self._anew(optimizer, which, within, counting)
        if within is None and plan.lasting:  # one that failed is not kept
            self.kept[which] = plan

    def _anew(self, optimizer: Shell, which: str, within: Any, counting: bool) -> Plan:
        """Run with the engines that fit now; without generated kernels if these do not."""
        plan, self.unfit = Plan(self, optimizer, which, within), ""
        try:
            plan.run(optimizer, counting)
        except engines.Unfit as why:
            plan, self.unfit = Plan(self, optimizer, which, within, str(why)), str(why)
            plan.run(optimizer, counting)
        return plan

    def gather(
        self, optimizer: Shell, which: str, within: Sequence[Any], picks: Callable[[Tensor], bool]
    ) -> Pieces:
        """What there is to do, one piece for each group and class of shapes; nothing changes."""
        planned: Pieces = []
        number = 0
        for group in optimizer.param_groups:
            if any(group is each for each in within):
                members = [i for i, p in enumerate(group["params"]) if picks(p)]
                planned += self._pieces(optimizer, which, group, members, number)
            number += len(group["params"])
        return planned

    def _pieces(
        self, optimizer: Shell, which: str, group: dict[str, Any], members: list[int], number: int
    ) -> Pieces:
        owner, recipe, key = type(optimizer).__name__, *optimizer.recipe_and_key(group)
        if not members or which not in dict(recipe.chain(key).chains):
            return []
        engine = optimizer.choice_of(group).name
        values = recipe.values(owner, group, key, on_gpu=engine == "fused")
        pieces = work.by_program(recipe, key, group, values, members, number, self.checked)
        for piece in pieces:
            for p in piece.params:
                work.refuse(owner, p, piece.programs, which)
        return [(engine, piece) for piece in pieces]

    def prepare(self, optimizer: Shell, piece: Work) -> None:
        """Make the state that is missing, and read the counts."""
        piece.states = [optimizer.state[p] for p in piece.params]
        piece.counts = self.counter(piece.group).gather(
            piece.members, piece.states, piece.programs.binding.slots, piece.live
        )
        for state, p in zip(piece.states, piece.params, strict=True):
            work.init_state(state, p, piece.programs, piece.hypers, piece.group)
            work.check_state(type(optimizer).__name__, state, p, piece.programs)

    def counter(self, group: dict[str, Any]) -> Counters:
        """The counters of a group's parameters."""
        found = self.counters.get(id(group))
        if found is None or not found.fits(group["params"], bool(group["capturable"])):
            found = Counters(group["params"], bool(group["capturable"]))
            self.counters[id(group)] = found
        return found


class Plan:
    """One chain on the parameters that have gradients, and all that was true when it was made."""

    def __init__(
        self, plans: Plans, optimizer: Shell, which: str, within: Any, unfit: str = ""
    ) -> None:
        self.which = which
        self.fresh = True  # what it reads each step was read as it was made
        if within is None:
            found = plans.gather(optimizer, which, optimizer.param_groups, _has_gradient)
        else:
            found = plans.gather(optimizer, which, within, lambda p: bool(optimizer.state.get(p)))
        if unfit:
            found = [(_instead(optimizer, engine, piece, unfit), piece) for engine, piece in found]
        for _, piece in found:
            plans.prepare(optimizer, piece)
        self.pieces: Pieces = [(e, part) for e, piece in found for part in storing.alike(piece)]
        self.groups = list(optimizer.param_groups)
        self.marks = [_mark(optimizer, group) for group in self.groups]
        self.keyed = {id(g): mark[:2] for g, mark in zip(self.groups, self.marks, strict=True)}
        self.params = [list(group["params"]) for group in self.groups]
        self.flat = [p for params in self.params for p in params]
        self.present = [p.grad is not None for p in self.flat]
        self.keys, self.states = list(optimizer.state), list(optimizer.state.values())
        self.slots = [column for _, piece in self.pieces for column in _columns(piece)]
        self.counters = [plans.counter(piece.group) for _, piece in self.pieces]
        self.lasting = all(_lasting(piece) for _, piece in self.pieces)
        self.places = self._places()
        self.keeps = any(recipe.kept(key) for recipe, key in self.keyed.values())

    def _places(self) -> list[list[int]]:
        """For each piece the places of its parameters among all."""
        starts, start = dict[int, int](), 0
        for group, params in zip(self.groups, self.params, strict=True):
            starts[id(group)] = start
            start += len(params)
        return [[starts[id(piece.group)] + i for i in piece.members] for _, piece in self.pieces]

    def holds(self, optimizer: Shell) -> bool:
        """True if all is as it was; then the new gradients are taken up."""
        groups, state = optimizer.param_groups, optimizer.state
        if not same(groups, self.groups) or [_mark(optimizer, g) for g in groups] != self.marks:
            return False
        if not all(same(g["params"], p) for g, p in zip(groups, self.params, strict=True)):
            return False
        grads = list(map(_grad, self.flat))
        if list(map(is_not, grads, repeat(None))) != self.present:
            return False
        if not same(state, self.keys) or not same(state.values(), self.states):
            return False
        try:
            if not all(same(map(get, states), held) for states, get, held in self.slots):
                return False
        except KeyError:
            return False
        self._take(optimizer, grads)
        return True

    def _take(self, optimizer: Shell, grads: list[Any]) -> None:
        for (engine, piece), places in zip(self.pieces, self.places, strict=True):
            piece.grads = grads if len(places) == len(grads) else [grads[i] for i in places]
            if engine != "fused" and set(map(_layout, piece.grads)) - {torch.strided}:
                for grad in piece.grads:
                    work.refuse_sparse(type(optimizer).__name__, grad)
        self.fresh = False

    def run(self, optimizer: Shell, counting: bool) -> None:
        """Read hypers and counts, let the engines work, write the scalars back."""
        if not self.fresh:
            self._read(optimizer)
        common = work.run(self.pieces, self.which, counting)
        if self.keeps:
            keyed = ((g, *self.keyed[id(g)]) for g in self.groups if self.pieces)
            busy = [piece.group for _, piece in self.pieces]
            skipped = any(piece.skipped is True for _, piece in self.pieces)
            kept.settle(type(optimizer).__name__, keyed, self.which, busy, common, skipped)
        if counting:
            for (_, piece), counter in zip(self.pieces, self.counters, strict=True):
                counter.advance(piece.members, piece.skipped)

    def _read(self, optimizer: Shell) -> None:
        """The present hypers and counts."""
        hypers: dict[int, Any] = {}
        for (engine, piece), counter in zip(self.pieces, self.counters, strict=True):
            group = piece.group
            if id(group) not in hypers:
                owner, (recipe, key) = type(optimizer).__name__, self.keyed[id(group)]
                hypers[id(group)] = recipe.values(owner, group, key, on_gpu=engine == "fused")
            piece.hypers = hypers[id(group)]
            piece.counts = counter.counts(piece.members)


def _instead(optimizer: Shell, engine: str, piece: Work, unfit: str) -> str:
    """The engine to take where a fused one is unfit; RuntimeError if that was asked for."""
    if engine == "fused" and optimizer.choice_of(piece.group).why == engines.ASKED:
        raise RuntimeError(f"the fused engine cannot run: {unfit}; use engine='foreach'")
    return "foreach" if engine == "fused" else engine


def _lasting(piece: Work) -> bool:
    """False where tensors are replaced or viewed, and for what is not traced."""
    views = any(p.is_complex() for p in piece.params)
    return piece.traced and not piece.live and not views


def _has_gradient(p: Tensor) -> bool:
    return p.grad is not None


def _mark(optimizer: Shell, group: dict[str, Any]) -> tuple[Any, ...]:
    """What else of a group decides how it runs; hypers are read at each step."""
    names, params = group.get("param_names"), group["params"]
    device = params[0].device if params else None
    options = [copy(group.get(option)) for option in MARKS]
    rounded = group.get("rounding") is not None  # formats go by dtype, which model.half() changes
    dtypes = [p.dtype for p in params] if rounded else None
    return *optimizer.recipe_and_key(group), device, is_live(group), names, dtypes, *options


def _columns(piece: Work) -> list[tuple[list[dict[str, Any]], Any, list[Any]]]:
    """Every entry of the states that a step may touch: what holds it, its getter, and itself."""
    names = {name for state in piece.states for name in state}
    alike = [n for n in sorted(names) if all(n in state for state in piece.states)]
    return [(piece.states, itemgetter(n), [s[n] for s in piece.states]) for n in alike]
