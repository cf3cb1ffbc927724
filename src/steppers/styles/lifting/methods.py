"""What torch's methods and functions are in steppers' words, one row each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch

from ...tracing import FULL, Value
from . import symbols
from .guessing import Guessed, blame_many
from .memory import doubt
from .recording import Raw, Recorder, is_condition, is_number, is_scalar, negated
from .reductions import REDUCTIONS
from .words import do, need_tensors, numeric, refuse_word

VIEWS = frozenset({
    "view", "reshape", "flatten", "ravel", "t", "T", "mT", "H", "mH", "transpose", "permute",
    "unsqueeze", "squeeze", "narrow", "select", "chunk", "split", "unbind", "expand", "view_as",
    "expand_as", "diagonal", "index_select", "unflatten", "swapaxes", "movedim", "real", "imag",
})  # fmt: skip
SHAPES = frozenset({"ndim", "dim", "ndimension", "stride"})
_ROUNDING = (torch.float16, torch.bfloat16, torch.int8, torch.int16, torch.int32, torch.int64,
             torch.uint8)  # fmt: skip


class Shape:
    """The parameter's shape, of which only its use for new tensors is known."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def _refuse(self, *_: Any) -> NoReturn:
        self.recorder.refuse(
            "looks into the shape, but one rule serves all shapes",
            "use numel(), or lift two procedures and join them by steppers.by_shape",
        )

    __len__ = __getitem__ = __iter__ = __eq__ = __contains__ = numel = _refuse
    __hash__ = object.__hash__


class Kind:
    """The dtype or the device of the parameter: handed on, never looked at."""

    def __init__(self, what: str, recorder: Recorder) -> None:
        self.what, self.recorder = what, recorder

    def _refuse(self, *_: Any) -> NoReturn:
        self.recorder.refuse(
            f"branches on the {self.what}, but a rule computes in one way",
            "leave the branch out: state_dtype and rounding are options of the optimizer",
        )

    __eq__ = __ne__ = __bool__ = __getattr__ = _refuse
    __hash__ = object.__hash__


def _shape(x: Any) -> Shape:
    return Shape(x.lift_recorder)


PLAIN: dict[str, Callable[[Any], Any]] = {  # attributes that need no call
    "shape": _shape,
    "dtype": lambda x: Kind("dtype", x.lift_recorder),
    "device": lambda x: Kind("device", x.lift_recorder),
    "layout": lambda x: Kind("layout", x.lift_recorder),
    "is_sparse": lambda x: False,
    "requires_grad": lambda x: False,
}


def call(name: str, args: Any, kwargs: Any) -> Any:
    """A function of torch on stand-ins."""
    recorder = symbols.recorder_of(args, kwargs)
    if "input" in kwargs:
        args = (kwargs.pop("input"), *args)
    if name == "linalg_norm" and len(args) + len(kwargs) == 1:  # with an order it is a matrix norm
        name = "norm"
    name = {"linalg_vector_norm": "norm", "vector_norm": "norm"}.get(name, name)
    in_place = name.endswith("_") and name[:-1] in TABLE
    function = TABLE.get(name[:-1] if in_place else name)
    if name in VIEWS:
        args[0]._view(f"torch.{name}")
    if function is None or name == "item":
        refuse_word(recorder, f"torch.{name}")
    out = kwargs.pop("out", args[0] if in_place else None)
    result = function(*args, **kwargs)
    return result if out is None else out.put(result)


def _word(op: str) -> Callable[..., Any]:
    def apply(x: Any, *others: Any) -> Any:
        need_tensors(x)
        return do(op, x, *others)

    return apply


def _two(op: str) -> Callable[..., Any]:
    def apply(x: Any, other: Any) -> Any:
        return do(op, x, other)

    return apply


def _plus(x: Any, scaled: Any, change: Any) -> Any:
    """x + scaled * change, with a minus where there is a sign in front."""
    if issubclass(type(scaled), symbols.StandNumber) and len(scaled.lift_guesses) == 1:
        raise Guessed(*scaled.lift_guesses, is_tensor=False)
    scale = symbols.raw_of(x.lift_recorder, scaled)
    minus = _without_sign(x.lift_recorder, scale)
    if minus is None:
        return do("add", x, change if is_number(scale, 1) else do("mul", scaled, change))
    left = symbols.StandNumber(x.lift_recorder, symbols.Cell(minus, symbols.logical(scaled)))
    return do("sub", x, change if is_number(minus, 1) else do("mul", left, change))


def _without_sign(recorder: Recorder, scale: Any) -> Any:
    """y of a scale -y, also where the sign stands within a product or a quotient."""
    found = negated(scale)
    if found is None and isinstance(scale, Value) and scale.op in ("mul", "div"):
        first = _without_sign(recorder, scale.args[0])
        if first is not None:
            return recorder.record(scale.op, first, scale.args[1])
    return found


