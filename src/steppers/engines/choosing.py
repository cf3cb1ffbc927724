"""Which engine runs a group, and why. It is decided here, and nowhere else."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

ASKED = "asked for"
NAMES = ("auto", "loop", "foreach", "fused")
FLOATS = frozenset({
    torch.float32, torch.float64, torch.bfloat16, torch.float16,
    torch.complex64, torch.complex128,  # viewed as pairs
})  # fmt: skip


@dataclass(frozen=True)
class Choice:
    """An engine and why it is the one."""

    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.name}: {self.why}"


def asked(owner: str, engine: str, flags: dict[str, Any]) -> str:
    """The engine that the constructor's arguments name, "auto" if none; raises for clashes."""
    if engine not in NAMES:
        raise ValueError(f"{owner}: engine must be one of {', '.join(NAMES)}, got {engine!r}")
    foreach_flag, fused = flags.get("foreach"), flags.get("fused")
    if foreach_flag and fused:
        raise RuntimeError(f"{owner}: `fused` and `foreach` cannot be `True` together")
    named = "foreach" if foreach_flag else "fused" if fused else engine
    for flag in ("capturable", "differentiable"):
        if flags.get(flag) and named in ("foreach", "fused"):
            raise RuntimeError(
                f"{owner}: the {named} engine does not support {flag}=True; use engine='loop'"
            )
    if foreach_flag is False and engine == "auto" and not fused:
        return "loop"
    return named


def choose(named: str, untraceable: str, flags: dict[str, Any], params: Sequence[Tensor]) -> Choice:
    """The engine that runs these parameters, with the reason.

    Raises RuntimeError if a named engine cannot.
    """
    if named == "loop":
        return Choice("loop", ASKED)
    no_lists = _against_lists(untraceable, flags, params)
    no_kernels = no_lists or _against_kernels(params)
    if named == "fused" and no_kernels:
        other = "loop" if no_lists else "foreach"
        raise RuntimeError(f"the fused engine cannot run: {no_kernels}; use engine='{other}'")
    if named == "foreach" and no_lists:
        raise RuntimeError(f"the foreach engine cannot run: {no_lists}; use engine='loop'")
    if named == "auto" and flags.get("fused") is False:
        no_kernels = "fused=False"
    if named != "foreach" and not no_kernels:
        made = "generated Triton kernels" if any(p.is_cuda for p in params) else "generated kernels"
        return Choice("fused", ASKED if named == "fused" else made)
    if no_lists:
        return Choice("loop", no_lists)
    if named == "auto" and flags.get("fused") is not False:
        _say_missing()
    return Choice("foreach", ASKED if named == "foreach" else no_kernels)


def _against_lists(untraceable: str, flags: dict[str, Any], params: Sequence[Tensor]) -> str:
    """Why these parameters cannot go in lists, or ''."""
    if untraceable:
        return untraceable
    for flag in ("capturable", "differentiable"):
        if flags.get(flag):
            return f"{flag}=True"
    for p in params:
        if type(p) not in (Tensor, torch.nn.Parameter):
            return f"a parameter is a {type(p).__name__}, not a plain tensor"
    return ""


def _against_kernels(params: Sequence[Tensor]) -> str:
    """Why no kernel can be generated for these plain tensors, or ''."""
    devices = {str(p.device) for p in params}
    cuda = {p.device.type for p in params} == {"cuda"}
    if devices - {"cpu"} and not (cuda and len(devices) == 1):
        on = " and ".join(sorted(devices))
        return f"the fused engine runs on the CPU or on one CUDA device, parameters are on {on}"
    for p in params:
        if p.dtype not in FLOATS:
            return f"a parameter is {p.dtype}"
    from .fused import llvm_build, triton_build

    return triton_build.unavailable() if cuda else llvm_build.unavailable()


@functools.cache
def _say_missing() -> None:
    """Warn, once in a process, if nothing can be compiled here: a step then takes longer."""
    from .fused import llvm_build

    why = llvm_build.unavailable()
    if why:
        warnings.warn(f"{why}: steps run in the slower foreach engine", stacklevel=2)
