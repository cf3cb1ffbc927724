"""What a run of somebody's code records: traced values, the branches it took, what it called them.

One recorder serves all runs of one procedure, so that equal computations of two runs are one value.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import CodeType, FrameType
from typing import Any, NoReturn, TypeAlias, cast

from ...optable import OPS, Operand
from ...tracing import HOST, PER_TENSOR, Tracer, Type, Value
from .catching import RAISING, caught_by

Raw: TypeAlias = Value | float | int | bool
OTHER = "other "  # before the names of the inputs of another parameter
MOST_QUESTIONS = 16  # of one run: more of them is a loop that asks its own results


class Recorder:
    """Records words on values, folds plain numbers, and answers questions about traced ones."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tracer = Tracer()
        self.tracer.rule = name
        self.codes: set[CodeType] = set()  # of the functions under lifting: whose locals give names
        self.taken: dict[Value, bool] = {}  # the questions of the present run, as answered
        self.script: list[bool] = []  # the answers that it shall get, as far as they are given
        self.refusal: TypeError | None = None  # kept: the user's code may catch it
        self.first = True  # the present run is of a parameter's first step
        self.elsewhere: bool | None = None  # the answer about other parameters than the lifted one

    def input(self, name: str, type: Type) -> Value:
        """The input of that name."""
        return self.tracer.input(name, type)

    @property
    def t(self) -> Value:
        """The step count of the parameter, from 1."""
        return self.input("t", HOST)

    def record(self, op: str, *args: Raw, over: str | None = None) -> Raw:
        """One word on these operands; numbers alone are computed at once."""
        if OPS[op].kind == "reduce" and not any(_has_elements(arg) for arg in args):
            return self._reduce_constant(op, args)
        folded = self._fold(op, args)
        if folded is not None:
            return folded
        attrs = {"over": over} if OPS[op].kind == "reduce" else {}
        self._read_names()
        if op in RAISING and all(extent_of(arg) == HOST for arg in args):
            self._refuse_caught()
        return self.tracer.record(op, cast("Sequence[Operand]", args), **attrs)

    def _fold(self, op: str, args: tuple[Raw, ...]) -> Raw | None:
        """Numbers computed, x * 1 left out, powers by their names, (t - 1) + 1 as t."""
        if not any(isinstance(arg, Value) for arg in args):
            host: Any = OPS[op].host
            return host(*args)
        if op == "div" and is_number(args[1], 1):
            return args[0]
        if op == "where" and not isinstance(args[0], Value):
            return args[1] if args[0] else args[2]
        if op == "mul" and any(is_number(arg, 1) for arg in args):
            return args[1] if is_number(args[0], 1) else args[0]
        if op == "mul" and args[0] is args[1]:
            return self.record("square", args[0])
        if op == "pow" and not isinstance(args[1], Value) and args[1] in (0.5, 1, 2):
            words = {0.5: "sqrt", 2: "square"}
            return self.record(words[args[1]], args[0]) if args[1] != 1 else args[0]
        if op == "add" and type(args[0]) is int:
            args = args[::-1]
        if op in ("add", "sub") and type(args[1]) is int:
            return self._count(args[0], args[1] if op == "add" else -args[1])
        return None

    def _count(self, counted: Raw, more: int) -> Raw | None:
        """t + n with whole n is one sum, however it was added up."""
        start = self.t
        if counted is not start and isinstance(counted, Value) and counted.op in ("add", "sub"):
            base, offset = counted.args
            if base is start and type(offset) is int:
                more += offset if counted.op == "add" else -offset
                counted = start
        if counted is not start:
            return None
        return self.counted(more)

    def counted(self, offset: int) -> Value:
        """t + offset."""
        if offset == 0:
            return self.t
        return self.tracer.record("add" if offset > 0 else "sub", (self.t, abs(offset)))

    def _reduce_constant(self, op: str, args: tuple[Raw, ...]) -> Raw:
        """Reductions of a tensor that is filled with one number."""
        x = args[0] if op != "dot" else self.record("mul", *args)
        if op in ("mean", "amax"):
            return x
        count = self.tracer.record("numel", (self.input("p", ("n", "m")),))
        if op in ("sum", "dot"):
            return self.record("mul", x, count)
        size = self.record("abs", x)
        return size if op == "rms" else self.record("mul", size, self.record("sqrt", count))

    def _refuse_caught(self) -> None:
        """Raise where somebody's code would catch an error that no rule raises."""
        for frame in _frames():
            caught = caught_by(frame.f_code) if frame.f_code in self.codes else ""
            if caught:
                self.refuse(
                    f"catches {caught}, while numbers of a rule raise none: 1 / 0 is inf",
                    "ask before: if x != 0",
                )

    # --- branches -------------------------------------------------------------------------------

    def decide(self, condition: Value) -> bool:
        """The answer of this run to an `if`; both answers are run, one after the other."""
        if self.elsewhere is not None and any(n.startswith(OTHER) for n in inputs_of(condition)):
            return self.elsewhere
        if condition not in self.taken:
            known = self._about_first(condition)
            if known is not None:
                return known
            if len(self.taken) >= MOST_QUESTIONS:
                self.refuse(
                    f"asks {MOST_QUESTIONS} questions about traced values in one run: a loop on "
                    "data has no fixed length",
                    "loop over range(a constant), or keep this procedure as it is",
                )
            here = len(self.taken)
            self.taken[condition] = self.script[here] if here < len(self.script) else True
        return self.taken[condition]

    def _about_first(self, condition: Value) -> bool | None:
        """The answer to whether this is the first step; None for other questions."""
        if condition.op not in ("eq", "ne", "lt", "le", "gt", "ge"):
            return None
        sides = [self._at(arg) for arg in condition.args]
        known = [side for side in sides if side is not None]
        if len(known) < len(sides):
            return None
        host: Any = OPS[condition.op].host
        first, second, late = (host(*(side[i] for side in known)) for i in range(3))
        if second is not late or first is second:
            return None
        return first if self.first else second

    def _at(self, raw: Raw) -> tuple[float, ...] | None:
        """A number, or t and a whole number more, at the steps 1 and 2 and in the end."""
        steps = (1, 2, math.inf)
        if not isinstance(raw, Value):
            return (raw, raw, raw)
        if raw is self.t:
            return steps
        counts = raw.op in ("add", "sub") and raw.args[0] is self.t and type(raw.args[1]) is int
        host: Any = OPS[raw.op].host if counts else None
        return tuple(host(step, raw.args[1]) for step in steps) if counts else None

    # --- names and places -----------------------------------------------------------------------

    def _read_names(self) -> None:
        """Name values after the variables of the user's functions that hold them."""
        for frame in _frames():
            if frame.f_code in self.codes:
                for local, held in frame.f_locals.items():
                    cell = getattr(type(held), "named_cell", None)
                    value = cell(held) if cell else None
                    if isinstance(value, Value):
                        value.named(local)

    def forget_names(self) -> None:
        """Let the next runs name the values."""
        for value in self.tracer.values:
            value.__dict__["name"] = ""

    def refuse(self, what: str, instead: str) -> NoReturn:
        """Raise TypeError for something in the user's code, with its place."""
        self.fail(self.refusal_of(what, instead))

    def refusal_of(self, what: str, instead: str) -> TypeError:
        """The error for something in the user's code, with its place."""
        here = next((f for f in _frames() if f.f_code in self.codes), None)
        where = _place(here.f_code, here.f_lineno) if here else ""
        return TypeError(f"lift: {self.name} {what}{where}; {instead}")

    def fail(self, refusal: TypeError) -> NoReturn:
        """Raise it, and note it: the user's code may catch it."""
        self.refusal = refusal
        raise refusal

    def failed(self, error: Exception) -> TypeError:
        """What to raise when the user's code fails on stand-ins."""
        where, trace = "", error.__traceback__
        while trace is not None:
            if trace.tb_frame.f_code in self.codes:
                where = _place(trace.tb_frame.f_code, trace.tb_lineno)
            trace = trace.tb_next
        return TypeError(
            f"lift: {self.name} raises {type(error).__name__}: {error}{where}, run on stand-ins "
            "for p and its state; name what it reads in its signature, and check values elsewhere"
        )


