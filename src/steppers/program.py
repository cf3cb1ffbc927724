"""A program: a chain traced to typed values in single assignment, and cut into passes."""

from __future__ import annotations

import contextlib
import functools
import inspect
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

from . import skipping
from .binding import Binding, bind, refuse_unused
from .chain import Rule
from .passes import CUTS, ELSEWHERE, Pass, Selection, cut, reach, select
from .slots import SHAPES
from .tracing import (
    FULL,
    GLOBAL,
    HOST,
    NUMBER,
    PER_TENSOR,
    Tracer,
    Type,
    Untraceable,
    Value,
    broadcast,
    fits,
    type_text,
)

Chains: TypeAlias = tuple[tuple[str, tuple[Rule, ...]], ...]
Hosts: TypeAlias = dict[Value, Any]  # the host values of one row: floats, or tensors (capturable)


@dataclass(eq=False)
class Program:
    """One chain as values: `outputs` names what a step stores, `values` is everything it needs."""

    name: str
    outputs: dict[str, Value]  # p, slots and kept scalars; g and u live within the step
    values: tuple[Value, ...]  # in an order in which each comes after its operands
    inputs: dict[str, Value]
    slots: dict[str, Any]
    host_slots: frozenset[str]
    kept: dict[str, str]  # kept scalars and their types, host or global
    conditions: tuple[Value, ...]  # host scalars that a `where` on something larger asks
    returned_by: Mapping[str, str]  # the rule that returned each output
    finite: Value | None = None  # with skip_nonfinite: false where a step changes nothing
    _selected: dict[Any, Selection] = field(default_factory=dict[Any, Selection])

    @functools.cached_property
    def phases(self) -> tuple[Pass, ...]:
        """The program cut at global reductions only, for engines that hold whole tensors."""
        return cut(self.values, self.stores, ELSEWHERE)

    @functools.cached_property
    def passes(self) -> tuple[Pass, ...]:
        """The program cut at every reduction and matrix op: walks over memory."""
        return cut(self.values, self.stores, CUTS)

    def select(self, phase: int, taken: tuple[bool | None, ...]) -> Selection:
        """A phase with the conditions decided; made once for each way to decide them."""
        if (phase, taken) not in self._selected:
            decided = dict(zip(self.conditions, taken, strict=True))
            made = select(self.phases[phase], self.outputs.values(), decided)
            self._selected[phase, taken] = made
        return self._selected[phase, taken]

    def skipped(self, totals: Mapping[Value, Any]) -> Any:
        """False; with skip_nonfinite a 0-dim tensor, true where a gradient was not finite."""
        return False if self.finite is None else totals[self.finite.args[0]] != 0

    @functools.cached_property
    def stores(self) -> dict[str, Value]:
        """What a step writes to tensors: p and slots that change, but for host scalars."""
        tensors = {"p", *self.slots} - self.host_slots
        return {n: v for n, v in self.outputs.items()
                if n in tensors and not (v.is_input and v.name == n)}  # fmt: skip

    @functools.cached_property
    def host(self) -> tuple[Value, ...]:
        """The host values that are computed, in order."""
        return tuple(v for v in self.values if v.extent == HOST and not v.is_input)

    @functools.cached_property
    def host_words(self) -> frozenset[str]:
        """Inputs and shape words that can differ between the parameters of a group."""
        words = {v.op for v in self.values if v.kind == "shape"}
        return frozenset(words | ({"t", NUMBER} & set(self.inputs)))

    @functools.cached_property
    def needs_matrix(self) -> str:
        """The first word that only matrices have (an axis, a matrix op), or ''."""
        for value in self.values:
            over = dict(value.attrs).get("over") if value.kind == "reduce" else None
            if value.kind == "matrix" or over:
                return f'{value.op}(over="{over}")' if over else value.op
            slot = self.slots.get(value.name) if value.is_input else None
            if slot is not None and slot.shape not in ("p", "scalar"):
                return repr(slot)
        return ""

    def __str__(self) -> str:
        return "\n".join([f"program {self.name}", *(str(p) for p in self.passes)])


@dataclass(frozen=True)
class Programs:
    """The chains of one class of shapes: their names bound, each traced; or why they are not."""

    binding: Binding
    programs: dict[str, Program]
    untraceable: str = ""  # which rule used which word, and what to write instead


@functools.cache
def build(
    name: str, chains: Chains, settled: frozenset[str], skip_nonfinite: bool = False
) -> Programs:
    """Bind and trace all chains of one class of shapes; cached by their functions.

    With `skip_nonfinite` what a program stores keeps its old value where any gradient of the whole
    optimizer is infinite or NaN, but for host scalars: whoever writes these reads `finite`.
    """
    rules = list(dict.fromkeys(rule for _, chain in chains for rule in chain))
    probes = {rule: _probe(rule) for rule in rules}
    returns = {rule: probe if isinstance(probe, frozenset) else None
               for rule, probe in probes.items()}  # fmt: skip
    binding = bind(name, dict(chains), returns, settled)
    for rule, probe in probes.items():
        if isinstance(probe, Untraceable):
            _refuse_totals(name, rules, rule, probe)
            return Programs(binding, {}, _explain_untraceable(rule, probe))
    return Programs(binding, _trace(name, chains, binding, skip_nonfinite))


