"""exp, log and tanh on float32, as short polynomials.

The error of each is stated where it stands, in units in the last place of the exact value, with
and without fused multiply-add. It was measured against float64 on every 101st of all floats and
every 6th of those where it is largest; tests/test_fused_prelude.py measures again on fewer.

The coefficients interpolate at Chebyshev's points (Trefethen, Approximation Theory and
Approximation Practice, 2013, chapters 2 and 4), computed with 60 digits.
"""

from __future__ import annotations

from .prelude_words import Function, define, polynomial, single

_EXP = (0.5, 0.166665778, 0.0416665561, 0.00836317334, 0.00139261759)
# fmt: off
_LOG = (
    0.333333313, -0.24999997, 0.200007156, -0.166678026, 0.142490581, -0.124256872, 0.116854198,
    -0.114797339, 0.0697161183,
)
_TANH = (-0.333333343, 0.133333042, -0.0539592579, 0.0217689183, -0.00834394526, 0.00229274482)
# fmt: on
# ln 2 in two parts (Cody and Waite 1980): the first has 9 bits, so that n times it is exact.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440054690583e-4
# Adding it rounds a small float to an integer, which then stands in the low bits.
_ROUND = 1.5 * 2.0**23
_ROUND_BITS = 0x4B400000
_INFINITY, _NAN = single(float("inf")), single(float("nan"))


def _exp() -> Function:
    """e**x = 2**n e**r with |r| <= ln 2 / 2, to 0.80 ulp.

    What the sums round off, in r and in 1 + r, is added at the end. 2**n comes in two factors, so
    that results below the normal range are rounded once more and those above it become infinite.
    """
    return define("float", "steppers.exp.f32", "float %x", f"""
        %above = fcmp ogt float %x, {single(89.0)}
        %top = select i1 %above, float {single(89.0)}, float %x
        %below = fcmp olt float %top, {single(-104.0)}
        %c = select i1 %below, float {single(-104.0)}, float %top
        %shifted = call float @llvm.fmuladd.f32(float %c, float {single(1.4426950408889634)},
            float {single(_ROUND)})
        %n = fsub float %shifted, {single(_ROUND)}
        %high = call float @llvm.fmuladd.f32(float %n, float {single(-_LN2_HIGH)}, float %c)
        %low = fmul float %n, {single(-_LN2_LOW)}
        %r = fadd float %high, %low
        %r.gap = fsub float %high, %r
        %r.rest = fadd float %r.gap, %low
        {polynomial("float", "q", "%r", _EXP)}
        %rr = fmul float %r, %r
        %sum = fadd float %r, {single(1.0)}
        %sum.gap = fsub float {single(1.0)}, %sum
        %sum.rest = fadd float %sum.gap, %r
        %square = call float @llvm.fmuladd.f32(float %rr, float %q, float %r.rest)
        %rest.both = fadd float %square, %sum.rest
        %p = fadd float %sum, %rest.both
        %word = bitcast float %shifted to i32
        %i = sub i32 %word, {_ROUND_BITS}
        %half = ashr i32 %i, 1
        %rest = sub i32 %i, %half
        %half.biased = add i32 %half, 127
        %half.bits = shl i32 %half.biased, 23
        %half.power = bitcast i32 %half.bits to float
        %rest.biased = add i32 %rest, 127
        %rest.bits = shl i32 %rest.biased, 23
        %rest.power = bitcast i32 %rest.bits to float
        %scaled = fmul float %p, %half.power
        %y = fmul float %scaled, %rest.power
        ret float %y
    """)  # fmt: skip


def _log() -> Function:
    """log(2**e m) = e ln 2 + log(1 + f), m = 1 + f from sqrt(1/2) to sqrt(2), to 0.85 ulp."""
    return define("float", "steppers.log.f32", "float %x", f"""
        %subnormal = fcmp olt float %x, {single(2.0**-126)}
        %larger = fmul float %x, {single(2.0**23)}
        %normal = select i1 %subnormal, float %larger, float %x
        %lost = select i1 %subnormal, i32 23, i32 0
        %word = bitcast float %normal to i32
        %from.root = sub i32 %word, {0x3F3504F3}
        %exponent = ashr i32 %from.root, 23
        %e.integer = sub i32 %exponent, %lost
        %e = sitofp i32 %e.integer to float
        %fraction = and i32 %from.root, {0x7FFFFF}
        %m.bits = add i32 %fraction, {0x3F3504F3}
        %m = bitcast i32 %m.bits to float
        %f = fsub float %m, {single(1.0)}
        {polynomial("float", "q", "%f", _LOG)}
        %ff = fmul float %f, %f
        %fff = fmul float %ff, %f
        %e.low = fmul float %e, {single(_LN2_LOW)}
        %cubic = call float @llvm.fmuladd.f32(float %fff, float %q, float %e.low)
        %square = call float @llvm.fmuladd.f32(float %ff, float {single(-0.5)}, float %cubic)
        %sum = fadd float %square, %f
        %y = call float @llvm.fmuladd.f32(float %e, float {single(_LN2_HIGH)}, float %sum)
        %finite = fcmp olt float %x, {_INFINITY}
        %kept = select i1 %finite, float %y, float %x
        %negative = fcmp olt float %x, {single(0.0)}
        %real = select i1 %negative, float {_NAN}, float %kept
        %zero = fcmp oeq float %x, {single(0.0)}
        %result = select i1 %zero, float {single(float("-inf"))}, float %real
        ret float %result
    """)  # fmt: skip


def _tanh() -> Function:
    """x + x**3 P(x**2) to |x| = 0.625 (Cody and Waite 1980), then by exp; to 1.40 ulp."""
    return define("float", "steppers.tanh.f32", "float %x", f"""
        %a = call float @llvm.fabs.f32(float %x)
        %twice = fadd float %a, %a
        %e = call float @steppers.exp.f32(float %twice)
        %under = fadd float %e, {single(1.0)}
        %gap = fdiv float {single(2.0)}, %under
        %far = fsub float {single(1.0)}, %gap
        %xx = fmul float %a, %a
        {polynomial("float", "q", "%xx", _TANH)}
        %cube = fmul float %xx, %a
        %near = call float @llvm.fmuladd.f32(float %cube, float %q, float %a)
        %is.near = fcmp olt float %a, {single(0.625)}
        %y = select i1 %is.near, float %near, float %far
        %signed = call float @llvm.copysign.f32(float %y, float %x)
        ret float %signed
    """)  # fmt: skip


CURVES = (_exp(), _log(), _tanh())
