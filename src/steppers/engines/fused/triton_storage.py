"""How tensors are stored, in Triton's words: widen at the load, round once at the store."""

from __future__ import annotations

from .exchange import Storage
from .triton_ops import REAL, Body

TYPE = {"f32": "tl.float32", "f64": "tl.float64", "bf16": "tl.bfloat16", "f16": "tl.float16"}


def load(body: Body, storage: Storage, stem: str, pointer: str, low: str, mask: str) -> str:
    """Elements as numbers of the arithmetic: with `low`, pointers to what rounding lost."""
    value = widened(body, storage, stem, body.let(stem, f"tl.load({pointer}{mask})"))
    if storage.rounding == "kahan":
        lost = body.let(f"{stem}_low", f"tl.load({low}{mask})")
        return body.let(stem, f"{value} + {widened(body, storage, stem, lost)}")
    return value


def widened(body: Body, storage: Storage, stem: str, x: str) -> str:
    """What a stored number reads as."""
    if storage.dtype == "bf16":
        body.needs.add("from_bfloat16")
        x = body.let(stem, f"from_bfloat16({x})")
    if TYPE[storage.dtype] == REAL[body.real] or (storage.dtype, body.real) == ("bf16", "float"):
        return x
    return body.let(stem, f"{x}.to({REAL[body.real]})")


def rounded(body: Body, storage: Storage, value: str) -> str:
    """The nearest number of the format; 16-bit ones by way of float32, as torch rounds them."""
    kind = TYPE[storage.dtype]
    if kind == REAL[body.real]:
        return value
    if kind in ("tl.bfloat16", "tl.float16") and body.real == "double":
        value = body.let("single", f"{value}.to(tl.float32)")
    if kind == "tl.bfloat16":
        body.needs.add("to_bfloat16")
        return body.let("stored", f"to_bfloat16({value})")
    return body.let("stored", f"{value}.to({kind})")


def store(
    body: Body, storage: Storage, pointer: str, low: str, value: str, mask: str, key: str
) -> None:
    """Round numbers once and write them; with Kahan's format write what that lost as well."""
    if storage.rounding == "stochastic":
        function = f"stochastic_{storage.dtype}"
        body.needs |= {function, "bits"}
        single = value if body.real == "float" else body.let("single", f"{value}.to(tl.float32)")
        drawn = body.let("drawn", f"bits(index, {key})")
        value = body.let("stored", f"{function}({single}, {drawn})")
    elif storage.rounding == "kahan":
        value, lost = _split(body, storage, value)
        body.add(f"tl.store({low}, {lost}{mask})")
    else:
        value = rounded(body, storage, value)
    body.add(f"tl.store({pointer}, {value}{mask})")


def _split(body: Body, storage: Storage, value: str) -> tuple[str, str]:
    """As `storage.split`: what the pair can hold, split so that high is the nearest to it."""
    first = widened(body, storage, "first", rounded(body, storage, value))
    lost = _unless_infinite(body, first, f"{value} - {first}")
    lost = widened(body, storage, "lost", rounded(body, storage, lost))
    held = body.let("held", f"{first} + {lost}")
    high = rounded(body, storage, held)
    back = widened(body, storage, "back", high)
    return high, rounded(body, storage, _unless_infinite(body, back, f"{held} - {back}"))


def _unless_infinite(body: Body, high: str, low: str) -> str:
    zero = f"tl.full((), 0.0, {REAL[body.real]})"
    return body.let("low", f'tl.where(tl.abs({high}) < float("inf"), {low}, {zero})')