def _explain_untraceable(rule: Rule, why: Untraceable) -> str:
    instead = f"; write {why.instead} instead" if why.instead else ""
    return f"{rule.name} uses {why.word}, which is not among the words of steppers.ops{instead}"


def _refuse_totals(name: str, rules: list[Rule], opaque: Rule, why: Untraceable) -> None:
    for rule in rules:
        tracer = Tracer(lenient=True)
        with contextlib.suppress(Untraceable):  # until there, the opaque rule is traced as well
            _call(tracer, rule, _alone(tracer, rule))
        found = [v for v in tracer.values if v.kind in ("total", "random")]
        if found:
            raise TypeError(
                f"{name}: {rule.name} uses {found[0].op}, which needs every rule of the chain to "
                f"be traceable, but {_explain_untraceable(opaque, why)}"
            )


@functools.cache
def _probe(rule: Rule) -> frozenset[str] | Untraceable:
    """The names that a rule returns, from tracing it alone, twice; or why it cannot be traced."""
    logs: list[list[str]] = []
    returned: dict[str, Any] = {}
    for _ in range(2):
        tracer = Tracer(lenient=True)
        try:
            returned = _call(tracer, rule, _alone(tracer, rule))
        except Untraceable as why:
            return why
        last = [f"{k}={v.index if isinstance(v, Value) else v!r}" for k, v in returned.items()]
        logs.append([*tracer.log, *last])
    if logs[0] != logs[1]:
        raise TypeError(
            f"{rule.name} is not pure: two traces of it differ. A rule depends on its arguments "
            "alone; randomness comes from uniform(x), normal(x) and coin(x)"
        )
    return frozenset(returned)


def _alone(tracer: Tracer, rule: Rule) -> dict[str, Value]:
    return {n: tracer.input(n, FULL) for n in (*rule.reads, *(k for k, _ in rule.keywords))}


def _call(tracer: Tracer, rule: Rule, env: Mapping[str, Any]) -> dict[str, Any]:
    """Call a rule under trace, which names values after the rule's own variables."""
    tracer.rule, tracer.code = rule.name, getattr(inspect.unwrap(rule.fn), "__code__", None)
    return check_returned(rule, rule(env))


def check_returned(rule: Rule, returned: Any, kinds: Any = Value | int | float) -> dict[str, Any]:
    """What a rule returned, if it is a dict of names to values of these kinds; else TypeError."""
    if not isinstance(returned, dict):
        raise TypeError(
            f"{rule.name} returns {type(returned).__name__}, but a rule returns a dict of new "
            "values: return dict(p=…)"
        )
    for key, value in returned.items():
        if not isinstance(key, str) or not isinstance(value, kinds):
            raise TypeError(
                f"{rule.name} returns {key!r}: {type(value).__name__}, but a rule returns tensors "
                "and numbers computed from its arguments, by name"
            )
    return returned


# --- tracing a chain ---------------------------------------------------------------------------


def _trace(
    owner: str, chains: Chains, binding: Binding, skip_nonfinite: bool
) -> dict[str, Program]:
    """Trace every chain; scalars start as host values, raised where a reduction feeds them."""
    types: dict[str, Type] = {name: HOST for name in binding.kept}
    for name, slot in binding.slots.items():
        types[name] = HOST if slot.shape == "scalar" else SHAPES[slot.shape]
    traced = {which: _run(which, rules, types) for which, rules in chains}
    while _raise(types, traced, binding):
        traced = {which: _run(which, rules, types) for which, rules in chains}
    _refuse_unused(owner, chains, [outputs for _, outputs in traced.values()], binding)
    host_slots = frozenset(n for n in binding.slots if types[n] == HOST)
    kept = {n: str(types[n]) for n in binding.kept}
    made: dict[str, Program] = {}
    for which, (tracer, outputs) in traced.items():
        _check_outputs(which, tracer, outputs, binding, types)
        outputs = {n: v for n, v in outputs.items() if n != "u"}
        finite = None
        if skip_nonfinite and skipping.concerns(which, outputs):
            outputs, finite = skipping.keep_unless_finite(which, tracer, outputs, types)
        made[which] = _finish(which, tracer, outputs, binding, host_slots, kept, finite)
    return made


Traced: TypeAlias = dict[str, tuple[Tracer, dict[str, Value]]]


def _raise(types: dict[str, Type], traced: Traced, binding: Binding) -> bool:
    """Give scalars the types of what feeds them; True if one was raised, so that all change."""
    raised = False
    for which, (tracer, outputs) in traced.items():
        for name, value in outputs.items():
            now = types.get(name)
            if isinstance(now, str) and value.extent != now:
                if name in binding.slots and not isinstance(value.extent, str):
                    _refuse_tensor(which, tracer, name, value, binding)
                least = PER_TENSOR if name in binding.slots else now  # each parameter has its own
                types[name] = broadcast(name, "slot", [now, least, value.extent])
                raised |= types[name] != now
    return raised


