"""Procedures in order as the rules of a chain: what each leaves, the next one finds."""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from types import CodeType
from typing import Any

from ...chain import REQUIRED, RESERVED, SWITCHES, read_step, suggest
from ...tracing import Untraceable
from .arguments import Asked, Procedure
from .guessing import Guessed, blame_many
from .phases import Phases, Update
from .pruning import leave_out, prune
from .rebinding import Rebinder
from .recording import Recorder, inputs_of
from .worlds import Held, Known, World
from .writing import Writer, compiled

Rule = Callable[..., Any]


def lifted_chain(
    found: list[Procedure], held: Held, said: Asked, rename: Mapping[str, str], whole: bool
) -> list[tuple[Update, Rule]]:
    """Lift procedures in order, each on the state that those before it left.

    A `whole` chain is all of an optimizer, so that what nobody reads in it is left out.
    """
    updates = _updates(found, held, said)
    while (several := _one_slot(updates)) is not None:
        found = [*found[: several.start], together(found[several]), *found[several.stop :]]
        updates = _updates(found, held, said)
    _refuse_late(found, updates)
    _refuse_unknown(found, updates, said, rename, held.names)
    if whole:
        prune(updates)
    else:
        _refuse_absent(found[0], updates[0], said)
        leave_out(updates[0])
    hypers = {rename.get(n, n) for each in found for n in each.hypers}
    return [
        (update, _rule(_apart(each, hypers), update, rename))
        for each, update in zip(found, updates, strict=True)
    ]


def _updates(found: list[Procedure], held: Held, said: Asked) -> list[Update]:
    updates: list[Update] = []
    for each in found:
        updates.append(_update(each, updates[-1].left if updates else held, said))
    return updates


def _one_slot(updates: list[Update]) -> slice | None:
    """The procedures that change one slot: a slot has one keeper, so that they are one rule."""
    for i, keeper in enumerate(updates):
        for j in range(len(updates) - 1, i, -1):
            if keeper.slots.keys() & updates[j].outputs.keys():
                return slice(i, j + 1)
    return None


def together(found: list[Procedure]) -> Procedure:
    """Several procedures as one, which runs them in order."""

    def start(rebind: Rebinder, asked: Asked) -> Callable[[World], None]:
        runs = [each.start(rebind, asked) for each in found]

        def run(world: World) -> None:
            for each in runs:
                each(world)

        return run

    defaults = {n: v for each in found for n, v in each.defaults.items()}
    hypers = {n: v for each in found for n, v in each.hypers.items()}
    name = "_".join(dict.fromkeys(each.name for each in found))
    signed = frozenset[str]().union(*(each.signed for each in found))
    keywords = next((each.keywords for each in found if each.keywords), "")
    return replace(
        found[0], name=name, start=start, defaults=defaults, hypers=hypers, signed=signed,
        keywords=keywords,
    )  # fmt: skip


def _apart(procedure: Procedure, hypers: set[str]) -> Procedure:
    """A rule that is called as a hyper gets another name: a chain refuses two of one name."""
    name = procedure.name
    return replace(procedure, name=f"{name}_rule") if name in hypers else procedure


def _update(procedure: Procedure, held: Held, said: Asked) -> Update:
    """Run one procedure; a name that turns out to be a slot or a hyper starts it anew."""
    names, hypers = dict(held.names), set(said.hypers)
    while True:
        asked = Asked(frozenset(hypers), said.constants, said.guess)
        recorder = Recorder(procedure.name)
        rebind = Rebinder(recorder)
        try:
            run = procedure.start(rebind, asked)
            before = replace(held, names=names)
            phases = Phases(recorder, rebind.watch, run, before, procedure.defaults)
            update = phases.update()
            _refuse_hidden(procedure, phases, recorder)
        except Guessed as found:
            if found.is_tensor:
                names[found.name] = Known()
            else:
                hypers.add(found.name)
            continue
        except Untraceable as why:
            raise TypeError(f"lift: {procedure.name} uses {why.word}; {why.instead}") from None
        _refuse_unclear(recorder, procedure, update, hypers, asked)
        return update


# --- what a rule would do otherwise than the code, in silence ------------------------------------


def _refuse_hidden(procedure: Procedure, phases: Phases, recorder: Recorder) -> None:
    """Raise for what **kwargs and other parameters would change."""
    keywords = procedure.keywords
    if keywords:
        names = _words(recorder.codes) - procedure.signed
        phases.refuse_changes(
            lambda world: world.more.update({n: world.trap(n, keywords) for n in sorted(names)}),
            f"depends on what is in **{keywords}",
            "name in the signature what it reads",
        )
    if not procedure.loops:
        return
    for answer in (True, False):
        recorder.elsewhere = answer
        phases.refuse_changes(
            World.other,
            "takes several parameters together, as in a norm over all of them",
            "write a rule with total(x) or global_norm(x), or do it outside of the step",
        )


