"""The first step and the later ones as one: initialisers, counters, and what is kept.

A procedure is run twice, with the state that it finds at first and with the one that it made. Where
the two agree, given how a slot starts, the slot's initialiser says it; else `where(t == 1, …)`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from ...tracing import FULL, HOST, PER_TENSOR, Untraceable, Value
from . import symbols
from .branches import choose, join, ways
from .recording import (
    Raw,
    Recorder,
    extent_of,
    is_number,
    is_scalar,
    same,
    substituted,
)
from .worlds import Known, Made, World


@dataclass
class Update:
    """What a procedure does in a step: new values, the slots it keeps, what it leaves behind."""

    outputs: dict[str, Raw]
    slots: dict[str, str] = field(default_factory=dict[str, str])  # with initialisers' names
    left: dict[str, Known] = field(default_factory=dict[str, Known])  # the state afterwards


@dataclass
class _Phase:
    outcome: dict[str, Raw]
    made: dict[str, Made]
    left: dict[str, Known]


class Phases:
    """The runs of one procedure. `defaults` are the numbers of its signature, by name."""

    def __init__(
        self,
        recorder: Recorder,
        run: Callable[[World], None],
        held: Mapping[str, Known],
        defaults: Mapping[str, float],
    ) -> None:
        self.recorder, self.run, self.held, self.defaults = recorder, run, held, defaults
        self.starts: dict[str, Raw] = {}
        self.counts: dict[str, int] = {}

    def update(self) -> Update:
        """One step of the procedure, whichever it is."""
        first = self._first()
        later = self._later(first)
        if not self._counts_hold(first, later):
            first = self._first()
            later = self._later(first)
        again = self._first()
        self.recorder.forget_names()  # those of a first step may be of numbers worked out
        second = self._later(again)
        self._check_pure((first, again), (later, second))
        return self._joined(again, second)

    def _phase(self, first: bool, held: Mapping[str, Known]) -> _Phase:
        def once() -> World:
            world = World(self.recorder, first, held, self.starts, self.counts)
            self.recorder.refusal = None
            try:
                self.run(world)
            except (symbols.Guessed, Untraceable):
                raise
            except Exception as error:
                raise self.recorder.refusal or self.recorder.failed(error) from None
            world.p.refuse_attributes()
            if self.recorder.refusal is not None:
                raise self.recorder.refusal
            return world

        found = ways(self.recorder, once)
        worlds = [world for _, world in found]
        made = {n: m for world in worlds for n, m in world.state.made.items()}
        unchanged = World(self.recorder, first, held, self.starts, self.counts).outcome()
        unchanged |= {n: 0.0 for n, m in made.items() if is_number(m.starts[0], 0)}
        outcome = join(self.recorder, [(path, w.outcome()) for path, w in found], unchanged)
        return _Phase(outcome, made, self._left(worlds))

    def _left(self, worlds: Iterable[World]) -> dict[str, Known]:
        left: dict[str, Known] = {}
        for world in worlds:
            for name, stand in world.state.items_.items():
                if symbols.is_stand(stand):
                    number = issubclass(type(stand), symbols.StandNumber)
                    extent = extent_of(stand.raw)
                    logical = symbols.logical(stand)
                    left[name] = Known(logical if logical == FULL else extent, number)
        return left

    # --- the two phases -------------------------------------------------------------------------

    def _first(self) -> _Phase:
        """The first step; numbers of the signature that it returns are state, not hypers."""
        found = self._phase(True, self.held)
        state = {n: self.defaults[n] for n in found.made if n in self.defaults}
        if state.keys() - self.starts.keys():
            self.starts = dict(state)
            found = self._phase(True, self.held)
        whole = {n: int(start) for n, m in found.made.items()
                 if isinstance(start := m.starts[0], int | float) and start == int(start)
                 and is_scalar(m.known.extent)}  # fmt: skip
        if self.counts or not whole or getattr(self, "_tried", False):
            return found
        self.counts, self._tried = whole, True
        return self._phase(True, self.held)

    def _later(self, first: _Phase) -> _Phase:
        """A later step, on the state that the first one made."""
        held = {n: self._slot(n, m, first) for n, m in first.made.items()}
        found = self._phase(False, {**self.held, **held})
        late = found.made.keys() - first.made.keys()
        if late:
            self.recorder.refuse(
                f"makes the state {min(late)} in a later step only", "make it in the first step"
            )
        return found

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
        wrong = [
            n for n, start in self.counts.items()
            if not all(same(phase.outcome[n], self.recorder.counted(start))
                       for phase in (first, later))
        ]  # fmt: skip
        self.counts = {n: start for n, start in self.counts.items() if n not in wrong}
        return not wrong

    def _check_pure(self, *pairs: tuple[_Phase, _Phase]) -> None:
        for one, two in pairs:
            if one.outcome.keys() != two.outcome.keys() or not all(
                same(value, two.outcome[name]) for name, value in one.outcome.items()
            ):
                self.recorder.refuse(
                    "is not pure: two runs of it differ",
                    "let it depend on p, its gradient, its state and its hyper-parameters alone",
                )

    # --- together -------------------------------------------------------------------------------

    def _joined(self, first: _Phase, later: _Phase) -> Update:
        changed = {n: v for n, v in later.outcome.items()
                   if n not in self.counts and not _is_input(v, n)}  # fmt: skip
        used = {value.name: value for value in _inputs(changed.values())}
        slots = {n: used[n] for n in first.made if n in used}
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
        outputs = {n: v for n, v in zip(names, values, strict=True) if not _is_input(v, n)}
        left = {n: replace(k, count=self.counts.get(n, k.count)) for n, k in later.left.items()}
        return Update(outputs, kept, left)

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


def _inputs(roots: Iterable[Raw]) -> list[Value]:
    """The inputs that values are computed from."""
    seen: set[Value] = set()
    stack = [root for root in roots if isinstance(root, Value)]
    while stack:
        value = stack.pop()
        if value not in seen:
            seen.add(value)
            stack.extend(value.operands())
    return [value for value in seen if value.is_input]
