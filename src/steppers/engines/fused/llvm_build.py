"""LLVM IR text to functions in memory, through llvmlite: no file, no cache, no compiler."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_LOCK = threading.Lock()  # LLVM's global state is not for several threads at once


@dataclass(eq=False)
class Module:
    """Compiled functions by name; they live as long as it does."""

    engine: Any
    _functions: dict[str, Callable[..., None]] = field(
        default_factory=dict[str, Callable[..., None]]
    )

    def address(self, name: str) -> int:
        """Where a function begins."""
        return self.engine.get_function_address(name)

    def function(self, name: str, arguments: int) -> Callable[..., None]:
        """A void function of so many 64-bit arguments, called without the GIL."""
        if name not in self._functions:
            kind = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)
            self._functions[name] = kind(self.engine.get_function_address(name))
        return self._functions[name]


@functools.cache
def unavailable() -> str:
    """Why nothing can be compiled here, or ''."""
    try:
        with _LOCK:
            _target("", "")
    except ImportError:
        return "llvmlite is not installed (pip install llvmlite)"
    except (OSError, RuntimeError) as error:
        return f"llvmlite does not work here: {error}"
    return ""


@functools.cache
def processor() -> tuple[str, str]:
    """The processor's name and features as LLVM knows them; ("", "") is a generic one."""
    import llvmlite.binding as llvm

    with _LOCK:
        try:
            name, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
            _target(name, features)
        except (RuntimeError, ValueError):  # LLVM does not know this processor
            return "", ""
    return (name, features) if name and features else ("", "")


def converts_halves() -> bool:
    """True if the processor has instructions for float16; else a library would have to."""
    import platform

    features = processor()[1].split(",")
    return "+f16c" in features or platform.machine().lower() in ("arm64", "aarch64")


def _target(name: str, features: str) -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=name, features=features, opt=2)


def build(text: str) -> Module:
    """Parse, optimise and compile a module of IR text."""
    import llvmlite.binding as llvm

    known = processor()
    with _LOCK:
        machine = _target(*known)
        module = llvm.parse_assembly(text)
        module.verify()
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = True
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
        engine = llvm.create_mcjit_compiler(module, machine)
        engine.finalize_object()
    return Module(engine)
