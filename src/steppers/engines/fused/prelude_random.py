"""Random draws as steppers.noise defines them: a hash of where they are used, bit for bit."""

from __future__ import annotations

from .prelude_words import Function, define, double, single


def _mix() -> Function:
    """lowbias32 (Wellons 2018); see steppers.noise.mix."""
    return define("i32", "steppers.mix", "i32 %x", f"""
        %a = lshr i32 %x, 16
        %b = xor i32 %x, %a
        %c = mul i32 %b, {0x21F0AAAD}
        %d = lshr i32 %c, 15
        %e = xor i32 %c, %d
        %f = mul i32 %e, {0x735A2D97}
        %g = lshr i32 %f, 15
        %y = xor i32 %f, %g
        ret i32 %y
    """)  # fmt: skip


def _key() -> Function:
    """What all elements of one tensor share; the arguments are taken modulo 2**32."""
    return define("i32", "steppers.key", "i32 %seed, i32 %t, i32 %number, i32 %draw", """
        %a = call i32 @steppers.mix(i32 %seed)
        %b = xor i32 %a, %t
        %c = call i32 @steppers.mix(i32 %b)
        %d = xor i32 %c, %number
        %e = call i32 @steppers.mix(i32 %d)
        %f = xor i32 %e, %draw
        %key = call i32 @steppers.mix(i32 %f)
        ret i32 %key
    """)  # fmt: skip


def _bits() -> Function:
    return define("i32", "steppers.bits", "i32 %index, i32 %key", """
        %a = call i32 @steppers.mix(i32 %index)
        %b = xor i32 %a, %key
        %bits = call i32 @steppers.mix(i32 %b)
        ret i32 %bits
    """)  # fmt: skip


def _uniform(kind: str, suffix: str, scale: str) -> Function:
    return define(kind, f"steppers.uniform.{suffix}", "i32 %index, i32 %key", f"""
        %bits = call i32 @steppers.bits(i32 %index, i32 %key)
        %high = lshr i32 %bits, 8
        %integer = sitofp i32 %high to {kind}
        %u = fmul {kind} %integer, {scale}
        ret {kind} %u
    """)  # fmt: skip


def _normal(kind: str, suffix: str, one: str, minus_two: str) -> Function:
    """Box and Muller 1958; the second key is that of draw + 0x10000."""
    arguments = "i32 %index, i32 %key, i32 %second"
    return define(kind, f"steppers.normal.{suffix}", arguments, f"""
        %u = call {kind} @steppers.uniform.{suffix}(i32 %index, i32 %key)
        %angle = call {kind} @steppers.uniform.{suffix}(i32 %index, i32 %second)
        %radius = fsub {kind} {one}, %u
        %log = call {kind} @steppers.log.{suffix}({kind} %radius)
        %square = fmul {kind} %log, {minus_two}
        %root = call {kind} @llvm.sqrt.{suffix}({kind} %square)
        %cos = call {kind} @steppers.cos2pi.{suffix}({kind} %angle)
        %z = fmul {kind} %root, %cos
        ret {kind} %z
    """)  # fmt: skip


def _coin() -> Function:
    return define("i1", "steppers.coin", "i32 %index, i32 %key", """
        %bits = call i32 @steppers.bits(i32 %index, i32 %key)
        %heads = icmp slt i32 %bits, 0
        ret i1 %heads
    """)  # fmt: skip


RANDOM = (
    _mix(),
    _key(),
    _bits(),
    _uniform("float", "f32", single(2.0**-24)),
    _uniform("double", "f64", double(2.0**-24)),
    _normal("float", "f32", single(1.0), single(-2.0)),
    _normal("double", "f64", double(1.0), double(-2.0)),
    _coin(),
)
