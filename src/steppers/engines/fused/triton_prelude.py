"""The Triton kernels' own library, as source: conversions and random words, put before a kernel.

Which of them a kernel needs is found by name; each names those that it needs itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from types import MappingProxyType

BFLOAT16 = (
    """
def from_bfloat16(x):
    return x.to(tl.float32)
""",
    """
def to_bfloat16(x):
    return x.to(tl.bfloat16)  # to the nearest, of two the even one
""",
)

RANDOM = (
    '''
def mix(x):
    """lowbias32 (Wellons 2018); see steppers.noise.mix."""
    x = (x ^ (x >> 16)) * 0x21F0AAAD
    x = (x ^ (x >> 15)) * 0x735A2D97
    return x ^ (x >> 15)
''',
    '''
def key(seed, t, number, draw):
    """What all elements of one tensor share; see steppers.noise.bits."""
    return mix(mix(mix(mix(seed) ^ t) ^ number) ^ draw)
''',
    '''
def bits(index, own):
    """32 bits for each element; `own` is the tensor's key."""
    return mix(mix(index.to(tl.uint32)) ^ own)
''',
    """
def uniform(index, own, real: tl.constexpr):
    return (bits(index, own) >> 8).to(real) * 5.9604644775390625e-08  # 2**-24
""",
    """
def coin(index, own):
    return (bits(index, own) >> 31) != 0
""",
)

NORMAL = '''
def normal(index, own, second):
    """Box and Muller 1958; the second key is that of draw + 0x10000."""
    radius = 1.0 - uniform(index, own, tl.{real})
    angle = uniform(index, second, tl.{real})
    return {root}(libdevice.log(radius) * -2.0) * libdevice.cos(angle * 6.283185307179586)
'''

STOCHASTIC = (
    '''
def stochastic_bf16(x, bits):
    """See steppers.engines.rounding, which defines it."""
    word = x.to(tl.uint32, bitcast=True)
    size = word & 0x7FFFFFFF
    up = tl.minimum((size + (bits & 0xFFFF)) >> 16, 0x7F7F) | ((word >> 31) << 15)
    rounded = up.to(tl.uint16).to(tl.bfloat16, bitcast=True)
    return tl.where(size < 0x7F800000, rounded, to_bfloat16(x))
''',
    '''
def stochastic_f16(x, bits):
    """See steppers.engines.rounding, which defines it."""
    word = x.to(tl.uint32, bitcast=True)
    size = word & 0x7FFFFFFF
    normal = tl.minimum(((size + (bits & 0x1FFF)) >> 13) - 0x1C000, 0x7BFF)
    scaled = tl.minimum(tl.abs(x), 6.103515625e-05) * 16777216.0  # 2**-14, 2**24
    whole = tl.floor(scaled)
    part = ((scaled - whole) * 2147483648.0).to(tl.uint32)
    even = whole.to(tl.uint32) + (((bits >> 1) + part) >> 31)
    up = tl.where(size < 0x38800000, even, normal) | ((word >> 31) << 15)
    rounded = up.to(tl.uint16).to(tl.float16, bitcast=True)
    return tl.where(size < 0x7F800000, rounded, x.to(tl.float16))
''',
)

LARGEST = (
    """
def larger(a, b):
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)
""",
    '''
def largest(x, axis: tl.constexpr):
    """tl.max passes over NaN."""
    return tl.reduce(x, axis, larger)
''',
)

_FLOAT = NORMAL.replace("{real}", "float32").replace("{root}", "tl.sqrt_rn")
_DOUBLE = NORMAL.replace("{real}", "float64").replace("{root}", "tl.sqrt")
_WORD = re.compile(r"\b[a-z]\w*(?=[(,)])")


def _named(texts: Iterable[str]) -> dict[str, str]:
    return {text.split("(")[0].removeprefix("\ndef "): text for text in texts}


FUNCTIONS = MappingProxyType(
    _named((*BFLOAT16, *RANDOM, *STOCHASTIC, *LARGEST))
    | {"normal": _FLOAT, "normal_f64": _DOUBLE.replace("def normal", "def normal_f64")}
)


def text(names: Iterable[str]) -> str:
    """The definitions of some functions and of all that they need, each once, in a fixed order."""
    wanted, left = set[str](), list(names)
    while left:
        name = left.pop()
        if name not in wanted:
            wanted.add(name)
            body = FUNCTIONS[name].split(":\n", 1)[1]
            left += [word for word in _WORD.findall(body) if word in FUNCTIONS]
    made = (f"@triton.jit{each}" for name, each in FUNCTIONS.items() if name in wanted)
    return "\n\n".join(each for each in made)