def _refuse_tensor(
    which: str, tracer: Tracer, name: str, value: Value, binding: Binding
) -> NoReturn:
    slot = binding.slots[name]
    raise TypeError(
        f"{tracer.returned_by[name]} returns {name} of shape {type_text(value.extent)} in {which}, "
        f"but {name} has shape (), as {slot!r} says; reduce it with mean(x) or norm(x), or keep "
        f"a tensor: {name}=zeros"
    )


def _refuse_unused(
    owner: str, chains: Chains, outputs_of: list[dict[str, Value]], binding: Binding
) -> None:
    """Raise for the first slot whose old value reaches no p."""
    live = _live(outputs_of)
    unused = [slot for slot in binding.slots if slot not in live]
    if unused:
        used = reach(outputs[name] for outputs in outputs_of for name in live if name in outputs)
        fresh = {value for value in used if not value.is_input}
        new_is_read = any(outputs.get(unused[0]) in fresh for outputs in outputs_of)
        rules = [rule for _, rules in chains for rule in rules]
        refuse_unused(owner, unused[0], rules, new_is_read)


def _live(chains: list[dict[str, Value]]) -> set[str]:
    """Names that some chain's p depends on, through slots and later steps as well; p is one."""
    live = {"p"}
    wanted = ["p"]
    while wanted:
        name = wanted.pop()
        for outputs in chains:
            found = (
                {v.name for v in reach([outputs[name]]) if v.is_input} if name in outputs else ()
            )
            fresh = set(found) - live
            live |= fresh
            wanted += fresh
    return live


def _run(
    which: str, rules: Iterable[Rule], types: Mapping[str, Type]
) -> tuple[Tracer, dict[str, Value]]:
    """One trace of a chain: what each name holds at the end, of those that a step keeps.

    Further chains run at the same t as steps, so their random words have a salt: the name.
    """
    tracer = Tracer(salt=0 if which == "steps" else zlib.crc32(which.encode()))
    env: dict[str, Value] = {"p": tracer.input("p", FULL), "g": tracer.input("g", FULL)}
    outputs: dict[str, Value] = {}
    for rule in rules:
        for name in (*rule.reads, *(k for k, _ in rule.keywords)):
            if name == "u" and "u" not in outputs:
                env["u"] = env["g"]
            elif name not in env:
                env[name] = tracer.input(name, types.get(name, HOST))
        for name, value in _call(tracer, rule, env).items():
            made = value if isinstance(value, Value) else tracer.const(value)
            env[name] = outputs[name] = made.named(name)
            tracer.returned_by[name] = rule.name
    return tracer, {n: v for n, v in outputs.items() if n == "p" or n == "u" or n in types}


def _check_outputs(
    which: str,
    tracer: Tracer,
    outputs: Mapping[str, Value],
    binding: Binding,
    types: Mapping[str, Type],
) -> None:
    for name, value in outputs.items():
        wanted: Type = FULL if name == "p" else types.get(name, FULL)
        if name in binding.kept:
            _check_kept(tracer.returned_by[name], name, value, binding)
        elif name != "u" and not fits(value.extent, wanted):
            raise TypeError(
                f"{tracer.returned_by[name]} returns {name} of shape {type_text(value.extent)} in "
                f"{which}, but {name} has shape {type_text(wanted)}"
            )


def _check_kept(rule: str, name: str, value: Value, binding: Binding) -> None:
    if value.extent not in (HOST, GLOBAL):
        raise TypeError(
            f"{rule} keeps the scalar {name}, which has one value for the group, but returns "
            f"one of type {type_text(value.extent)}; reduce it with total(x) or global_norm(x)"
        )
    totals = frozenset(v for v in reach([value]) if v.kind == "total")
    for each in reach([value], stop=totals):
        own = each.is_input and each.name in ("t", NUMBER, *binding.slots)
        if own or each.kind == "shape":
            raise TypeError(
                f"{rule} returns {name}, a keyword-only scalar, which is kept in the group, "
                f"but computes it from {each.op if each.kind == 'shape' else each.name}, which "
                "differs between parameters; return it under another name to use it in this step"
            )


def _finish(
    which: str,
    tracer: Tracer,
    outputs: dict[str, Value],
    binding: Binding,
    host_slots: frozenset[str],
    kept: dict[str, str],
    finite: Value | None,
) -> Program:
    values = tuple(reach(outputs.values()))
    asked = (v.args[0] for v in values if v.op == "where" and v.extent != HOST)
    conditions = tuple(dict.fromkeys(c for c in asked if isinstance(c, Value) and c.extent == HOST))
    inputs = {"p": tracer.inputs["p"], **{v.name: v for v in values if v.is_input}}
    return Program(which, outputs, values, inputs,
                   dict(binding.slots), host_slots, kept, conditions,
                   tracer.returned_by, finite)  # fmt: skip
