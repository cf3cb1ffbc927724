"""What a procedure meets while it is lifted: a parameter, its state, its hyper-parameters."""

from __future__ import annotations

import keyword
from collections.abc import Generator, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch

from ...names import TUPLES
from ...tracing import FULL, HOST, Type
from . import symbols
from .memory import Cell, Pairs, doubt
from .recording import OTHER, Raw, Recorder

_TAKEN = ("p", "g", "u", "t")


@dataclass(frozen=True)
class Known:
    """A name of the state: its type, whether it is a plain number, and t + `count` if it counts."""

    extent: Type = FULL
    is_number: bool = False
    count: int | None = None


@dataclass
class Made:
    """A name that the procedure put into the state: what it may have held at first."""

    known: Known
    starts: list[Raw]


@dataclass(frozen=True)
class Held:
    """The state before a run: its tensors and numbers, which of them are one memory, its switches.

    Switches are True, False and None: they choose what is run, and are the same in all steps.
    """

    names: Mapping[str, Known] = field(default_factory=dict[str, Known])
    pairs: Pairs = field(default_factory=dict["frozenset[str]", bool])
    switches: Mapping[str, Any] = field(default_factory=dict[str, Any])


class World:
    """One run's parameter, gradient and state.

    `held` is what the state holds before the run, `starts` are numbers that it holds before the
    first one, and `counts` are those of them that count the steps, with their first values.
    `prefix` is put before the names of inputs, for another parameter than the one that is lifted.
    """

    def __init__(
        self,
        recorder: Recorder,
        first: bool,
        held: Held,
        starts: Mapping[str, Raw],
        counts: Mapping[str, int],
        prefix: str = "",
    ) -> None:
        self.recorder, self.first, self.counts, self.prefix = recorder, first, counts, prefix
        self.starts, self.held = starts, held
        self.more: dict[str, Any] = {}  # what goes into **kwargs
        self.required: set[str] = set()  # hypers that the code takes without a default
        self.others: list[World] = []  # of further parameters, which run before this one
        self.g = symbols.tensor(recorder, recorder.input(prefix + "g", FULL))
        self.state = State(self)
        cell = Cell(recorder.input(prefix + "p", FULL), FULL)
        self.p = symbols.StandParameter(recorder, cell, self.g, self.state)
        self._fill(held)
        for name, number in starts.items():
            if first:
                self.state[name] = number

    def _fill(self, held: Held) -> None:
        items = self.state.items_
        for name, known in held.names.items():
            one = next((n for n in items if held.pairs.get(frozenset((n, name)))), None)
            items[name] = self._stand(name, known) if one is None else items[one]
        for pair, always in held.pairs.items():
            one, other = sorted(pair)
            if not always and one in items and other in items:
                why = f"{one} and {other} are one in some steps or on one side of an if"
                doubt(items[one].lift_cell, items[other].lift_cell, why)
        items.update(held.switches)

    def other(self) -> World:
        """The world of a further parameter of the same optimizer."""
        made = World(self.recorder, self.first, self.held, self.starts, self.counts, OTHER)
        self.others.append(made)
        return made

    def _stand(self, name: str, known: Known) -> Any:
        if known.count is not None:
            raw: Raw = self.recorder.counted(known.count)
        elif name in self.counts:
            raw = self.recorder.counted(self.counts[name] - 1)
        else:
            self.check_name(name)
            raw = self.recorder.input(self.prefix + name, known.extent)
        kind = symbols.StandNumber if known.is_number else symbols.StandTensor
        return kind(self.recorder, Cell(raw, known.extent))

    def hyper(self, name: str, guess: bool = False) -> symbols.StandNumber:
        """A hyper-parameter; with `guess` it may turn out to be a slot."""
        guesses = frozenset([name] if guess else ())
        self.check_name(name)
        return symbols.StandNumber(
            self.recorder, Cell(self.recorder.input(name, HOST), HOST), guesses
        )

    def check_name(self, name: Any) -> None:
        """Raise for names that no rule can have."""
        if not (isinstance(name, str) and name.isidentifier()) or keyword.iskeyword(name):
            self.recorder.refuse(
                f"has a hyper-parameter or a state called {name!r}, which is no name in Python",
                "give it another name",
            )
        if name in _TAKEN:
            self.recorder.refuse(
                f"has a hyper-parameter or a state called {name}, which means something else in "
                f"rules ({', '.join(_TAKEN)})",
                "give it another name",
            )

    def trap(self, name: str, keywords: str) -> symbols.StandNumber:
        """A value of **kwargs that nobody may use."""
        number = self.hyper(name)
        number.lift_cell.lost = self.recorder.refusal_of(
            f"reads {name} of **{keywords}", f"name it in the signature: {name}, or {name}=0.0"
        )
        return number

    def counter(self, offset: int = 0) -> symbols.StandNumber:
        """The step count t, plus a whole number."""
        return symbols.StandNumber(self.recorder, Cell(self.recorder.counted(offset), HOST))

    def group(self, given: Mapping[str, Any]) -> Group:
        """A param group: its numbers as hyper-parameters, all else as it is."""
        found = Group(self.recorder)
        for name, value in given.items():
            found.put(name, self._hypers(name, value))
        return found

    def _hypers(self, name: str, value: Any) -> Any:
        if isinstance(value, tuple | list) and value and all(map(is_hyper, value)):
            return tuple(map(self.hyper, members(name, len(value))))
        return self.hyper(name) if is_hyper(value) else value

    def outcome(self) -> dict[str, Raw]:
        """What p, g and the state hold after the run."""
        held = {n: v.raw for n, v in self.state.items_.items() if symbols.is_stand(v)}
        return {"p": self.p.raw, "g": self.p.grad.raw, **held}

    def cells(self) -> dict[str, Cell]:
        """The memory of each tensor of the state."""
        return {n: v.lift_cell for n, v in self.state.items_.items()
                if issubclass(type(v), symbols.StandTensor)}  # fmt: skip

    def check(self) -> None:
        """Raise for what a run has left that no rule can keep."""
        self.p.refuse_attributes()
        for name in sorted(self.required & self.state.made.keys()):
            self.recorder.refuse(
                f"puts {name} into the state, which it takes as a hyper-parameter",
                "give one of them another name, or a default if it is state",
            )
        for name, cell in self.cells().items():
            if cell is self.p.lift_cell or cell is self.p.grad.lift_cell:
                self.recorder.refuse(f"keeps p or its gradient itself as {name}", "keep a clone()")


