"""sigmoid, pow, cos and cos2pi, which need more than float32's digits on the way.

The last step of each in float32 is one rounding of a double, but for cos2pi: at most 0.51 units in
the last place, measured as in prelude_curves; cos2pi has an absolute error, below 1e-7 and 8e-16.
"""

from __future__ import annotations

from .prelude_words import Function, define, double, polynomial, single

# fmt: off
_LOG2 = (
    2.885390081777851, 0.9617966941122649, 0.5770779426603044, 0.41220922406110433,
    0.31990680380701336, 0.28288502340748234,
)
_EXP2 = (
    0.9999999999595618, 0.6931471805568324, 0.24022651213498092, 0.055504109063258665,
    0.009618025613318034, 0.0013333478473685416, 0.00015469729214118296, 1.5303700711365693e-05,
)
# sin(pi/2 d) / d and (cos(pi/2 d) - 1) / d**2 as polynomials of d**2, for |d| <= 1/2
_SIN_SINGLE = (1.57079637, -0.645964086, 0.0796925798, -0.00468126638, 0.000158206298)
_COS_SINGLE = (-1.23370051, 0.253669411, -0.0208615288, 0.000906739908)
_SIN_DOUBLE = (
    1.5707963267948966, -0.6459640975062443, 0.07969262624604301, -0.004681754132340976,
    0.0001604411507421909, -3.59864335298231e-06, 5.633933781537854e-08,
)
_COS_DOUBLE = (
    -1.2337005501361697, 0.2536695079010478, -0.020863480763340773, 0.0009192602745468447,
    -2.5202039028029178e-05, 4.710678405505227e-07, -6.329396344967424e-09,
)
# 2 / pi as a sum of these over 2**28, 2**56, …: 28 bits each, so that a float times one is exact.
_TWO_OVER_PI = (170891318, 240010261, 44024437, 131200308, 232525238, 43358524, 70845471)
# fmt: on
_ROUND = {"float": 1.5 * 2.0**23, "double": 1.5 * 2.0**52}
_INFINITY, _NAN = single(float("inf")), single(float("nan"))


def _exp2() -> Function:
    """2**t for t from -200 to 200, and for t beyond as at the nearer end, to 35 bits."""
    return define("double", "steppers.exp2.f64", "double %t", f"""
        %above = fcmp ogt double %t, {double(200.0)}
        %top = select i1 %above, double {double(200.0)}, double %t
        %below = fcmp olt double %top, {double(-200.0)}
        %c = select i1 %below, double {double(-200.0)}, double %top
        %shifted = fadd double %c, {double(_ROUND["double"])}
        %n = fsub double %shifted, {double(_ROUND["double"])}
        %r = fsub double %c, %n
        {polynomial("double", "p", "%r", _EXP2)}
        %p.bits = bitcast double %p to i64
        %n.bits = bitcast double %shifted to i64
        %n.high = shl i64 %n.bits, 52
        %scaled = add i64 %p.bits, %n.high
        %power = bitcast i64 %scaled to double
        %nan = fcmp uno double %t, %t
        %y = select i1 %nan, double %t, double %power
        ret double %y
    """)  # fmt: skip


def _sigmoid() -> Function:
    """1 / (1 + 2**(-x log2 e)) in double, rounded once."""
    return define("float", "steppers.sigmoid.f32", "float %x", f"""
        %wide = fpext float %x to double
        %t = fmul double %wide, {double(-1.4426950408889634)}
        %e = call double @steppers.exp2.f64(double %t)
        %under = fadd double %e, {double(1.0)}
        %y = fdiv double {double(1.0)}, %under
        %result = fptrunc double %y to float
        ret float %result
    """)  # fmt: skip


def _pow() -> Function:
    """|x|**y = 2**(y log2 |x|) in double, rounded once; then the special cases of C's pow.

    log2 |x| = e + log2 m, with m between sqrt(1/2) and sqrt(2) and log2 m a polynomial of
    s = (m - 1) / (m + 1). An |x| of 1 gives 1 whatever y is. For y to be an odd or an even integer
    it need not be looked at beyond 2**24, where every float is even.
    """
    return define("float", "steppers.pow.f32", "float %x, float %y", f"""
        %a = call float @llvm.fabs.f32(float %x)
        %wide = fpext float %a to double
        %word = bitcast double %wide to i64
        %from.root = sub i64 %word, {0x3FE6A09E667F3BCD}
        %e.integer = ashr i64 %from.root, 52
        %e.low = trunc i64 %e.integer to i32
        %e = sitofp i32 %e.low to double
        %fraction = and i64 %from.root, {0xFFFFFFFFFFFFF}
        %m.bits = add i64 %fraction, {0x3FE6A09E667F3BCD}
        %m = bitcast i64 %m.bits to double
        %over = fsub double %m, {double(1.0)}
        %under = fadd double %m, {double(1.0)}
        %s = fdiv double %over, %under
        %ss = fmul double %s, %s
        {polynomial("double", "q", "%ss", _LOG2)}
        %log.finite = call double @llvm.fmuladd.f64(double %s, double %q, double %e)
        %is.zero = fcmp oeq float %a, {single(0.0)}
        %is.infinite = fcmp oeq float %a, {_INFINITY}
        %log.zero = select i1 %is.zero, double {double(float("-inf"))}, double %log.finite
        %log = select i1 %is.infinite, double {double(float("inf"))}, double %log.zero
        %y.wide = fpext float %y to double
        %product = fmul double %y.wide, %log
        %is.one = fcmp oeq float %a, {single(1.0)}
        %t = select i1 %is.one, double {double(0.0)}, double %product
        %power.wide = call double @steppers.exp2.f64(double %t)
        %power = fptrunc double %power.wide to float
        %y.size = call float @llvm.fabs.f32(float %y)
        %small = fcmp olt float %y.size, {single(2.0**24)}
        %y.near = select i1 %small, float %y.size, float {single(2.0**24)}
        %y.integer = fptosi float %y.near to i32
        %y.back = sitofp i32 %y.integer to float
        %integral = fcmp oeq float %y.back, %y.near
        %parity = and i32 %y.integer, 1
        %x.bits = bitcast float %x to i32
        %x.sign = and i32 %x.bits, {0x80000000}
        %odd = icmp eq i32 %parity, 1
        %flips = and i1 %odd, %integral
        %sign = select i1 %flips, i32 %x.sign, i32 0
        %power.bits = bitcast float %power to i32
        %signed.bits = or i32 %power.bits, %sign
        %signed = bitcast i32 %signed.bits to float
        %negative = fcmp olt float %x, {single(0.0)}
        %finite = xor i1 %is.infinite, true
        %fractional = xor i1 %integral, true
        %root = and i1 %negative, %fractional
        %undefined = and i1 %root, %finite
        %unordered = fcmp uno float %x, %y
        %nan = or i1 %undefined, %unordered
        %real = select i1 %nan, float {_NAN}, float %signed
        %base.one = fcmp oeq float %x, {single(1.0)}
        %no.power = fcmp oeq float %y, {single(0.0)}
        %one = or i1 %base.one, %no.power
        %result = select i1 %one, float {single(1.0)}, float %real
        ret float %result
    """)  # fmt: skip


