"""16-bit storage formats: loads, and stores to the nearest or at random (../rounding.py defines).

float16 is there twice: by LLVM's `half`, for processors that convert it, and by integers, for
those where `half` would become a call that the process may not have ("…f16.half", "…f16").
"""

from __future__ import annotations

from .prelude_words import Function, define, single

_MAGNITUDE, _INFINITY = 0x7FFFFFFF, 0x7F800000
_NORMAL = 0x38800000  # the bits of 2**-14, the smallest normal half
_BIAS = 0x1C000  # (127 - 15) << 10, the difference of the exponents' biases


def _load_bf16() -> Function:
    return define("float", "steppers.load.bf16", "i16 %h", """
        %wide = zext i16 %h to i32
        %word = shl i32 %wide, 16
        %x = bitcast i32 %word to float
        ret float %x
    """)  # fmt: skip


def _store_bf16() -> Function:
    """To the nearest, ties to even: half a unit less one, plus the bit that decides a tie."""
    return define("i16", "steppers.store.bf16", "float %x", """
        %b = bitcast float %x to i32
        %last = lshr i32 %b, 16
        %odd = and i32 %last, 1
        %half = add i32 %odd, 32767
        %sum = add i32 %b, %half
        %nearest = lshr i32 %sum, 16
        %quiet = or i32 %last, 64
        %nan = fcmp uno float %x, %x
        %word = select i1 %nan, i32 %quiet, i32 %nearest
        %h = trunc i32 %word to i16
        ret i16 %h
    """)  # fmt: skip


def _load_half() -> Function:
    return define("float", "steppers.load.f16.half", "i16 %h", """
        %half = bitcast i16 %h to half
        %x = fpext half %half to float
        ret float %x
    """)  # fmt: skip


def _store_half() -> Function:
    return define("i16", "steppers.store.f16.half", "float %x", """
        %half = fptrunc float %x to half
        %h = bitcast half %half to i16
        ret i16 %h
    """)  # fmt: skip


def _load_f16() -> Function:
    """Normal halves by their bits, subnormal ones as integers times 2**-24."""
    return define("float", "steppers.load.f16", "i16 %h", f"""
        %wide = zext i16 %h to i32
        %m = and i32 %wide, 32767
        %placed = shl i32 %m, 13
        %normal.bits = add i32 %placed, {_BIAS << 13}
        %special.bits = or i32 %placed, {_INFINITY}
        %nan.bits = or i32 %special.bits, {1 << 22}
        %integer = sitofp i32 %m to float
        %subnormal = fmul float %integer, {single(2.0**-24)}
        %subnormal.bits = bitcast float %subnormal to i32
        %is.subnormal = icmp ult i32 %m, 1024
        %finite.bits = select i1 %is.subnormal, i32 %subnormal.bits, i32 %normal.bits
        %is.special = icmp uge i32 %m, 31744
        %known.bits = select i1 %is.special, i32 %special.bits, i32 %finite.bits
        %is.nan = icmp ugt i32 %m, 31744
        %bits = select i1 %is.nan, i32 %nan.bits, i32 %known.bits
        %sign = and i32 %wide, 32768
        %sign.bits = shl i32 %sign, 16
        %word = or i32 %bits, %sign.bits
        %x = bitcast i32 %word to float
        ret float %x
    """)  # fmt: skip


def _signed_half(m: str, x: str) -> str:
    """Lines that give the finite half %finite its infinity or NaN, and its sign, and return it."""
    return f"""
        %above = icmp uge i32 {m}, {_INFINITY}
        %sized = select i1 %above, i32 31744, i32 %finite
        %payload.low = lshr i32 {m}, 13
        %payload = and i32 %payload.low, 1023
        %quiet = or i32 %payload, 32256
        %nan = icmp ugt i32 {m}, {_INFINITY}
        %magnitude = select i1 %nan, i32 %quiet, i32 %sized
        %high = lshr i32 {x}, 16
        %sign = and i32 %high, 32768
        %word = or i32 %magnitude, %sign
        %h = trunc i32 %word to i16
        ret i16 %h
    """


