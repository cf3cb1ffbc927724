"""Passes: a program cut where a value needs every element, and each cut decided by conditions.

A value that is needed after a cut is computed again from the step's inputs; p and slots are stored
in the last pass that reads their old value. So a step that stops between passes changed nothing
that a later pass reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from .tracing import FULL, GLOBAL, HOST, Value, type_text

CUTS = frozenset({"reduce", "total", "matrix"})
ELSEWHERE = frozenset({"total"})  # where engines that hold whole tensors must stop
Taken: TypeAlias = Mapping[Value, bool | None]  # decided host conditions; None: both sides


def reach(roots: Iterable[Value], stop: frozenset[Value] = frozenset()) -> list[Value]:
    """Everything that the roots are computed from, themselves included, in order."""
    found: dict[Value, None] = {}  # a set would give the inputs in another order each time
    stack = list(roots)
    while stack:
        value = stack.pop()
        if value not in found:
            found[value] = None
            stack.extend(() if value in stop else value.operands())
    inputs = [v for v in found if v.is_input]
    return inputs + sorted((v for v in found if not v.is_input), key=lambda v: v.index)


@dataclass(eq=False)
class Pass:
    """One walk over memory: what it stores, and the reductions and matrix ops it ends with."""

    number: int
    stores: dict[str, Value]  # p and slots
    ends: tuple[Value, ...]  # values at which the program is cut, known from the next pass on
    before: frozenset[Value]  # values known from earlier passes; all else is recomputed

    def values(self) -> list[Value]:
        """All that the pass computes or reads, in order."""
        return reach([*self.stores.values(), *self.ends], self.before)

    def reads(self) -> set[str]:
        """Names of the inputs that the pass reads."""
        return {v.name for v in self.values() if v.is_input}

    def __str__(self) -> str:
        lines = [f"pass {self.number}: reads {', '.join(sorted(self.reads()))}"]
        for value in self.values():
            if not value.is_input and value not in self.before:
                lines.append(f"  {value_text(value)}")
        lines += [f"  store {name} <- {label(v)}" for name, v in self.stores.items()]
        return "\n".join(lines)


def label(value: Any) -> str:
    """How a value is called in print: its name with its number, or the number itself."""
    if not isinstance(value, Value):
        return repr(value)
    return (
        value.name if value.is_input else f"%{value.index}" + (f".{value.name}" * bool(value.name))
    )


def value_text(value: Value) -> str:
    """One line: %7.denom: (n, m) = add %6, eps    # adam."""
    if value.op == "const":
        attrs = [repr(value.attrs[0])]
    else:
        attrs = [f"{k}={v!r}" for k, v in value.attrs if v is not None and k != "site"]
    args = ", ".join([*(label(a) for a in value.args), *attrs])
    return f"{label(value)}: {type_text(value.extent)} = {value.op} {args}    # {value.rule}"


def cut(
    values: Iterable[Value],
    stores: Mapping[str, Value],
    kinds: frozenset[str],
) -> tuple[Pass, ...]:
    """Cut after ops of these kinds; each store goes to the last pass that reads its old value."""
    level: dict[Value, int] = {}
    for value in values:
        after = (level[a] + (a.kind in kinds) for a in value.operands())
        level[value] = max(after, default=0)
    ends = [v for v in level if v.kind in kinds]
    at = {name: level[value] + (value.kind in kinds) for name, value in stores.items()}
    while True:
        count = 1 + max([*at.values(), *(level[v] for v in ends)], default=0)
        passes = tuple(_pass(k, stores, at, ends, level) for k in range(count))
        late = {n: max((k for k, each in enumerate(passes) if n in each.reads()), default=0)
                for n in at}  # fmt: skip
        if all(late[n] <= at[n] for n in at):
            return passes
        at = {n: max(at[n], late[n]) for n in at}


def _pass(
    k: int,
    stores: Mapping[str, Value],
    at: Mapping[str, int],
    ends: list[Value],
    level: Mapping[Value, int],
) -> Pass:
    return Pass(
        k,
        {n: v for n, v in stores.items() if at[n] == k},
        tuple(v for v in ends if level[v] == k),
        frozenset(v for v in ends if level[v] < k),
    )


class Step(NamedTuple):
    """Compute one value from these operands; `dead` are those that nothing later needs.

    With `scaled` s (1 or -1) the operands are (a, b, c), and the value is a + s * c * b.
    """

    value: Value
    args: tuple[Any, ...]
    dead: frozenset[Value] = frozenset()
    scaled: int = 0


@dataclass(eq=False)
class Selection:
    """A pass with its host conditions decided: what to compute, and each value's last use."""

    shared: list[tuple[Value, tuple[Any, ...]]]  # global values, once for all tensors of a row
    steps: list[Step]  # value, operands, what no later step needs
    stores: dict[str, Any]
    ends: list[tuple[Value, tuple[Any, ...]]]  # what the pass is cut at, with its operands
    reads: frozenset[str]
    whole: bool  # a reduction, matrix op or random word: tensors must not be split
    fused: list[Step] | None = None

    @property
    def totals(self) -> list[tuple[Value, Any]]:
        """The totals among the ends, with what each sums."""
        return [(value, args[0]) for value, args in self.ends if value.kind == "total"]

    @property
    def roots(self) -> list[Any]:
        """What the steps are there for: what is stored, and the operands of the ends."""
        return [*self.stores.values(), *(arg for _, args in self.ends for arg in args)]


