"""Words that the C library computes: in float64 all curves, and mod in both.

LLVM's own functions of these names become calls of the C library's, one an element: the loop
around them is still vector code. Their errors are the library's, below one unit in the last place
in glibc. `frem` is C's fmod, which is exact.
"""

from __future__ import annotations

from .prelude_words import Function, define, double, single


def _call(word: str) -> Function:
    return define("double", f"steppers.{word}.f64", "double %x", f"""
        %y = call double @llvm.{word}.f64(double %x)
        ret double %y
    """)  # fmt: skip


def _pow() -> Function:
    return define("double", "steppers.pow.f64", "double %x, double %y", """
        %z = call double @llvm.pow.f64(double %x, double %y)
        ret double %z
    """)  # fmt: skip


def _sigmoid() -> Function:
    """As in float32: exp(-|x|) cannot overflow."""
    return define("double", "steppers.sigmoid.f64", "double %x", f"""
        %a = call double @llvm.fabs.f64(double %x)
        %minus = fneg double %a
        %e = call double @llvm.exp.f64(double %minus)
        %under = fadd double %e, {double(1.0)}
        %negative = fcmp olt double %x, {double(0.0)}
        %over = select i1 %negative, double %e, double {double(1.0)}
        %y = fdiv double %over, %under
        ret double %y
    """)  # fmt: skip


def _mod(kind: str) -> Function:
    """torch.remainder: C's fmod, and the divisor added where the signs differ."""
    suffix, constant = ("f32", single) if kind == "float" else ("f64", double)
    zero = constant(0.0)
    return define(kind, f"steppers.mod.{suffix}", f"{kind} %a, {kind} %b", f"""
        %r = frem {kind} %a, %b
        %some = fcmp une {kind} %r, {zero}
        %divisor.negative = fcmp olt {kind} %b, {zero}
        %negative = fcmp olt {kind} %r, {zero}
        %differ = xor i1 %divisor.negative, %negative
        %adjust = and i1 %some, %differ
        %moved = fadd {kind} %r, %b
        %result = select i1 %adjust, {kind} %moved, {kind} %r
        ret {kind} %result
    """)  # fmt: skip


LIBRARY = (
    *map(_call, ("exp", "log", "tanh", "cos")),
    _pow(),
    _sigmoid(),
    _mod("float"),
    _mod("double"),
)
