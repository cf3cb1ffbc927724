"""Code that catches the errors of numbers: 1 / 0 raises in Python, and is inf in a rule."""

from __future__ import annotations

import dis
from functools import lru_cache
from types import CodeType

ERRORS = frozenset({
    "ZeroDivisionError", "OverflowError", "ValueError", "FloatingPointError", "ArithmeticError",
    "Exception", "BaseException",
})  # fmt: skip
RAISING = frozenset({"div", "mod", "pow", "sqrt", "rsqrt", "log", "exp"})
_MATCHES = ("CHECK_EXC_MATCH", "JUMP_IF_NOT_EXC_MATCH")


@lru_cache(maxsize=256)
def caught_by(code: CodeType) -> str:
    """An error of numbers that code catches, by its name; "" if it catches none."""
    named: list[str] = []  # since the last instruction that names no class
    before = ""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            named.append(str(step.argval))
        elif step.opname in _MATCHES:
            found = sorted(ERRORS.intersection(named))
            if found:
                return found[0]
        elif step.opname not in ("BUILD_TUPLE", "CACHE", "NOP", "DUP_TOP"):
            named = []
        if before == "PUSH_EXC_INFO" and step.opname == "POP_TOP":
            return "every error"
        before = step.opname
    return ""
