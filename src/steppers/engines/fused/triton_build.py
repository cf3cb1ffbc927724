"""Triton source to kernels in memory: its text stands in `linecache`, so errors can show it."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import linecache
import os
import shutil
from typing import Any

WARPS = 4  # threads that walk a chunk: 32 times as many


@functools.cache
def unavailable() -> str:
    """Why no kernel can be built here, or ''; Triton itself is not imported for that."""
    import torch

    if importlib.util.find_spec("triton") is None:
        return "triton is not installed (pip install triton)"
    if torch.version.hip is not None:
        return "its Triton kernels are for NVIDIA's devices"
    if not (os.environ.get("CC") or shutil.which("gcc") or shutil.which("clang")):
        return "triton finds no C compiler for its launchers (install gcc, or name one in CC)"
    return ""


@functools.cache
def build(text: str) -> dict[str, Any]:
    """The functions of a module of Triton source, by name."""
    name = f"<steppers {hashlib.sha256(text.encode()).hexdigest()[:16]}>"
    # without a time of modification linecache keeps an entry; inspect.getsource finds it there
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    space: dict[str, Any] = {"__name__": name}
    exec(compile(text, name, "exec"), space)
    if any(interpreted(each) for key, each in space.items() if key.startswith("pass")):
        from .triton_interpreted import words

        space.update({k: word for k, word in words().items() if k in space})
    return space


def interpreted(kernel: Any) -> bool:
    """True if Triton runs a kernel in Python, on any tensors: made under TRITON_INTERPRET=1."""
    import triton

    return not isinstance(kernel, triton.JITFunction)


def launch(kernel: Any, grid: int, *arguments: Any) -> None:
    """Run a kernel on so many instances, on the present device and stream."""
    if grid == 0:
        return
    if interpreted(kernel):
        import numpy as np

        with np.errstate(all="ignore"):
            kernel[(grid,)](*arguments)
    else:
        kernel[(grid,)](*arguments, **options())


@functools.cache
def options() -> dict[str, Any]:
    """What kernels are compiled with: subnormal numbers stay, where Triton lets one say so."""
    from triton.backends.nvidia.compiler import CUDAOptions

    known = {"enable_reflect_ftz": False} if hasattr(CUDAOptions, "enable_reflect_ftz") else {}
    return {"num_warps": WARPS, **known}
