"""Both sides of every `if`: a run for each way through, and the ways joined by `where`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from ...tracing import Value
from .recording import Raw, Recorder, is_condition, same

MOST_WAYS = 64
T = TypeVar("T")
Way: TypeAlias = "tuple[list[tuple[Value, bool]], T]"


def ways(recorder: Recorder, run: Callable[[], T]) -> list[tuple[list[tuple[Value, bool]], T]]:
    """Every way through `run`: the answers it got, and what it returned."""
    found: list[tuple[list[tuple[Value, bool]], T]] = []
    script: list[bool] | None = []
    while script is not None:
        if len(found) == MOST_WAYS:
            recorder.refuse(
                f"has more than {MOST_WAYS} ways through its conditions",
                "decide some of them by constants, or write torch.where",
            )
        recorder.taken, recorder.script = {}, script
        result = run()
        found.append((list(recorder.taken.items()), result))
        script = _next([answer for _, answer in found[-1][0]])
    return found


def _next(answers: list[bool]) -> list[bool] | None:
    """The next way in order: the last yes becomes a no; None after the last way."""
    while answers and not answers[-1]:
        answers.pop()
    return [*answers[:-1], False] if answers else None


def join(
    recorder: Recorder,
    found: list[tuple[list[tuple[Value, bool]], Mapping[str, Raw]]],
    unchanged: Mapping[str, Raw],
    depth: int = 0,
) -> dict[str, Raw]:
    """One value for each name: what each way gives it, chosen by that way's conditions."""
    if len(found) == 1:
        return dict(found[0][1])
    condition = found[0][0][depth][0]
    yes, no = (
        join(recorder, [way for way in found if way[0][depth][1] is answer], unchanged, depth + 1)
        for answer in (True, False)
    )
    names = dict.fromkeys([*yes, *no])
    sides = {n: (yes.get(n, unchanged.get(n)), no.get(n, unchanged.get(n))) for n in names}
    joined: dict[str, Raw] = {}
    for name, (a, b) in sides.items():
        if a is None or b is None:
            recorder.refuse(
                f"sets {name} on one side of a condition only",
                "set it on both, or keep the hyper that decides: constants=[…], with its value",
            )
        joined[name] = choose(recorder, condition, a, b)
    return joined


def choose(recorder: Recorder, condition: Raw, a: Raw, b: Raw) -> Raw:
    """a where the condition holds, else b; as deep inside as the two differ."""
    if same(a, b) and is_condition(a) == is_condition(b):
        return a
    a, b = _as_products(recorder, a, b)
    if isinstance(a, Value) and isinstance(b, Value):
        pair = _difference(a, b, {})
        if not (same(pair[0], a) and same(pair[1], b)):
            chosen = choose(recorder, condition, *pair)
            return _rebuilt(recorder, a, b, pair, chosen, {})
    if is_condition(a) and is_condition(b):
        return _either(recorder, condition, a, b)
    joined = _joined_conditions(recorder, condition, a, b)
    return recorder.record("where", condition, a, b) if joined is None else joined


def _either(recorder: Recorder, condition: Raw, a: Raw, b: Raw) -> Raw:
    """The condition a or b, by another condition: in & and |, which engines take of any type."""
    yes = a if a is False else condition if a is True else recorder.record("and", condition, a)
    other = recorder.record("not", condition)
    no = b if b is False else other if b is True else recorder.record("and", other, b)
    if yes is False or no is False:
        return no if yes is False else yes
    return recorder.record("or", yes, no)


def _as_products(recorder: Recorder, a: Raw, b: Raw) -> tuple[Raw, Raw]:
    """x beside x * y is x * 1, so that the factor is what is chosen."""
    for one, other in ((a, b), (b, a)):
        if isinstance(other, Value) and other.op == "mul" and same(one, other.args[0]):
            made = recorder.tracer.record("mul", (other.args[0], 1))
            return (made, b) if one is a else (a, made)
    return a, b


def _difference(a: Raw, b: Raw, known: dict[tuple[int, int], Any]) -> tuple[Raw, Raw]:
    """The one pair in which two computations of the same words differ, as deep as there is one."""
    if not _alike(a, b):
        return a, b
    assert isinstance(a, Value) and isinstance(b, Value)
    key = (a.index, b.index)
    if key not in known:
        pairs: list[tuple[Raw, Raw]] = []
        for x, y in zip(a.args, b.args, strict=True):
            if not same(x, y):
                found = _difference(x, y, known)
                if not any(same(found[0], p) and same(found[1], q) for p, q in pairs):
                    pairs.append(found)
        known[key] = pairs[0] if len(pairs) == 1 else (a, b)
    return known[key]


def _alike(a: Raw, b: Raw) -> bool:
    """True for two results of the same word, which is computed element by element.

    Not for two reductions: chosen outside they are both at hand, inside they are a pass more.
    """
    if not (isinstance(a, Value) and isinstance(b, Value)) or a.is_input or a.op != b.op:
        return False
    pure = a.kind in ("elementwise", "compare")
    return pure and a.attrs == b.attrs and len(a.args) == len(b.args)


def _rebuilt(
    recorder: Recorder,
    a: Raw,
    b: Raw,
    pair: tuple[Raw, Raw],
    chosen: Raw,
    done: dict[tuple[int, int], Raw],
) -> Raw:
    """The computation of a and b with the chosen value where they differ."""
    if same(a, b):
        return a
    if same(a, pair[0]) and same(b, pair[1]):
        return chosen
    assert isinstance(a, Value) and isinstance(b, Value)
    key = (a.index, b.index)
    if key not in done:
        args = (_rebuilt(recorder, x, y, pair, chosen, done)
                for x, y in zip(a.args, b.args, strict=True))  # fmt: skip
        made = recorder.record(a.op, *args, over=dict(a.attrs).get("over"))
        if isinstance(made, Value) and a.name and a.name == b.name:
            made.named(a.name)
        done[key] = made
    return done[key]


def _joined_conditions(recorder: Recorder, condition: Raw, a: Raw, b: Raw) -> Raw | None:
    """where(c, x, where(d, x, y)) as where(c | d, x, y), and the same for &."""
    if isinstance(b, Value) and b.op == "where" and same(a, b.args[1]):
        return recorder.record("where", recorder.record("or", condition, b.args[0]), *b.args[1:])
    if isinstance(a, Value) and a.op == "where" and same(b, a.args[2]):
        return recorder.record("where", recorder.record("and", condition, a.args[0]), *a.args[1:])
    return None