def _words(codes: Iterable[CodeType]) -> set[str]:
    """Names that code may ask **kwargs for: its strings, and the arguments of its functions."""
    names: set[str] = set()
    for code in codes:
        names.update(const for const in code.co_consts if isinstance(const, str))
        names.update(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])
    taken = {"p", "g", "u", "t", "self"}
    return {n for n in names if n.isidentifier() and not keyword.iskeyword(n)} - taken


def _refuse_late(found: list[Procedure], updates: list[Update]) -> None:
    """Raise where a procedure reads what a later one makes: that of the step before."""
    for i, (reader, update) in enumerate(zip(found, updates, strict=True)):
        there = {*update.left.names, *update.left.switches}
        for maker, after in zip(found[i + 1 :], updates[i + 1 :], strict=True):
            made = {*after.left.names, *after.left.switches} - there
            asked = made & update.missed or (made if update.counted and not there else set())
            if asked:
                name = min(asked)
                raise TypeError(
                    f"lift: {reader.name} asks for {name}, which {maker.name} makes only after it "
                    "in a step, so that it would be that of the step before; make it in an earlier "
                    "one, or rename one of the two"
                )


def _refuse_unclear(
    recorder: Recorder, procedure: Procedure, update: Update, hypers: set[str], asked: Asked
) -> None:
    """Raise for names of which the code does not tell whether they are state or numbers."""
    used = inputs_of(*update.outputs.values()).keys()
    unclear = {n for n in used if asked.guess and n in procedure.unclear and n not in hypers}
    unclear -= update.left.names.keys()
    if unclear:
        blame_many(recorder, frozenset(unclear))


def _refuse_absent(procedure: Procedure, update: Update, said: Asked) -> None:
    """Raise for an argument that is None here, but may be another procedure's state."""
    absent = sorted((procedure.absent & update.missed) - said.hypers)
    if absent and said.guess:
        name = absent[0]
        raise TypeError(
            f"lift: {procedure.name} takes {name}=None and does not make it; pass "
            f"slots=({name!r},) if another rule keeps it, hypers=({name!r},) if it is a number, "
            f"or {name}=None"
        )


def _refuse_unknown(
    found: list[Procedure],
    updates: list[Update],
    said: Asked,
    rename: Mapping[str, str],
    slots: Iterable[str],
) -> None:
    """Raise for names that were given to lift and that the code does not have."""
    known = {"p", "g", "state"}.union(*(each.hypers.keys() for each in found))
    known = known.union(*(each.left.names.keys() - set(slots) for each in updates))
    known = known.union(*(each.outputs.keys() for each in updates))
    known = known.union(*(inputs_of(*each.outputs.values()).keys() for each in updates))
    given = dict(hypers=said.hypers, constants=said.constants, rename=rename, slots=slots)
    for what, names in given.items():
        for name in sorted(set(names) - known):
            raise TypeError(
                f"lift: {what} has {name!r}, which the code does not{suggest(name, known)}"
            )
    twice = [new for new in rename.values() if [*rename.values()].count(new) > 1]
    if twice:
        raise TypeError(f"lift: rename gives two names to {twice[0]!r}; give each its own")


# --- rules --------------------------------------------------------------------------------------


def _rule(procedure: Procedure, update: Update, rename: Mapping[str, str]) -> Rule:
    used = inputs_of(*update.outputs.values())
    tensors = {"p", "g", "t", *update.slots, *update.left.names}
    hypers = {n: procedure.hypers.get(n, REQUIRED) for n in [*procedure.hypers, *sorted(used)]
              if n in used and n not in tensors}  # fmt: skip
    taken = {*RESERVED, *SWITCHES}
    for name in [*update.slots, *hypers, *(update.outputs.keys() - {"p", "g"})]:
        if rename.get(name, name) in taken:
            raise TypeError(
                f"lift: {procedure.name} has a state or a hyper-parameter called "
                f"{rename.get(name, name)}, which means something else in steppers (step is what "
                f"is one more after every step); rename={{{name!r}: …}} gives it another name"
            )
    order = sorted(hypers, key=lambda n: (hypers[n] is not REQUIRED, n != "lr"))
    hypers = {n: hypers[n] for n in order}
    source = Writer(procedure.name, update.outputs, update.slots, hypers, rename).source()
    rule = compiled(procedure.name, source, procedure.module)
    read_step(rule)
    return rule