def resolve(value: Any, taken: Taken) -> Any:
    """The value itself, or the side that a `where` on a decided host condition takes."""
    while isinstance(value, Value) and value.op == "where" and value.extent != HOST:
        decided = taken.get(value.args[0]) if isinstance(value.args[0], Value) else None
        if decided is None:
            return value
        value = value.args[1] if decided else value.args[2]
    return value


def _side(value: Any, taken: Taken) -> Any:
    """`resolve` for an operand: a side that is smaller than the `where` is spread to its size."""
    chosen = resolve(value, taken)
    if chosen is value or isinstance(value.extent, str):
        return chosen
    if isinstance(chosen, Value) and chosen.extent == value.extent:
        return chosen
    p = value.tracer.input("p", FULL)
    extent = ("extent", value.extent)
    return Value(value.tracer, "spread", (chosen, p), (extent,), value.extent)


def needed(outputs: Iterable[Value], taken: Taken) -> set[Value]:
    """Everything that the outputs are computed from when host conditions are decided."""
    found: set[Value] = set()
    stack: list[Any] = list(outputs)
    while stack:
        value = resolve(stack.pop(), taken)
        if isinstance(value, Value) and value not in found:
            found.add(value)
            stack.extend(value.args)
    return found


def select(each: Pass, outputs: Iterable[Value], taken: Taken) -> Selection:
    """A pass with its host conditions decided (None: undecided, both sides are computed)."""
    stores = {name: resolve(value, taken) for name, value in each.stores.items()}
    stores = {n: v for n, v in stores.items() if not (isinstance(v, Value) and v.name == n
                                                      and v.is_input)}  # fmt: skip
    asked = needed(outputs, taken)
    ends = [(v, tuple(_side(a, taken) for a in v.args)) for v in each.ends if v in asked]
    order: dict[Value, tuple[Any, ...]] = {}

    def visit(value: Any) -> None:
        if not isinstance(value, Value) or value in order or value in each.before:
            return
        if value.is_input or value.extent == HOST or value.kind == "total":
            return
        args = tuple(_side(a, taken) for a in value.args)
        for arg in args:
            visit(arg)
        order[value] = args

    roots = [*stores.values(), *(arg for _, args in ends for arg in args)]
    for root in roots:
        visit(root)
    shared = [(v, a) for v, a in order.items() if v.extent == GLOBAL]
    steps = [(v, a) for v, a in order.items() if v.extent != GLOBAL]
    kept = {v for v in roots if isinstance(v, Value)}
    tensors = [v for v, _ in steps] + [
        a for _, args in steps for a in args if isinstance(a, Value) and a.is_input
    ]
    tensors += [arg for _, args in ends for arg in args if isinstance(arg, Value)]
    whole = any(v.kind in ("reduce", "matrix", "random") or v.extent not in (FULL, HOST, GLOBAL)
                for v in tensors)  # fmt: skip
    read = {a.name for _, args in steps for a in args if isinstance(a, Value) and a.is_input}
    read |= {v.name for v in kept if v.is_input}
    steps = _last_uses([Step(v, a) for v, a in steps], kept)
    return Selection(shared, steps, stores, ends, frozenset(read), whole)


def _last_uses(steps: list[Step], kept: set[Value]) -> list[Step]:
    """Fill in `dead`: computed values and inputs that no later step and no store needs."""
    seen = set(kept)
    result: list[Step] = []
    for step in reversed(steps):
        fresh = {a for a in step.args if isinstance(a, Value)} - seen
        seen |= fresh
        result.append(step._replace(dead=frozenset(fresh)))
    return result[::-1]


def fused(selection: Selection) -> list[Step]:
    """The steps with x = c * b; a + x as one: a scaled addition, where nothing else needs x."""
    if selection.fused is None:
        kept = {v for v in selection.roots if isinstance(v, Value)}
        uses = Counter(a for step in selection.steps for a in step.args if isinstance(a, Value))
        products = {
            step.value: step
            for step in selection.steps
            if step.value.op == "mul" and uses[step.value] == 1 and step.value not in kept
        }
        steps: list[Step] = []
        for step in map(_tensor_first, selection.steps):
            merged = _scaled_addition(step, products)
            if merged:
                steps = [s for s in steps if s.value is not step.args[1]]
            steps.append(merged or step)
        selection.fused = _last_uses(steps, kept)
    return selection.fused


def _tensor_first(step: Step) -> Step:
    """c * b as b * c: an engine may overwrite the first operand when it is dead."""
    if step.value.op not in ("add", "mul") or _is_full(step.args[0]) or not _is_full(step.args[1]):
        return step
    return step._replace(args=step.args[::-1])


def _is_full(arg: Any) -> bool:
    return isinstance(arg, Value) and arg.extent == FULL


def _scaled_addition(step: Step, products: Mapping[Value, Step]) -> Step | None:
    if step.value.op not in ("add", "sub") or step.value.extent != FULL:
        return None
    a, x = step.args
    if not _is_full(a) or x not in products:
        return None
    for c, b in (products[x].args, products[x].args[::-1]):
        number = not isinstance(c, Value) or c.extent == HOST
        if number and _is_full(b):
            return Step(step.value, (a, b, c), scaled=1 if step.value.op == "add" else -1)
    return None
