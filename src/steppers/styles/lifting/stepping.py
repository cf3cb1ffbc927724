"""What a class's own step does around the methods that are lifted: their order, and its counters.

Its `step` is run once on stand-ins, with the methods replaced by probes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from ..base import PerParameter
from . import symbols
from .branches import ways
from .rebinding import Rebinder
from .recording import Recorder
from .worlds import Held, World, is_hyper

PROBED = ("init_state", "reg_step", "opt_step", "step_param", "update_parameter")


@dataclass
class Stepping:
    """The methods in the order in which the step calls them, and what it counts."""

    calls: list[str]
    counters: dict[str, int]  # attributes, with the value that the first call finds


def stepping_of(
    built: Any, found: list[str], furnish: Callable[[Any, World], object]
) -> Stepping | None:
    """What the step of an optimizer does around the methods `found`; None if it has no step.

    Raises TypeError if it does more than a chain of rules can.
    """
    step = getattr(type(built), "step", None)
    if step is None:
        return None
    ours = inspect.unwrap(step) is inspect.unwrap(PerParameter.step)
    recorder = Recorder(type(built).__name__)
    rebind = Rebinder(recorder)

    def once() -> Stepping:
        world = World(recorder, True, Held(), {}, {})
        worlds = [world.other(), world]
        copied = rebind.instance(built)
        furnish(copied, world)
        for name, value in vars(copied).items():
            if not (ours and name.startswith("_")):  # the base's own
                rebind.watch.add(value, f"self.{name}")
        try:
            found = _Probes(copied, worlds).taken(found_if_ours)
            rebind.watch.check()
            return found
        except TypeError:
            raise
        except Exception as error:
            raise recorder.refusal or recorder.failed(error) from None
        finally:
            rebind.watch.put_back()

    found_if_ours = found if ours else None
    each = [stepping for _, stepping in ways(recorder, once)]
    if any(stepping != each[0] for stepping in each):
        _refuse(recorder, "calls its methods on one side of a condition only")
    return each[0]


class _Probes:
    """What stands for an optimizer's methods while its step is run for two parameters."""

    def __init__(self, copied: Any, worlds: list[World]) -> None:
        self.copied, self.worlds, self.recorder = copied, worlds, worlds[0].recorder
        self.probes = {name: self._probe(name) for name in PROBED if hasattr(copied, name)}
        vars(copied).update(self.probes)
        self.calls: dict[int, list[str]] = {}
        self.at_call: dict[str, Any] = {}

    def taken(self, known: list[str] | None) -> Stepping:
        """Two steps; the calls of a step of ours are `known`, with after_step behind them."""
        seen = [self._step(known) for _ in range(2)]
        if seen[0].calls != seen[1].calls or seen[0].counters.keys() != seen[1].counters.keys():
            _refuse(self.recorder, "does something else each time")
        return seen[0]

    def _step(self, known: list[str] | None) -> Stepping:
        self.calls, before = {i: [] for i in range(len(self.worlds))}, self._attributes()
        self.at_call = before
        if known is None:
            self.copied.step(*_required(self.copied.step))
        else:
            for world in self.worlds:
                for name in known:
                    self.probes[name](world.p)
            self.copied.after_step()
        one, other = self.calls.values()
        if one != other:
            _refuse(self.recorder, "does not call the same methods for every parameter")
        after = self._attributes()
        counters = {
            name: _counted(self.recorder, name, before.get(name), self.at_call.get(name), value)
            for name, value in after.items() if before.get(name) is not value
        }  # fmt: skip
        return Stepping(one, counters)

    def _attributes(self) -> dict[str, Any]:
        return {n: v for n, v in vars(self.copied).items() if n not in self.probes}

    def _probe(self, name: str) -> Callable[..., None]:
        def called(*args: Any, **kwargs: Any) -> None:
            given = [each for each in (*args, *kwargs.values()) if symbols.is_stand(each)]
            which = next(
                (i for i, world in enumerate(self.worlds) if any(g is world.p for g in given)), None
            )
            if which is None or name in self.calls[which]:
                _refuse(self.recorder, f"calls {name} other than once for each parameter")
            self._check(name, self.worlds[which], given)
            self.calls[which].append(name)
            now = self._attributes()
            if any(self.at_call.get(n) is not v for n, v in now.items()):
                if sum(map(len, self.calls.values())) > 1:
                    _refuse(self.recorder, "changes what its methods read between two of them")
                self.at_call = now

        return called

    def _check(self, name: str, world: World, given: list[Any]) -> None:
        """Raise where the step has changed something before it calls a method."""
        inputs = self.recorder.tracer.inputs
        untouched = [inputs[world.prefix + n] for n in ("p", "g")]
        held = [*(each.raw for each in given), world.p.raw, world.p.grad.raw]
        changed = [raw for raw in held if not any(raw is each for each in untouched)]
        if changed or world.state.items_:
            _refuse(self.recorder, f"changes p, its gradient or its state before it calls {name}")


def _required(step: Callable[..., Any]) -> list[None]:
    """A None for each argument that has to be given: a closure."""
    return [None for a in inspect.signature(step).parameters.values()
            if a.default is a.empty and a.kind is a.POSITIONAL_OR_KEYWORD]  # fmt: skip


def _counted(recorder: Recorder, name: str, old: Any, called: Any, new: Any) -> int:
    """The value of a counter at the first call; TypeError for another change."""
    whole = all(is_hyper(each) and isinstance(each, int) for each in (old, called, new))
    if not whole or new != old + 1 or called not in (old, new):
        _refuse(recorder, f"changes self.{name}")
    return called


def _refuse(recorder: Recorder, what: str) -> NoReturn:
    recorder.refuse(
        f"{what} in its step(), and only what its methods do is lifted",
        "do it in the methods, or around the optimizer: schedulers change hyper-parameters",
    )
