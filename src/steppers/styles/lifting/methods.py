"""What torch's methods and functions are in steppers' words, one row each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch

from ...ops import __all__ as WORDS
from ...optable import OPS
from ...tracing import FULL, HOST, Value
from . import symbols
from .recording import Recorder, is_condition, is_number, is_scalar, negated

VIEWS = frozenset({
    "view", "reshape", "flatten", "ravel", "t", "T", "mT", "H", "mH", "transpose", "permute",
    "unsqueeze", "squeeze", "narrow", "select", "chunk", "split", "unbind", "expand", "view_as",
    "expand_as", "diagonal", "index_select", "unflatten", "swapaxes", "movedim", "real", "imag",
})  # fmt: skip
SHAPES = frozenset({"ndim", "dim", "ndimension", "nelement", "stride"})
RANDOM = frozenset({
    "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "bernoulli",
    "normal", "multinomial", "poisson", "dropout", "uniform", "uniform_", "normal_", "bernoulli_",
    "random_", "exponential_", "cauchy_", "geometric_", "log_normal_",
})  # fmt: skip
_ELEMENTWISE = " ".join(w for w in OPS if w in WORDS)
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


def refuse_word(recorder: Recorder, word: str) -> NoReturn:
    """Raise for a function of torch that has no word."""
    name = word.rpartition(".")[2].strip("()")
    if name in RANDOM:
        recorder.refuse(
            f"draws random numbers by {word}",
            "write a rule with uniform(x), normal(x) or coin(x) of steppers.ops",
        )
    recorder.refuse(f"uses {word}, which has no word in steppers.ops", f"there are {_ELEMENTWISE}")


def call(name: str, args: Any, kwargs: Any) -> Any:
    """A function of torch on stand-ins."""
    recorder = symbols.recorder_of(args, kwargs)
    name = {"linalg_vector_norm": "norm", "vector_norm": "norm"}.get(name, name)
    in_place = name.endswith("_") and name[:-1] in TABLE
    function = TABLE.get(name[:-1] if in_place else name)
    if name in VIEWS:
        args[0]._view(f"torch.{name}")
    if function is None or name in ("item",):
        refuse_word(recorder, f"torch.{name}")
    out = kwargs.pop("out", args[0] if in_place else None)
    result = function(*args, **kwargs)
    return result if out is None else out.put(result)


def _do(op: str, *args: Any, over: str | None = None) -> Any:
    return symbols.made(symbols.recorder_of(args, {}), op, *args, over=over)


def _need_tensors(*args: Any) -> None:
    """Names of the signature that stand where only a tensor can are tensors."""
    for arg in args:
        if issubclass(type(arg), symbols.StandNumber) and arg.lift_guesses:
            if len(arg.lift_guesses) == 1:
                raise symbols.Guessed(*arg.lift_guesses, is_tensor=True)
            symbols.blame_many(arg.lift_recorder, arg.lift_guesses)


def _word(op: str) -> Callable[..., Any]:
    def apply(x: Any, *others: Any) -> Any:
        _need_tensors(x)
        return _do(op, x, *others)

    return apply


def _two(op: str) -> Callable[..., Any]:
    def apply(x: Any, other: Any) -> Any:
        return _do(op, x, other)

    return apply


def _plus(x: Any, scaled: Any, change: Any) -> Any:
    """x + scaled * change, with a minus where there is a sign in front."""
    if issubclass(type(scaled), symbols.StandNumber) and len(scaled.lift_guesses) == 1:
        raise symbols.Guessed(*scaled.lift_guesses, is_tensor=False)
    scale = symbols.raw_of(x.lift_recorder, scaled)
    minus = _without_sign(x.lift_recorder, scale)
    if minus is None:
        return _do("add", x, change if is_number(scale, 1) else _do("mul", scaled, change))
    left = symbols.StandNumber(x.lift_recorder, symbols.Cell(minus, symbols.logical(scaled)))
    return _do("sub", x, change if is_number(minus, 1) else _do("mul", left, change))


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
                return _do("sub", x, held)
        return _do("add", x, other)
    _need_tensors(other)
    return _plus(x, alpha, other)


def _sub(x: Any, other: Any, tensor: Any = None, *, alpha: Any = None) -> Any:
    if tensor is not None:
        other, alpha = tensor, other
    if alpha is None:
        return _do("sub", x, other)
    _need_tensors(other)
    return _plus(x, -alpha, other)


def _rsub(x: Any, other: Any, *, alpha: Any = 1) -> Any:
    return _do("sub", other, _do("mul", alpha, x))


def _scaled(op: str) -> Callable[..., Any]:
    """addcmul and addcdiv, value first (deprecated) or by keyword."""

    def apply(x: Any, a: Any, b: Any, c: Any = None, *, value: Any = 1) -> Any:
        if c is not None:
            a, b, value = b, c, a
        _need_tensors(a, b)
        return _plus(x, value, _do(op, a, b))

    return apply


def _div(x: Any, other: Any, *, rounding_mode: str | None = None) -> Any:
    made = _do("div", x, other)
    if rounding_mode not in (None, "floor"):
        refuse_word(made.lift_recorder, f"div(rounding_mode={rounding_mode!r})")
    return _do("floor", made) if rounding_mode else made


def _lerp(x: Any, end: Any, weight: Any) -> Any:
    _need_tensors(end)
    return _do("lerp", x, end, weight)


def _clamp(x: Any, min: Any = None, max: Any = None) -> Any:
    x = x if min is None else _do("maximum", x, min)
    return x if max is None else _do("minimum", x, max)


def _where(condition: Any, a: Any, b: Any) -> Any:
    if symbols.is_stand(condition) and not is_condition(condition.raw):
        condition = _do("ne", condition, 0)
    return _do("where", condition, a, b)


def _over(x: Any, dim: Any, keepdim: bool, what: str) -> str | None:
    """The words' name for torch's dim; None for the whole tensor."""
    if dim is None or dim == ():
        return None
    named = {(-1,): "columns", (-2,): "rows", (-2, -1): "matrix", (-1, -2): "matrix"}
    dims = tuple(dim) if isinstance(dim, tuple | list) else (dim,)
    if dims not in named or not keepdim:
        x.lift_recorder.refuse(
            f"takes {what} over dim={dim!r}, keepdim={keepdim}",
            "reduce the whole tensor, or dim -1, -2 or (-2, -1) with keepdim=True",
        )
    return named[dims]


def _reduction(op: str) -> Callable[..., Any]:
    def apply(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        _need_tensors(x)
        return _do(op, _numeric(x), over=_over(x, dim, keepdim, op))

    return apply


def _norm(x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, ord: Any = None,
          dtype: Any = None) -> Any:  # fmt: skip
    _need_tensors(x)
    order = p if ord is None else ord
    over = _over(x, dim, keepdim, "norm")
    if order in (2, "fro", None):
        return _do("norm", x, over=over)
    if order in (1, float("inf")):
        return _do("sum" if order == 1 else "amax", _do("abs", x), over=over)
    refuse_word(x.lift_recorder, f"norm(p={order!r})")


def _max(x: Any, other: Any = None, **dims: Any) -> Any:
    if other is None and not dims:
        return _do("amax", x)
    if dims or isinstance(other, int):
        refuse_word(x.lift_recorder, "max over a dim, which also returns indices; amax()")
    return _do("maximum", x, other)


def _min(x: Any, other: Any = None, **dims: Any) -> Any:
    if other is None and not dims:
        return -_do("amax", -x)
    if dims or isinstance(other, int):
        refuse_word(x.lift_recorder, "min over a dim, which also returns indices; amin()")
    return _do("minimum", x, other)


def _numeric(x: Any) -> Any:
    """A condition as ones and zeros."""
    return _do("where", x, 1.0, 0.0) if is_condition(x.raw) else x


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
    """clone: the same value in memory of its own."""
    return symbols.StandTensor(
        x.lift_recorder, symbols.Cell(x.raw, symbols.logical(x)), x.lift_guesses
    )


def _itself(x: Any, *_: Any, **__: Any) -> Any:
    return x


def _cast(x: Any, *args: Any, **kwargs: Any) -> Any:
    """to(…): a rule computes in one precision, so casts to wide types change nothing."""
    dtypes = [a for a in (*args, *kwargs.values()) if isinstance(a, torch.dtype)]
    rounding = next((a for a in dtypes if a in _ROUNDING), None)
    if rounding is not None:
        x.lift_recorder.refuse(
            f"casts to {rounding}, which rounds", "use state_dtype and rounding of the optimizer"
        )
    return _numeric(x) if not is_scalar(symbols.logical(x)) else x


def _item(x: Any) -> Any:
    if not is_scalar(symbols.logical(x)):
        x.lift_recorder.refuse("takes item() of a tensor of many elements", "reduce it first")
    return symbols.StandNumber(
        x.lift_recorder, symbols.Cell(x.raw, symbols.logical(x)), x.lift_guesses
    )


def _numel(x: Any) -> Any:
    p = symbols.tensor(x.lift_recorder, x.lift_recorder.input("p", FULL))
    value = x.lift_recorder.tracer.record("numel", (p.raw,))
    return symbols.StandNumber(x.lift_recorder, symbols.Cell(value, HOST))


def _any(x: Any) -> Any:
    return _do("gt", _do("amax", _numeric(x)), 0)


def _all(x: Any) -> Any:
    return _do("eq", _do("amax", _do("where", x, 0.0, 1.0)), 0)


def _softplus(x: Any, beta: Any = 1, threshold: float = 20) -> Any:
    scaled = _do("mul", x, beta)
    smooth = _do("div", _do("log", _do("add", 1, _do("exp", scaled))), beta)
    return _do("where", _do("gt", scaled, threshold), x, smooth)


# fmt: off
TABLE: dict[str, Callable[..., Any]] = {
    "add": _add, "sub": _sub, "subtract": _sub, "rsub": _rsub, "mul": _two("mul"),
    "multiply": _two("mul"), "div": _div, "divide": _div, "true_divide": _div, "neg": _word("neg"),
    "negative": _word("neg"), "pow": _two("pow"), "square": _word("square"), "sqrt": _word("sqrt"),
    "rsqrt": _word("rsqrt"), "reciprocal": lambda x: _do("div", 1, x), "abs": _word("abs"),
    "sign": _word("sign"), "sgn": _word("sign"), "exp": _word("exp"), "log": _word("log"),
    "tanh": _word("tanh"), "sigmoid": _word("sigmoid"), "cos": _word("cos"),
    "floor": _word("floor"), "lerp": _lerp, "addcmul": _scaled("mul"), "addcdiv": _scaled("div"),
    "clamp": _clamp, "clip": _clamp, "clamp_min": lambda x, min: _clamp(x, min),
    "clamp_max": lambda x, max: _clamp(x, None, max), "relu": lambda x: _do("maximum", x, 0.0),
    "minimum": _two("minimum"), "maximum": _two("maximum"), "remainder": _two("mod"),
    "where": lambda c, a, b: _where(c, a, b), "softplus": _softplus,
    "masked_fill": lambda x, mask, value: _do("where", mask, value, x),
    "isfinite": _word("isfinite"), "isnan": lambda x: _do("ne", x, x),
    "logical_and": _two("and"), "logical_or": _two("or"), "logical_not": _word("not"),
    "lt": _two("lt"), "le": _two("le"), "gt": _two("gt"), "ge": _two("ge"), "eq": _two("eq"),
    "ne": _two("ne"), "sum": _reduction("sum"), "mean": _reduction("mean"),
    "amax": _reduction("amax"), "norm": _norm, "max": _max, "min": _min, "any": _any, "all": _all,
    "zeros_like": _fill(0.0), "ones_like": _fill(1.0), "full_like": _full_like,
    "new_zeros": _new(0.0), "new_ones": _new(1.0), "clone": _copied, "copy": lambda x, y: y,
    "zero": _fill(0.0), "fill": _full_like, "detach": lambda x: x.data, "contiguous": _itself,
    "to": _cast, "float": _cast, "double": _cast, "type_as": _cast, "item": _item,
    "numel": _numel, "size": lambda x: _shape(x), "is_complex": lambda x: False,
    "requires_grad_": _itself, "is_floating_point": lambda x: True,
}
# fmt: on
