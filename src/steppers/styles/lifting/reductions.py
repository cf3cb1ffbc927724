"""Torch's reductions in steppers' words; of a tensor that is one number, they are that number."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...tracing import FULL, HOST
from . import symbols
from .memory import Cell
from .recording import extent_of, is_condition, is_scalar
from .words import do, need_tensors, numeric, refuse_word


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


def reduced(op: str, x: Any, over: str | None = None) -> Any:
    """One reduction: of all elements, or over named axes."""
    x = numeric(x)
    logical, stored = symbols.logical(x), extent_of(x.raw)
    if is_scalar(logical) and over is None:
        return do("abs", x) if op == "norm" else x
    filled = is_scalar(stored) and over is not None
    if filled or (not is_scalar(stored) and stored != logical and op in ("sum", "norm")):
        x.lift_recorder.refuse(
            f"takes {op} of a tensor like p that is filled with fewer numbers",
            "reduce these numbers themselves",
        )
    return do(op, x, over=over)


def _reduction(op: str) -> Callable[..., Any]:
    def apply(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        need_tensors(x)
        return reduced(op, x, _over(x, dim, keepdim, op))

    return apply


def _norm(x: Any, p: Any = 2, dim: Any = None, keepdim: bool = False, ord: Any = None,
          dtype: Any = None) -> Any:  # fmt: skip
    need_tensors(x)
    order = p if ord is None else ord
    over = _over(x, dim, keepdim, "norm")
    if symbols.is_stand(order) or order not in (1, 2, float("inf"), "fro", None):
        refuse_word(x.lift_recorder, f"norm(p={order!r})")
    if order in (1, float("inf")):
        return reduced("sum" if order == 1 else "amax", do("abs", x), over)
    return reduced("norm", x, over)


def _largest(x: Any, other: Any = None, **dims: Any) -> Any:
    if other is None and not dims:
        return reduced("amax", x)
    if dims or isinstance(other, int):
        refuse_word(x.lift_recorder, "max over a dim, which also returns indices; amax()")
    return do("maximum", x, other)


def _smallest(x: Any, other: Any = None, **dims: Any) -> Any:
    if other is None and not dims:
        return -reduced("amax", -numeric(x))
    if dims or isinstance(other, int):
        refuse_word(x.lift_recorder, "min over a dim, which also returns indices; amin()")
    return do("minimum", x, other)


def _numel(x: Any) -> Any:
    recorder, extent = x.lift_recorder, symbols.logical(x)
    if is_scalar(extent):
        return 1
    if extent != FULL:
        refuse_word(recorder, "numel() of a tensor of another shape than p's")
    p = symbols.tensor(recorder, recorder.input("p", FULL))
    value = recorder.tracer.record("numel", (p.raw,))
    return symbols.StandNumber(recorder, Cell(value, HOST))


def _truth(x: Any) -> Any:
    """Where an element counts as true: anything but zero, NaN too."""
    return x if is_condition(x.raw) else do("ne", x, 0)


def _any(x: Any) -> Any:
    return do("gt", reduced("amax", _truth(x)), 0)


def _all(x: Any) -> Any:
    # the largest of no elements is -inf, so that all of none hold
    return do("le", reduced("amax", do("where", _truth(x), 0.0, 1.0)), 0)


REDUCTIONS: dict[str, Callable[..., Any]] = {
    "sum": _reduction("sum"), "mean": _reduction("mean"), "amax": _reduction("amax"),
    "amin": lambda x: _smallest(x), "norm": _norm, "max": _largest, "min": _smallest,
    "any": _any, "all": _all, "numel": _numel, "nelement": _numel,
}  # fmt: skip