def _add(x: Any, other: Any, tensor: Any = None, *, alpha: Any = None) -> Any:
    """add(other, alpha=1), and the deprecated add(alpha, other)."""
    if tensor is not None:
        other, alpha = tensor, other
    if alpha is None:
        if symbols.is_stand(x) and symbols.is_stand(other):
            minus = negated(other.raw)
            if minus is not None and isinstance(minus, Value):
                held = symbols.StandTensor(
                    x.lift_recorder, symbols.Cell(minus, symbols.logical(other)), other.lift_guesses
                )
                return do("sub", x, held)
        return do("add", x, other)
    need_tensors(other)
    return _plus(x, alpha, other)


def _sub(x: Any, other: Any, tensor: Any = None, *, alpha: Any = None) -> Any:
    if tensor is not None:
        other, alpha = tensor, other
    if alpha is None:
        return do("sub", x, other)
    need_tensors(other)
    return _plus(x, -alpha, other)


def _rsub(x: Any, other: Any, *, alpha: Any = 1) -> Any:
    return do("sub", other, do("mul", alpha, x))


def _scaled(op: str) -> Callable[..., Any]:
    """addcmul and addcdiv, value first (deprecated) or by keyword."""

    def apply(x: Any, a: Any, b: Any, c: Any = None, *, value: Any = 1) -> Any:
        if c is not None:
            a, b, value = b, c, a
        need_tensors(a, b)
        return _plus(x, value, do(op, a, b))

    return apply


