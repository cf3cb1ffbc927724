"""What a procedure meets while it is lifted: a parameter, its state, its hyper-parameters."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ...names import TUPLES
from ...tracing import FULL, HOST, Type, Value
from . import symbols
from .recording import Raw, Recorder

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


class World:
    """One run's parameter, gradient and state.

    `held` is what the state holds before the run, `starts` are numbers that it holds before the
    first one, and `counts` are those of them that count the steps, with their first values.
    """

    def __init__(
        self,
        recorder: Recorder,
        first: bool,
        held: Mapping[str, Known],
        starts: Mapping[str, Raw],
        counts: Mapping[str, int],
    ) -> None:
        self.recorder, self.first, self.counts = recorder, first, counts
        self.g = symbols.tensor(recorder, recorder.input("g", FULL))
        self.state = State(self)
        cell = symbols.Cell(recorder.input("p", FULL), FULL)
        self.p = symbols.StandParameter(recorder, cell, self.g, self.state)
        for name, known in held.items():
            self.state.items_[name] = self._stand(name, known)
        for name, number in starts.items():
            if first:
                self.state[name] = number

    def _stand(self, name: str, known: Known) -> Any:
        if known.count is not None:
            raw: Raw = self.recorder.counted(known.count)
        elif name in self.counts:
            raw = self.recorder.counted(self.counts[name] - 1)
        else:
            raw = self._input(name, known.extent)
        kind = symbols.StandNumber if known.is_number else symbols.StandTensor
        return kind(self.recorder, symbols.Cell(raw, known.extent))

    def hyper(self, name: str, guess: bool = False) -> symbols.StandNumber:
        """A hyper-parameter; with `guess` it may turn out to be a slot."""
        guesses = frozenset([name] if guess else ())
        return symbols.StandNumber(
            self.recorder, symbols.Cell(self._input(name, HOST), HOST), guesses
        )

    def _input(self, name: str, extent: Type) -> Value:
        if name in _TAKEN:
            self.recorder.refuse(
                f"has a hyper-parameter or a state called {name}, which means something else in "
                f"rules ({', '.join(_TAKEN)})",
                "give it another name",
            )
        return self.recorder.input(name, extent)

    def counter(self, offset: int = 0) -> symbols.StandNumber:
        """The step count t, plus a whole number."""
        return symbols.StandNumber(self.recorder, symbols.Cell(self.recorder.counted(offset), HOST))

    def group(self, given: Mapping[str, Any]) -> dict[str, Any]:
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
        return {"p": self.p.raw, "g": self.g.raw, **held}


class State(MutableMapping[str, Any]):
    """The parameter's state dict; it notes what is put into it first."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.items_: dict[str, Any] = {}
        self.made: dict[str, Made] = {}
        self._settled: frozenset[str] = frozenset()

    @contextmanager
    def keeping(self) -> Generator[None]:
        """What the state holds already stays as it is, for the length of a with-block."""
        self._settled = frozenset(self.items_)
        yield
        self._settled = frozenset()

    def __getitem__(self, name: str) -> Any:
        return self.items_[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name in self._settled:
            return
        kept = self._kept(name, value)
        if name not in self.items_ and symbols.is_stand(kept):
            cell: symbols.Cell = kept.lift_cell
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
            return symbols.StandNumber(recorder, symbols.Cell(value, HOST))
        what = f"{value!r}"
        if isinstance(value, torch.Tensor):
            what = f"a tensor of its own, of shape {tuple(value.shape)},"
        recorder.refuse(f"keeps {what} as {name}", "keep tensors like p, and numbers")

    def _count(self, name: str, cell: symbols.Cell) -> None:
        """A number that a counter starts with is t + a whole number."""
        if name in self.world.counts and isinstance(cell.value, int | float):
            cell.value = self.world.recorder.counted(int(cell.value) - 1)

    def __delitem__(self, name: str) -> None:
        self.world.recorder.refuse(f"drops {name} from the state", "keep it")

    def __iter__(self) -> Iterator[str]:
        return iter(self.items_)

    def __len__(self) -> int:
        return len(self.items_)

    def __contains__(self, name: object) -> bool:
        return name in self.items_


class Group(dict[str, Any]):
    """A param group that is read only."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def put(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)

    def __setitem__(self, name: str, value: Any) -> None:
        self.recorder.refuse(f"writes the group's {name}", "keep what changes in the state")


def is_hyper(value: Any) -> bool:
    """True for a number that is no switch."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def members(name: str, count: int) -> tuple[str, ...]:
    """The hypers that a tuple of them holds: beta1 and beta2 of betas."""
    return TUPLES.get(name, tuple(f"{name}_{i}" for i in range(count)))[:count]
