"""Skipping: a step on gradients that are not all finite keeps every old value.

The condition is one total over all tensors, part of the program as any other, so that every engine
has it; the values that only the host keeps are left to whoever writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .passes import reach
from .tracing import FULL, HOST, Tracer, Type, Value


def concerns(which: str, outputs: Mapping[str, Value]) -> bool:
    """True for a step, and for a further chain that depends on the gradient."""
    return which == "steps" or any(v.is_input and v.name == "g" for v in reach(outputs.values()))


def keep_unless_finite(
    which: str, tracer: Tracer, outputs: Mapping[str, Value], types: Mapping[str, Type]
) -> tuple[dict[str, Value], Value]:
    """Outputs that are the old values where some gradient is not finite; and that condition.

    One total counts over all chains of an optimizer: without code of a rule, its site is the name
    alone. Host scalars stay as they are: a global condition would move them to the device.
    """
    tracer.rule, tracer.code = "skip_nonfinite", None
    bad = tracer.record("where", [tracer.record("isfinite", [tracer.inputs["g"]]), 0.0, 1.0])
    finite = tracer.record("eq", [tracer.record("total", [bad]).named("nonfinite"), 0.0])
    finite = finite.named("finite")
    kept: dict[str, Value] = {}
    for name, new in outputs.items():
        kind = FULL if name == "p" else types[name]
        old = tracer.input(name, kind)
        # p asks for the total whatever conditions on host scalars say; slots follow them
        inside = which == "steps" and name != "p"
        kept[name] = new if kind == HOST else _choose(tracer, finite, new, old, inside).named(name)
    return kept, finite


def _choose(tracer: Tracer, finite: Value, new: Any, old: Value, inside: bool) -> Value:
    """`new` where finite, else `old`; `inside` the sides of a `where` on a host scalar.

    There the side that keeps the old value stays free: it is neither read nor written.
    """
    if inside and new is old:
        return old
    if inside and isinstance(new, Value) and new.op == "where" and new.extent != HOST:
        condition, *sides = new.args
        if isinstance(condition, Value) and condition.extent == HOST:
            chosen = [_choose(tracer, finite, side, old, inside) for side in sides]
            return tracer.record("where", [condition, *chosen])
    return tracer.record("where", [finite, new, old])