def _frames() -> Iterator[FrameType]:
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        yield frame
        frame = frame.f_back


def _place(code: CodeType, line: int) -> str:
    file = code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f" (line {line} of {file})"


def _has_elements(arg: Raw) -> bool:
    return isinstance(arg, Value) and not is_scalar(arg.extent)


def same(a: Raw, b: Raw) -> bool:
    """True for one value, and for equal numbers of one kind and sign."""
    if isinstance(a, Value) or isinstance(b, Value):
        return a is b
    return repr(float(a)) == repr(float(b))


def is_number(raw: Raw, number: float) -> bool:
    """True for this number, as a constant."""
    return not isinstance(raw, Value) and raw == number


def is_condition(raw: Raw) -> bool:
    """True for what a comparison gave."""
    if not isinstance(raw, Value):
        return isinstance(raw, bool)
    return raw.kind == "compare" or (raw.op == "where" and all(map(is_condition, raw.args[1:])))


def negated(raw: Raw) -> Raw | None:
    """x of -x, so that p + -x is written as p - x; None where there is no sign in front."""
    if not isinstance(raw, Value):
        return -raw if math.copysign(1, raw) < 0 else None
    return raw.args[0] if raw.op == "neg" else None


def substituted(recorder: Recorder, roots: Sequence[Raw], put: Mapping[Value, Raw]) -> list[Raw]:
    """The same computations with other values in the place of some."""
    done: dict[Value, Raw] = dict(put)

    def of(raw: Raw) -> Raw:
        if not isinstance(raw, Value) or raw.is_input:
            return done.get(raw, raw) if isinstance(raw, Value) else raw
        if raw not in done:
            attrs: dict[str, Any] = dict(raw.attrs)
            made = [of(arg) for arg in raw.args]
            done[raw] = (
                raw if all(map(same, made, raw.args)) else _again(recorder, raw, made, attrs)
            )
        return done[raw]

    return [of(root) for root in roots]


def _again(recorder: Recorder, old: Value, args: list[Raw], attrs: dict[str, Any]) -> Raw:
    made = recorder.record(old.op, *args, over=attrs.get("over"))
    return made.named(old.name) if isinstance(made, Value) and old.name else made


def inputs_of(*roots: Any) -> dict[str, Value]:
    """The inputs that values are computed from, by name."""
    seen: set[Value] = set()
    stack = [root for root in roots if isinstance(root, Value)]
    while stack:
        value = stack.pop()
        if value not in seen:
            seen.add(value)
            stack.extend(value.operands())
    return {value.name: value for value in seen if value.is_input}


def extent_of(raw: Raw) -> Type:
    """The type of a value; a number is on the host."""
    return raw.extent if isinstance(raw, Value) else HOST


def is_scalar(extent: Type) -> bool:
    """True for one number, of the host or of a tensor."""
    return extent in (HOST, PER_TENSOR)
