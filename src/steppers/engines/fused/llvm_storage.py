"""How tensors are stored, in LLVM's words: widen at the load, round once at the store."""

from __future__ import annotations

import math

from .exchange import Storage
from .llvm_ops import Body, literal

TYPE = {"f32": "float", "f64": "double", "bf16": "i16", "f16": "i16"}


def load(body: Body, storage: Storage, stem: str, pointer: str, low: str, i: str) -> str:
    """Element i as a number of the arithmetic: with `low`, the pointer of what rounding lost."""
    value = _load(body, storage, stem, pointer, i)
    if storage.rounding == "kahan":
        lost = _load(body, storage, f"{stem}_low", low, i)
        return body.let(stem, f"fadd {body.real} {value}, {lost}")
    return value


def _load(body: Body, storage: Storage, stem: str, pointer: str, i: str) -> str:
    kind = TYPE[storage.dtype]
    at = body.let("at", f"getelementptr inbounds {kind}, ptr {pointer}, i64 {i}")
    value = body.let(stem, f"load {kind}, ptr {at}")
    if kind == "i16":
        value = body.call(stem, f"steppers.load.{storage.function}", f"i16 {value}", result="float")
        kind = "float"
    if kind != body.real:
        change = "fpext" if body.real == "double" else "fptrunc"
        value = body.let(stem, f"{change} {kind} {value} to {body.real}")
    return value


def store(
    body: Body, storage: Storage, pointer: str, low: str, i: str, value: str, key: str
) -> None:
    """Round a number once and write it; with Kahan's format write what that lost as well."""
    if storage.rounding == "stochastic":
        element = body.let("element", "trunc i64 %index to i32")
        bits = body.call("bits", "steppers.bits", f"i32 {element}", f"i32 {key}", result="i32")
        single = _single(body, value)
        args = (f"float {single}", f"i32 {bits}")
        word = body.call("word", f"steppers.stochastic.{storage.dtype}", *args, result="i16")
        _write(body, storage.dtype, pointer, i, word)
        return
    if storage.rounding == "kahan":
        _store_pair(body, storage, pointer, low, i, value)
    else:
        _write(body, storage.dtype, pointer, i, _rounded(body, storage, value))


def _store_pair(body: Body, storage: Storage, pointer: str, low: str, i: str, value: str) -> None:
    """As `storage.split`: what the pair can hold, split so that high is the nearest to it."""
    first = _back(body, storage, _rounded(body, storage, value))
    lost = _unless_infinite(body, first, body.let("lost", f"fsub {body.real} {value}, {first}"))
    lost = _back(body, storage, _rounded(body, storage, lost))
    held = body.let("held", f"fadd {body.real} {first}, {lost}")
    high = _rounded(body, storage, held)
    back = _back(body, storage, high)
    rest = _unless_infinite(body, back, body.let("rest", f"fsub {body.real} {held}, {back}"))
    _write(body, storage.dtype, pointer, i, high)
    _write(body, storage.dtype, low, i, _rounded(body, storage, rest))


def _unless_infinite(body: Body, high: str, low: str) -> str:
    size = body.intrinsic("size", "fabs", high)
    finite = body.let("finite", f"fcmp olt {body.real} {size}, {literal(math.inf, body.real)}")
    return body.let("low", f"select i1 {finite}, {body.real} {low}, {body.real} 0.0")


def _single(body: Body, value: str) -> str:
    if body.real == "float":
        return value
    return body.let("single", f"fptrunc double {value} to float")


def _rounded(body: Body, storage: Storage, value: str) -> str:
    kind = TYPE[storage.dtype]
    if kind == "i16":
        function = f"steppers.store.{storage.function}"
        return body.call("word", function, f"float {_single(body, value)}", result="i16")
    if kind == body.real:
        return value
    change = "fptrunc" if body.real == "double" else "fpext"
    return body.let("stored", f"{change} {body.real} {value} to {kind}")


def _back(body: Body, storage: Storage, rounded: str) -> str:
    """What a rounded number reads as."""
    kind = TYPE[storage.dtype]
    if kind == "i16":
        function = f"steppers.load.{storage.function}"
        rounded = body.call("stored", function, f"i16 {rounded}", result="float")
        kind = "float"
    if kind == body.real:
        return rounded
    return body.let("stored", f"fpext {kind} {rounded} to {body.real}")


def _write(body: Body, dtype: str, pointer: str, i: str, value: str) -> None:
    at = body.let("at", f"getelementptr inbounds {TYPE[dtype]}, ptr {pointer}, i64 {i}")
    body.add(f"store {TYPE[dtype]} {value}, ptr {at}")