def _quadrants(kind: str) -> str:
    """Lines that set %y to cos(pi/2 (k + d)): k is the low bits of %k, an i32, and |%d| <= 1/2."""
    suffix, constant = ("f32", single) if kind == "float" else ("f64", double)
    sin, cos = (_SIN_SINGLE, _COS_SINGLE) if kind == "float" else (_SIN_DOUBLE, _COS_DOUBLE)
    return f"""
        %dd = fmul {kind} %d, %d
        {polynomial(kind, "sin.over.d", "%dd", sin)}
        {polynomial(kind, "cos.q", "%dd", cos)}
        %sin = fmul {kind} %sin.over.d, %d
        %cos = call {kind} @llvm.fmuladd.{suffix}({kind} %dd, {kind} %cos.q, {kind} {constant(1.0)})
        %k.odd = and i32 %k, 1
        %is.sin = icmp eq i32 %k.odd, 1
        %size = select i1 %is.sin, {kind} %sin, {kind} %cos
        %k.next = add i32 %k, 1
        %k.second = and i32 %k.next, 2
        %is.minus = icmp eq i32 %k.second, 2
        %minus = fneg {kind} %size
        %y = select i1 %is.minus, {kind} %minus, {kind} %size
    """


def _cos() -> Function:
    """Any finite x: x 2/pi modulo 4 from seven exact products, then a polynomial, all in double.

    What of a product is a multiple of 4 is dropped exactly, so the whole range costs the same.
    The sum is right to 1e-14: the error can be more than 0.51 units only where |cos| < 1e-6, and
    is below 1e-14 there.
    """
    lines, total = list[str](), double(-0.0)
    for i, digits in enumerate(_TWO_OVER_PI, 1):
        piece = digits * 2.0 ** (-28 * i)
        lines += [
            f"%product{i} = fmul double %wide, {double(piece)}",
            f"%fourth{i} = fmul double %wide, {double(piece / 4)}",
            f"%turns{i} = call double @llvm.floor.f64(double %fourth{i})",
            f"%whole{i} = fmul double %turns{i}, {double(4.0)}",
            f"%left{i} = fsub double %product{i}, %whole{i}",
            f"%sum{i} = fadd double {total}, %left{i}",
        ]
        total = f"%sum{i}"
    reduction = "\n".join(lines)
    return define("float", "steppers.cos.f32", "float %x", f"""
        %a = call float @llvm.fabs.f32(float %x)
        %wide = fpext float %a to double
        {reduction}
        %shifted = fadd double {total}, {double(_ROUND["double"])}
        %n = fsub double %shifted, {double(_ROUND["double"])}
        %d = fsub double {total}, %n
        %word = bitcast double %shifted to i64
        %k = trunc i64 %word to i32
        {_quadrants("double")}
        %result = fptrunc double %y to float
        ret float %result
    """)  # fmt: skip


def _cos2pi(kind: str) -> Function:
    """cos(2 pi u) for u in [0, 1): 4 u and its distance to an integer are exact."""
    suffix, constant = ("f32", single) if kind == "float" else ("f64", double)
    word = "i32" if kind == "float" else "i64"
    narrow = "%k = add i32 %word, 0" if kind == "float" else "%k = trunc i64 %word to i32"
    return define(kind, f"steppers.cos2pi.{suffix}", f"{kind} %u", f"""
        %v = fmul {kind} %u, {constant(4.0)}
        %shifted = fadd {kind} %v, {constant(_ROUND[kind])}
        %n = fsub {kind} %shifted, {constant(_ROUND[kind])}
        %d = fsub {kind} %v, %n
        %word = bitcast {kind} %shifted to {word}
        {narrow}
        {_quadrants(kind)}
        ret {kind} %y
    """)  # fmt: skip


POWERS = (_exp2(), _sigmoid(), _pow(), _cos(), _cos2pi("float"), _cos2pi("double"))