def _div(x: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    if rounding_mode not in (None, "floor"):
        refuse_word(symbols.recorder_of((x, other), {}), f"div(rounding_mode={rounding_mode!r})")
    return floor_divided(x, other) if rounding_mode else do("div", x, other)


def _lerp(x: Any, end: Any, weight: Any) -> Any:
    need_tensors(end)
    return do("lerp", x, end, weight)


def _clamp(x: Any, min: Any = None, max: Any = None) -> Any:
    x = x if min is None else do("maximum", x, min)
    return x if max is None else do("minimum", x, max)


def _where(condition: Any, a: Any, b: Any) -> Any:
    if symbols.is_stand(condition) and not is_condition(condition.raw):
        condition = do("ne", condition, 0)
    return do("where", condition, a, b)


def _fill(number: float) -> Callable[..., Any]:
    """zeros_like and ones_like: a new tensor of the same shape."""

    def like(x: Any, **_: Any) -> Any:
        return symbols.tensor(x.lift_recorder, number, symbols.logical(x))

    return like


def _full_like(x: Any, fill_value: Any, **_: Any) -> Any:
    return symbols.tensor(
        x.lift_recorder, symbols.raw_of(x.lift_recorder, fill_value), symbols.logical(x)
    )


def _new(number: float) -> Callable[..., Any]:
    def new(x: Any, shape: Any, **_: Any) -> Any:
        if not isinstance(shape, Shape):
            refuse_word(x.lift_recorder, "a new tensor of a shape of its own; zeros_like()")
        return symbols.tensor(x.lift_recorder, number, FULL)

    return new


def _copied(x: Any, *_: Any, **__: Any) -> Any:
    """The same value in memory of its own."""
    return symbols.StandTensor(
        x.lift_recorder, symbols.Cell(x.raw, symbols.logical(x)), x.lift_guesses
    )


def _perhaps_copied(x: Any, why: str) -> Any:
    """The same value, in memory of which it is unknown whose it is."""
    made = _copied(x)
    doubt(x.lift_cell, made.lift_cell, why)
    return made


def _itself(x: Any, *_: Any, **__: Any) -> Any:
    return x


def _contiguous(x: Any, **_: Any) -> Any:
    return _perhaps_copied(x, "contiguous() copies some tensors, and not others")


def _cast(x: Any, *args: Any, copy: bool = False, **kwargs: Any) -> Any:
    """to(…): a rule computes in one precision, so casts to wide types change nothing."""
    dtypes = [a for a in (*args, *kwargs.values()) if isinstance(a, torch.dtype)]
    rounding = next((a for a in dtypes if a in _ROUNDING), None)
    if rounding is not None:
        x.lift_recorder.refuse(
            f"casts to {rounding}, which rounds", "use state_dtype and rounding of the optimizer"
        )
    if is_condition(x.raw):
        return _copied(x) if is_scalar(symbols.logical(x)) else numeric(x)
    return _copied(x) if copy else _perhaps_copied(x, "a cast copies only what has another dtype")


def _item(x: Any) -> Any:
    if not is_scalar(symbols.logical(x)):
        x.lift_recorder.refuse("takes item() of a tensor of many elements", "reduce it first")
    return symbols.StandNumber(
        x.lift_recorder, symbols.Cell(x.raw, symbols.logical(x)), x.lift_guesses
    )


def _is_tensor(x: Any) -> bool:
    if x.lift_guesses:
        blame_many(x.lift_recorder, x.lift_guesses)
    return issubclass(type(x), symbols.StandTensor)


def _nan_to_num(x: Any, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Any:
    if posinf is None or neginf is None:
        refuse_word(x.lift_recorder, "nan_to_num() without posinf and neginf, which asks the dtype")
    infinite = do("where", do("eq", x, float("inf")), posinf, x)
    finite = do("where", do("eq", x, float("-inf")), neginf, infinite)
    return do("where", do("ne", x, x), nan, finite)


def floor_divided(a: Any, b: Any) -> Any:
    """a // b: of whole numbers the floor of a / b; else rounding must not hide a remainder."""
    raws = [symbols.raw_of(symbols.recorder_of((a, b), {}), each) for each in (a, b)]
    if all(map(is_whole, raws)):
        return do("floor", do("div", a, b))
    return do("floor", do("add", do("div", do("sub", a, do("mod", a, b)), b), 0.5))


def is_whole(raw: Raw) -> bool:
    """True for the step count, the number of elements, and whole numbers more or less."""
    if not isinstance(raw, Value) or raw.is_input:
        return isinstance(raw, int) or (isinstance(raw, Value) and raw.name == "t")
    return raw.kind == "shape" or (raw.op in ("add", "sub") and all(map(is_whole, raw.args)))


def _softplus(x: Any, beta: Any = 1, threshold: float = 20) -> Any:
    scaled = do("mul", x, beta)
    smooth = do("div", do("log", do("add", 1, do("exp", scaled))), beta)
    return do("where", do("gt", scaled, threshold), x, smooth)


# fmt: off
TABLE: dict[str, Callable[..., Any]] = {
    "add": _add, "sub": _sub, "subtract": _sub, "rsub": _rsub, "mul": _two("mul"),
    "multiply": _two("mul"), "div": _div, "divide": _div, "true_divide": _div, "neg": _word("neg"),
    "negative": _word("neg"), "pow": _two("pow"), "square": _word("square"), "sqrt": _word("sqrt"),
    "rsqrt": _word("rsqrt"), "reciprocal": lambda x: do("div", 1, x), "abs": _word("abs"),
    "sign": _word("sign"), "sgn": _word("sign"), "exp": _word("exp"), "log": _word("log"),
    "tanh": _word("tanh"), "sigmoid": _word("sigmoid"), "cos": _word("cos"),
    "floor": _word("floor"), "lerp": _lerp, "addcmul": _scaled("mul"), "addcdiv": _scaled("div"),
    "clamp": _clamp, "clip": _clamp, "clamp_min": lambda x, min: _clamp(x, min),
    "clamp_max": lambda x, max: _clamp(x, None, max), "relu": lambda x: do("maximum", x, 0.0),
    "minimum": _two("minimum"), "maximum": _two("maximum"), "remainder": _two("mod"),
    "where": lambda c, a, b: _where(c, a, b), "softplus": _softplus,
    "masked_fill": lambda x, mask, value: do("where", mask, value, x),
    "isfinite": _word("isfinite"), "isnan": lambda x: do("ne", x, x),
    "logical_and": _two("and"), "logical_or": _two("or"), "logical_not": _word("not"),
    "lt": _two("lt"), "le": _two("le"), "gt": _two("gt"), "ge": _two("ge"), "eq": _two("eq"),
    "ne": _two("ne"), **REDUCTIONS,
    "zeros_like": _fill(0.0), "ones_like": _fill(1.0), "full_like": _full_like,
    "new_zeros": _new(0.0), "new_ones": _new(1.0), "clone": _copied,
    "copy": lambda x, y, non_blocking=False: y,
    "zero": _fill(0.0), "fill": _full_like, "detach": lambda x: x.data, "contiguous": _contiguous,
    "to": _cast, "float": _cast, "double": _cast, "type_as": _cast, "item": _item,
    "size": lambda x: _shape(x), "is_complex": lambda x: False, "is_tensor": _is_tensor,
    "isinf": lambda x: do("eq", do("abs", x), float("inf")), "nan_to_num": _nan_to_num,
    "ceil": lambda x: -do("floor", -x), "floor_divide": lambda x, y: floor_divided(x, y),
    "requires_grad_": _itself, "is_floating_point": lambda x: True,
}
# fmt: on
