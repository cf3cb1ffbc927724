"""lift: somebody's optimizer code as steppers' rules, or what prevents it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch

from ...chain import REQUIRED, read_step
from ...tracing import Untraceable, Value
from .arguments import Asked, Procedure
from .forms import parts, procedures, with_hypers
from .phases import Phases, Update
from .rebinding import Rebinder
from .recording import Recorder
from .symbols import Guessed, blame_many
from .worlds import Known
from .writing import Writer, compiled


def lift(
    what: Any,
    *,
    method: str | None = None,
    slots: Iterable[str] = (),
    hypers: Iterable[str] = (),
    constants: Iterable[str] = (),
    rename: Mapping[str, str] | None = None,
    **options: Any,
) -> Any:
    """Somebody's step function, stat or optimizer class as steppers' rules.

    A function or a stat object gives one rule, a class or an optimizer a tuple of them, for
    `steppers.Optimizer(params, steps=…)`. The code is run on stand-ins for p, its gradient, its
    state and its hyper-parameters, both sides of every `if`, and what it did is written as a pure
    function in the words of `steppers.ops`: `inspect.getsource(rule)` shows it.

    `method` names another method of a class to lift. `slots` and `hypers` say what names without a
    default are, where the code does not tell; `constants` are numbers that stay as they are;
    `rename` gives hypers and slots other names. `options` are bound as by functools.partial, or go
    to the class.

    Raises TypeError, with the line, for what no rule can do, and says what to write instead.

    >>> def sgd_step(p, lr, **kwargs):
    ...     p.data.add_(-lr, p.grad.data)
    >>> import inspect
    >>> print(inspect.getsource(lift(sgd_step)).split('lifted.\"\"\"')[1].strip())
    return dict(p=p - lr * g)
    """
    said = Asked(frozenset(hypers), frozenset(constants))
    listed = parts(what) if method is None else None
    held = {name: Known() for name in slots}
    if listed is not None:
        said = replace(said, guess=False)
        found = [one for each in listed for one in procedures(each, None, said, options)]
        found = with_hypers(found, what)
    else:
        found = procedures(what, method, said, options)
    several = isinstance(what, type) or _is_optimizer(what)
    lifted = _chain(found, held, said, rename or {}, whole=several and method is None)
    if not several or method is not None:
        return lifted[0][1]
    return tuple(rule for update, rule in lifted if update.outputs)


def lift_all(
    callbacks: Iterable[Any],
    *,
    constants: Iterable[str] = (),
    rename: Mapping[str, str] | None = None,
) -> tuple[Callable[..., Any], ...]:
    """A list of callbacks, or of stats and steppers in the order they run, as a chain's rules.

    What an earlier one keeps in the state, a later one reads; every other name is a hyper. Those
    with `_order` are put in that order. A default on which two differ has to be given.
    """
    if not isinstance(callbacks, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"lift_all: it takes a list of callbacks, got {callbacks!r}; lift one")
    listed = sorted(callbacks, key=lambda each: getattr(each, "_order", 0))
    said = Asked(frozenset(), frozenset(constants), guess=False)
    found = [one for each in listed for one in procedures(each, None, said, {})]
    found = _without_conflicts(found)
    lifted = _chain(found, {}, said, rename or {}, whole=True)
    return tuple(rule for update, rule in lifted if update.outputs)


def _is_optimizer(what: Any) -> bool:
    return isinstance(what, torch.optim.Optimizer) or hasattr(what, "opt_step")


def _without_conflicts(found: list[Procedure]) -> list[Procedure]:
    """Defaults on which two procedures differ are none: the optimizer asks for a value."""
    seen: dict[str, set[float]] = {}
    for each in found:
        for name, value in each.defaults.items():
            seen.setdefault(name, set()).add(value)
    unclear = {name: REQUIRED for name, values in seen.items() if len(values) > 1}
    return [
        replace(each, hypers={n: unclear.get(n, d) for n, d in each.hypers.items()})
        for each in found
    ]


def _chain(
    found: list[Procedure],
    held: Mapping[str, Known],
    said: Asked,
    rename: Mapping[str, str],
    whole: bool,
) -> list[tuple[Update, Callable[..., Any]]]:
    """Lift procedures in order, each on the state that those before it left."""
    state = dict(held)
    updates: list[tuple[Procedure, Update]] = []
    for each in found:
        update = _update(each, state, said)
        state |= update.left
        updates.append((each, update))
    if whole:
        _prune([update for _, update in updates])
    elif "p" in updates[0][1].outputs:
        updates[0][1].outputs.pop("g", None)  # changed for this procedure's own use
    hypers = {rename.get(n, n) for each, _ in updates for n in each.hypers}
    return [(update, _rule(_apart(each, hypers), update, rename)) for each, update in updates]


def _apart(procedure: Procedure, hypers: set[str]) -> Procedure:
    """A rule that is called as a hyper gets another name: a chain refuses two of one name."""
    name = procedure.name
    return replace(procedure, name=f"{name}_rule") if name in hypers else procedure


def _update(procedure: Procedure, held: Mapping[str, Known], said: Asked) -> Update:
    """Run one procedure; a name that turns out to be a slot or a hyper starts it anew."""
    state, hypers = dict(held), set(said.hypers)
    while True:
        asked = Asked(frozenset(hypers), said.constants, said.guess)
        recorder = Recorder(procedure.name)
        rebind = Rebinder(recorder)
        try:
            run = procedure.start(rebind, asked)
            update = Phases(recorder, run, state, procedure.defaults).update()
        except Guessed as found:
            if found.is_tensor:
                state[found.name] = Known()
            else:
                hypers.add(found.name)
            continue
        except Untraceable as why:
            raise TypeError(f"lift: {procedure.name} uses {why.word}; {why.instead}") from None
        _refuse_unclear(recorder, procedure, update, hypers, asked)
        return update


def _refuse_unclear(
    recorder: Recorder, procedure: Procedure, update: Update, hypers: set[str], asked: Asked
) -> None:
    """Raise for names of which the code does not tell whether they are state or numbers."""
    used = _inputs(update.outputs.values())
    unclear = {n for n in used if asked.guess and n in procedure.unclear and n not in hypers}
    unclear -= update.left.keys()
    if unclear:
        blame_many(recorder, frozenset(unclear))


def _prune(updates: list[Update]) -> None:
    """Leave out values of the step that no later procedure reads."""
    for i, update in enumerate(updates):
        later = {n for after in updates[i + 1 :] for n in _inputs(after.outputs.values())}
        for name in list(update.outputs):
            kept = name == "p" or any(name in each.slots for each in updates)
            if not kept and name not in later:
                del update.outputs[name]


def _inputs(roots: Iterable[Any]) -> set[str]:
    seen: set[Value] = set()
    stack = [root for root in roots if isinstance(root, Value)]
    while stack:
        value = stack.pop()
        if value not in seen:
            seen.add(value)
            stack.extend(value.operands())
    return {value.name for value in seen if value.is_input}


def _rule(procedure: Procedure, update: Update, rename: Mapping[str, str]) -> Callable[..., Any]:
    used = _inputs(update.outputs.values())
    tensors = {"p", "g", "t", *update.slots, *update.left}
    hypers = {n: procedure.hypers.get(n, REQUIRED) for n in [*procedure.hypers, *sorted(used)]
              if n in used and n not in tensors}  # fmt: skip
    order = sorted(hypers, key=lambda n: (hypers[n] is not REQUIRED, n != "lr"))
    hypers = {n: hypers[n] for n in order}
    source = Writer(procedure.name, update.outputs, update.slots, hypers, rename).source()
    rule = compiled(procedure.name, source, procedure.module)
    read_step(rule)
    return rule