class State(MutableMapping[str, Any]):
    """The parameter's state dict; it notes what is put into it first."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.items_: dict[str, Any] = {}
        self.made: dict[str, Made] = {}
        self.missed: set[str] = set()  # names that the code asked for when they were not there
        self.counted = False  # the code asked how much there is
        self._settled: frozenset[str] = frozenset()

    @contextmanager
    def keeping(self) -> Generator[None]:
        """What the state holds already stays as it is, for the length of a with-block."""
        self._settled = frozenset(self.items_)
        yield
        self._settled = frozenset()

    def __getitem__(self, name: str) -> Any:
        self._ask(name)
        return self.items_[name]

    def _ask(self, name: object) -> None:
        if isinstance(name, str) and name not in self.items_:
            self.missed.add(name)

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self._settled:
            return
        if name not in ("step", "t"):  # which may count the steps
            self.world.check_name(name)
        kept = self._kept(name, value)
        if name not in self.items_ and symbols.is_stand(kept):
            cell: Cell = kept.lift_cell
            known = Known(cell.extent, issubclass(type(kept), symbols.StandNumber))
            self.made[name] = Made(known, [cell.initial, 0.0, 1.0])
            self._count(name, cell)
        self.items_[name] = kept

    def _kept(self, name: str, value: Any) -> Any:
        recorder, world = self.world.recorder, self.world
        if symbols.is_stand(value):
            if value.lift_cell in (world.p.lift_cell, world.g.lift_cell):
                recorder.refuse(f"keeps p or its gradient itself as {name}", "keep a clone()")
            return value
        if isinstance(value, bool) or value is None:
            return value
        if isinstance(value, int | float):
            return symbols.StandNumber(recorder, Cell(value, HOST))
        what = f"{value!r}"
        if isinstance(value, torch.Tensor):
            what = f"a tensor of its own, of shape {tuple(value.shape)},"
        recorder.refuse(f"keeps {what} as {name}", "keep tensors like p, and numbers")

    def _count(self, name: str, cell: Cell) -> None:
        """A number that a counter starts with is t + a whole number."""
        if name in self.world.counts and isinstance(cell.value, int | float):
            cell.value = self.world.recorder.counted(int(cell.value) - 1)

    def __delitem__(self, name: str) -> None:
        if name not in self.made or name in self.world.held.names:
            self.world.recorder.refuse(f"drops {name} from the state", "keep it")
        del self.items_[name], self.made[name]

    def __iter__(self) -> Iterator[str]:
        self.counted = True
        return iter(self.items_)

    def __len__(self) -> int:
        self.counted = True
        return len(self.items_)

    def __contains__(self, name: object) -> bool:
        self._ask(name)
        return name in self.items_


class States(MutableMapping[Any, Any]):
    """An optimizer's state by parameter."""

    def __init__(self, worlds: Sequence[World]) -> None:
        self._worlds = {world.p: world for world in worlds}
        self._touched = {p for p, world in self._worlds.items() if world.state.items_}
        self._given: list[tuple[World, Mapping[str, Any], dict[str, Any]]] = []

    def _world(self, p: Any) -> World:
        if not issubclass(type(p), symbols.Stand) or p not in self._worlds:
            recorder = next(iter(self._worlds)).lift_recorder
            recorder.refuse(
                f"uses self.state[{p!r}], which is no parameter's", "keep state by parameter"
            )
        return self._worlds[p]

    def __getitem__(self, p: Any) -> State:
        world = self._world(p)
        self._touched.add(p)
        return world.state

    def __setitem__(self, p: Any, value: Any) -> None:
        world = self._world(p)
        if value is world.state:
            return
        lacking = sorted(world.state.items_.keys() - dict(value).keys())
        if lacking:
            world.state.__delitem__(lacking[0])
        self._touched.add(p)
        world.state.update(value)
        self._given.append((world, value, dict(value)))

    def __contains__(self, p: object) -> bool:
        self._world(p)
        return p in self._touched

    def __delitem__(self, p: Any) -> None:
        self._world(p).recorder.refuse("drops a parameter's state", "keep it")

    def __iter__(self) -> Iterator[Any]:
        return iter(self._touched)

    def __len__(self) -> int:
        return len(self._touched)

    def check(self) -> None:
        """Raise if a dict that was put here was written on its own later."""
        for world, given, before in self._given:
            if given is not world.state and any(
                before.get(name, before) is not value for name, value in given.items()
            ):
                world.recorder.refuse(
                    "writes a dict that it has put into self.state", "write self.state[p][name]"
                )


class Group(dict[str, Any]):
    """A param group that is read only."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def put(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)

    def setdefault(self, name: str, default: Any = None) -> Any:
        return self[name] if name in self else self._refuse(name)

    def _refuse(self, *names: Any, **values: Any) -> NoReturn:
        which = next((f"'s {name}" for name in (*names, *values) if isinstance(name, str)), "")
        self.recorder.refuse(f"writes the group{which}", "keep what changes in the state")

    __setitem__ = __delitem__ = pop = popitem = clear = __ior__ = _refuse
    update = _refuse  # pyright: ignore[reportAssignmentType]  # whatever it is called with


def is_hyper(value: Any) -> bool:
    """True for a number that is no switch."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def members(name: str, count: int) -> tuple[str, ...]:
    """The hypers that a tuple of them holds: beta1 and beta2 of betas."""
    return TUPLES.get(name, tuple(f"{name}_{i}" for i in range(count)))[:count]
