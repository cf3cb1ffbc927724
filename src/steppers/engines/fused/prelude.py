"""The CPU kernels' own library: scalar functions as LLVM IR text, put before a kernel.

FUNCTIONS names them all; `text` gives the definitions that some of them need, each once.

| name (after "steppers.") | arguments -> result |
|---|---|
| exp log tanh sigmoid cos .f32 .f64 | value -> value |
| exp2.f64 | t -> 2**t to 35 bits, for |t| <= 200 |
| pow mod .f32 .f64 | value, value -> value; mod is torch.remainder |
| cos2pi .f32 .f64 | u in [0, 1) -> cos(2 pi u) |
| load.bf16 load.f16 load.f16.half | i16 -> float |
| store.bf16 store.f16 store.f16.half | float -> i16, to the nearest |
| stochastic.bf16 stochastic.f16 | float, i32 random bits -> i16 |
| mix | i32 -> i32 |
| key | i32 seed, t, number, draw -> i32 |
| bits | i32 index, key -> i32 |
| uniform .f32 .f64, coin | i32 index, key -> value, i1 |
| normal .f32 .f64 | i32 index, key, key of draw + 0x10000 -> value |
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType

from .prelude_curves import CURVES
from .prelude_library import LIBRARY
from .prelude_powers import POWERS
from .prelude_random import RANDOM
from .prelude_storage import STORAGE
from .prelude_words import Function, declaration

__all__ = ["FUNCTIONS", "Function", "text"]

FUNCTIONS = MappingProxyType(
    {each.name: each for each in (*CURVES, *POWERS, *LIBRARY, *STORAGE, *RANDOM)}
)


def text(names: Iterable[str]) -> str:
    """LLVM's own functions declared and ours defined: those named and all that they need.

    The order does not depend on that of the names. Raises KeyError for a name that is not there.
    """
    wanted, left = set[str](), list(names)
    while left:
        name = left.pop()
        if name not in wanted:
            wanted.add(name)
            left += FUNCTIONS[name].needs if not name.startswith("llvm.") else ()
    declared = [declaration(name) for name in sorted(wanted) if name.startswith("llvm.")]
    return "".join(declared) + "".join(f.text for n, f in FUNCTIONS.items() if n in wanted)
