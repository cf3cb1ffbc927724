"""The first step and the later ones as one: initialisers, counters, and what is kept.

A procedure is run twice, with the state that it finds at first and with the one that it made. Where
the two agree, given how a slot starts, the slot's initialiser says it; else `where(t == 1, …)`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from ...tracing import FULL, HOST, PER_TENSOR, Untraceable, Value
from . import symbols
from .branches import choose, join, ways
from .guessing import Guessed
from .memory import Pairs, either, sharing
from .recording import (
    Raw,
    Recorder,
    extent_of,
    inputs_of,
    is_number,
    is_scalar,
    same,
    substituted,
)
from .watching import Watch
from .worlds import Held, Known, Made, World

Prepare: TypeAlias = "Callable[[World], object]"


@dataclass
class Update:
    """What a procedure does in a step: new values, the slots it keeps, what it leaves behind."""

    outputs: dict[str, Raw]
    slots: dict[str, str] = field(default_factory=dict[str, str])  # with initialisers' names
    left: Held = field(default_factory=Held)  # the state afterwards
    missed: frozenset[str] = frozenset()  # what it asked the state for, in vain
    counted: bool = False  # it asked how much there is in the state


@dataclass
class _Phase:
    outcome: dict[str, Raw]
    made: dict[str, Made]
    left: Held
    missed: set[str]
    counted: bool


class Phases:
    """The runs of one procedure. `defaults` are the numbers of its signature, by name."""

    def __init__(
        self,
        recorder: Recorder,
        watch: Watch,
        run: Callable[[World], None],
        held: Held,
        defaults: Mapping[str, float],
    ) -> None:
        self.watch = watch
        self.recorder, self.run, self.held, self.defaults = recorder, run, held, defaults
        self.starts: dict[str, Raw] = {}
        self.counts: dict[str, int] = {}
        self.doubts: Pairs = {}  # names that are one memory in some steps only

    def update(self) -> Update:
        """One step of the procedure, whichever it is."""
        first = self._first()
        later = self._later(first)
        if not self._counts_hold(first, later):
            first = self._first()
            later = self._later(first)
        if later.left.pairs != first.left.pairs:
            self.doubts = either(first.left.pairs, later.left.pairs)
        again = self._first()
        self.recorder.forget_names()  # those of a first step may be of numbers worked out
        second = self._later(again)
        self._check_pure((first, again), (later, second))
        self._check_switches(again, second)
        self.settled = again, second
        return self._joined(again, second)

    def refuse_changes(self, prepare: Prepare, what: str, instead: str) -> None:
        """Raise if the procedure does something else in worlds that were prepared so."""
        first = self._phase(True, self.held, prepare)
        later = self._phase(False, self._after(self.settled[0]), prepare)
        for one, two in zip(self.settled, (first, later), strict=True):
            if not self._agree(one, two):
                self.recorder.refuse(what, instead)

    def _agree(self, one: _Phase, two: _Phase) -> bool:
        names = one.outcome.keys()
        return names == two.outcome.keys() and all(
            same(one.outcome[name], two.outcome[name]) for name in names
        )

    def _phase(self, first: bool, held: Held, prepare: Prepare | None = None) -> _Phase:
        def once() -> World:
            world = World(self.recorder, first, held, self.starts, self.counts)
            self.recorder.first = first
            if prepare is not None:
                prepare(world)
            self.recorder.refusal = None
            try:
                self.run(world)
                self.watch.check()
                world.check()
            except (Guessed, Untraceable):
                raise
            except Exception as error:
                raise self.recorder.refusal or self.recorder.failed(error) from None
            finally:
                self.watch.put_back()
            if self.recorder.refusal is not None:
                raise self.recorder.refusal
            return world

        found = ways(self.recorder, once)
        worlds = [world for _, world in found]
        made = {n: m for world in worlds for n, m in world.state.made.items()}
        unchanged = World(self.recorder, first, held, self.starts, self.counts).outcome()
        unchanged |= {n: 0.0 for n, m in made.items() if is_number(m.starts[0], 0)}
        outcome = join(self.recorder, [(path, w.outcome()) for path, w in found], unchanged)
        missed = set[str]().union(*(world.state.missed for world in worlds))
        counted = any(world.state.counted for world in worlds)
        return _Phase(outcome, made, self._left(worlds), missed, counted)

    def _left(self, worlds: list[World]) -> Held:
        left: dict[str, Known] = {}
        for world in worlds:
            for name, stand in world.state.items_.items():
                if symbols.is_stand(stand):
                    number = issubclass(type(stand), symbols.StandNumber)
                    extent = extent_of(stand.raw)
                    logical = symbols.logical(stand)
                    left[name] = Known(logical if logical == FULL else extent, number)
        return Held(left, sharing([world.cells() for world in worlds]), self._switches(worlds))

    def _switches(self, worlds: list[World]) -> dict[str, Any]:
        """True, False and None of the state, which have to be the same on all ways."""
        listed = [
            {n: v for n, v in world.state.items_.items() if not symbols.is_stand(v)}
            for world in worlds
        ]
        for each in listed[1:]:
            self._refuse_switch(listed[0], each, "on one side of a condition only")
        return listed[0]

    def _refuse_switch(self, one: Mapping[str, Any], two: Mapping[str, Any], when: str) -> None:
        for name in sorted({*one, *two}):
            a, b = one.get(name, "nothing"), two.get(name, "nothing")
            if a is not b:
                self.recorder.refuse(
                    f"keeps {b} as {name} {when}, else {a}", "keep a number, as 0.0 and 1.0"
                )

    def _check_switches(self, first: _Phase, later: _Phase) -> None:
        self._refuse_switch(first.left.switches, later.left.switches, "in later steps")

    # --- the two phases -------------------------------------------------------------------------

    def _first(self) -> _Phase:
        """The first step; numbers of the signature that it returns are state, not hypers."""
        found = self._phase(True, self.held)
        state = {n: self.defaults[n] for n in found.made if n in self.defaults}
        if state.keys() - self.starts.keys():
            self.starts = dict(state)
            found = self._phase(True, self.held)
        ends = {n: found.outcome[n] for n, m in found.made.items() if is_scalar(m.known.extent)}
        whole = {n: int(end) - 1 for n, end in ends.items()
                 if isinstance(end, int | float) and end % 1 == 0
                 and self.starts.get(n, end - 1) == end - 1}  # fmt: skip
        if self.counts or not whole or getattr(self, "_tried", False):
            return found
        self.counts, self._tried = whole, True
        return self._phase(True, self.held)

    def _later(self, first: _Phase) -> _Phase:
        """A later step, on the state that the first one made."""
        found = self._phase(False, self._after(first))
        late = found.made.keys() - first.made.keys()
        if late:
            self.recorder.refuse(
                f"makes the state {min(late)} in a later step only", "make it in the first step"
            )
        return found

    def _after(self, first: _Phase) -> Held:
        """What the state holds after a first step."""
        names = {n: self._slot(n, m, first) for n, m in first.made.items()}
        pairs = {**first.left.pairs, **self.doubts}
        return Held({**self.held.names, **names}, pairs, first.left.switches)

    def _slot(self, name: str, made: Made, first: _Phase) -> Known:
        extent = made.known.extent
        if extent != FULL and not is_scalar(extent):
            self.recorder.refuse(
                f"keeps {name}, a state of another shape than p's",
                "keep tensors like p, or numbers",
            )
        if extent == HOST and extent_of(first.outcome[name]) == PER_TENSOR:
            extent = PER_TENSOR
        return replace(made.known, extent=extent)

    def _counts_hold(self, first: _Phase, later: _Phase) -> bool:
        """True if each counter is one more after a step; those that are not are numbers."""
        wrong = [n for n, start in self.counts.items()
                 if not same(later.outcome[n], self.recorder.counted(start))
                 or not (same(first.outcome[n], self.recorder.counted(start))
                         or is_number(first.outcome[n], start + 1))]  # fmt: skip
        self.counts = {n: start for n, start in self.counts.items() if n not in wrong}
        return not wrong

    def _counted_before(self, name: str) -> int | None:
        held = self.held.names.get(name)
        return held.count if held else None

    def _is_left(self, raw: Raw, name: str) -> bool:
        """True for what the procedure leaves as it was; TypeError for a changed step count."""
        count = self._counted_before(name)
        if count is None:
            return _is_input(raw, name)
        if not same(raw, self.recorder.counted(count)):
            self.recorder.refuse(
                f"changes {name}, with which an earlier procedure counts the steps",
                "let one of them count",
            )
        return True

    def _check_pure(self, *pairs: tuple[_Phase, _Phase]) -> None:
        for one, two in pairs:
            if not self._agree(one, two):
                self.recorder.refuse(
                    "is not pure: two runs of it differ",
                    "let it depend on p, its gradient, its state and its hyper-parameters alone",
                )

    # --- together -------------------------------------------------------------------------------

    def _joined(self, first: _Phase, later: _Phase) -> Update:
        changed = {n: v for n, v in later.outcome.items()
                   if n not in self.counts and not self._is_left(v, n)}  # fmt: skip
        used = inputs_of(*changed.values())
        slots = {n: used[n] for n in first.made if n in used and n not in self.counts}
        names = [n for n in later.outcome if n in changed or n in slots or n in ("p", "g")]
        before, after = ([phase.outcome[n] for n in names] for phase in (first, later))
        found = self._starts(first, slots, before, after)
        if found is None:
            kept = {name: _initialiser(first.made[name], 0.0) for name in slots}
            values = [choose(self.recorder, self._is_first(), *pair)
                      for pair in zip(before, after, strict=True)]  # fmt: skip
        else:
            kept = {name: _initialiser(first.made[name], start) for name, start in found.items()}
            values = substituted(self.recorder, after, self._read(slots, found))
        outputs = {n: v for n, v in zip(names, values, strict=True) if not self._is_left(v, n)}
        names = {n: replace(k, count=self.counts.get(n, self._counted_before(n)))
                 for n, k in later.left.names.items()}  # fmt: skip
        left = Held(names, either(first.left.pairs, later.left.pairs), later.left.switches)
        missed = frozenset((first.missed | later.missed) - first.made.keys())
        return Update(outputs, kept, left, missed, first.counted or later.counted)

    def _starts(
        self, first: _Phase, slots: Mapping[str, Value], before: list[Raw], after: list[Raw]
    ) -> dict[str, Raw] | None:
        """What each slot holds at first, such that the first step is a later one on that."""
        choices = [first.made[name].starts for name in slots]
        for starts in itertools.product(*choices):
            put = dict(zip(slots.values(), starts, strict=True))
            tried = substituted(self.recorder, after, put)
            if all(map(same, tried, before)):
                return dict(zip(slots, starts, strict=True))
        return None

    def _is_first(self) -> Raw:
        return self.recorder.record("eq", self.recorder.t, 1)

    def _read(self, slots: Mapping[str, Value], found: Mapping[str, Raw]) -> dict[Value, Raw]:
        """Slots that no initialiser fills: what they start with, where this is the first step."""
        return {
            slots[name]: self.recorder.record("where", self._is_first(), start, slots[name])
            for name, start in found.items()
            if not (is_number(start, 0) or is_number(start, 1))
        }


def _initialiser(made: Made, start: Raw) -> str:
    one = is_number(start, 1)
    if is_scalar(made.known.extent):
        return "one" if one else "zero"
    return "ones" if one else "zeros"


def _is_input(raw: Raw, name: str) -> bool:
    """True for what the step leaves as it was."""
    return isinstance(raw, Value) and raw.is_input and raw.name == name