def _store_f16() -> Function:
    """To the nearest, ties to even; below 2**-14 the sum with 1/2 rounds, whose unit is 2**-24."""
    return define("i16", "steppers.store.f16", "float %x", f"""
        %b = bitcast float %x to i32
        %m = and i32 %b, {_MAGNITUDE}
        %last = lshr i32 %m, 13
        %odd = and i32 %last, 1
        %half.unit = add i32 %odd, {0xFFF}
        %sum = add i32 %m, %half.unit
        %moved = lshr i32 %sum, 13
        %rebiased = sub i32 %moved, {_BIAS}
        %over = icmp sgt i32 %rebiased, 31744
        %normal = select i1 %over, i32 31744, i32 %rebiased
        %a = bitcast i32 %m to float
        %rounded = fadd float %a, {single(0.5)}
        %rounded.bits = bitcast float %rounded to i32
        %subnormal = sub i32 %rounded.bits, {0x3F000000}
        %is.subnormal = icmp ult i32 %m, {_NORMAL}
        %finite = select i1 %is.subnormal, i32 %subnormal, i32 %normal
        {_signed_half("%m", "%b")}
    """)  # fmt: skip


def _stochastic_bf16() -> Function:
    return define("i16", "steppers.stochastic.bf16", "float %x, i32 %bits", f"""
        %b = bitcast float %x to i32
        %m = and i32 %b, {_MAGNITUDE}
        %random = and i32 %bits, 65535
        %sum = add i32 %m, %random
        %up = lshr i32 %sum, 16
        %over = icmp ugt i32 %up, {0x7F7F}
        %size = select i1 %over, i32 {0x7F7F}, i32 %up
        %high = lshr i32 %b, 16
        %sign = and i32 %high, 32768
        %finite = or i32 %size, %sign
        %nearest = call i16 @steppers.store.bf16(float %x)
        %small = icmp ult i32 %m, {_INFINITY}
        %finite.half = trunc i32 %finite to i16
        %h = select i1 %small, i16 %finite.half, i16 %nearest
        ret i16 %h
    """)  # fmt: skip


def _stochastic_f16() -> Function:
    return define("i16", "steppers.stochastic.f16", "float %x, i32 %bits", f"""
        %b = bitcast float %x to i32
        %m = and i32 %b, {_MAGNITUDE}
        %random = and i32 %bits, {0x1FFF}
        %sum = add i32 %m, %random
        %moved = lshr i32 %sum, 13
        %rebiased = sub i32 %moved, {_BIAS}
        %over = icmp sgt i32 %rebiased, {0x7BFF}
        %normal = select i1 %over, i32 {0x7BFF}, i32 %rebiased
        %is.subnormal = icmp ult i32 %m, {_NORMAL}
        %small.bits = select i1 %is.subnormal, i32 %m, i32 0
        %small = bitcast i32 %small.bits to float
        %scaled = fmul float %small, {single(2.0**24)}
        %n = fptosi float %scaled to i32
        %whole = sitofp i32 %n to float
        %part = fsub float %scaled, %whole
        %part.scaled = fmul float %part, {single(2.0**31)}
        %part.integer = fptosi float %part.scaled to i32
        %u = lshr i32 %bits, 1
        %part.sum = add i32 %u, %part.integer
        %carry = lshr i32 %part.sum, 31
        %subnormal = add i32 %n, %carry
        %finite = select i1 %is.subnormal, i32 %subnormal, i32 %normal
        {_signed_half("%m", "%b")}
    """)  # fmt: skip


STORAGE = (
    _load_bf16(),
    _store_bf16(),
    _load_f16(),
    _store_f16(),
    _load_half(),
    _store_half(),
    _stochastic_bf16(),
    _stochastic_f16(),
)
