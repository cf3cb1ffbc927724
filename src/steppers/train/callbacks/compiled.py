"""The model compiled by torch.compile, for one fit."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..events import Callback

if TYPE_CHECKING:
    from ..learner import Learner

# Where Module.compile puts what a call of the module runs; torch has no way to take it back.
CALL = "_compiled_call_impl"


class Compile(Callback):
    """Compile the model in a fit and give it back as it was. Options are those of torch.compile.

    The module itself stays: its state_dict keeps its keys, and optimizers their parameters. Later
    fits of the same model use what the first compiled. Hooks that are on its modules when it first
    runs are compiled in, so this callback's turn comes after those that put some there.

    Raises RuntimeError, before the fit begins, where torch.compile does not work with this Python,
    or where its default backend has no C++ compiler for a model on the CPU.
    """

    order = 90

    def __init__(self, **options: Any) -> None:
        self.options = options
        self._model: nn.Module | None = None
        self._compiled: Callable[..., Any] | None = None
        self._before: Callable[..., Any] | None = None
        self._on = False

    def before_fit(self, learn: Learner) -> None:
        model = learn.model
        if self._model is not model:
            _check_compiler(model, self.options.get("backend", "inductor"))
            self._compiled, self._model = _compile(model, self.options), model
        self._before, self._on = getattr(model, CALL), True
        setattr(model, CALL, self._compiled)

    def cleanup_fit(self, learn: Learner) -> None:
        if self._on and self._model is not None:
            setattr(self._model, CALL, self._before)
            self._on, self._before = False, None


def _forward(model: nn.Module, *inputs: Any, **options: Any) -> Any:
    """A call of a module with its hooks.

    Module.compile compiles the same method by itself, and torch 2.13 then silently compiles nothing
    of a model whose class is torch's own, like Sequential.
    """
    return model._call_impl(*inputs, **options)  # pyright: ignore[reportPrivateUsage]  # see above


def _compile(model: nn.Module, options: dict[str, Any]) -> Callable[..., Any]:
    try:
        return partial(torch.compile(_forward, **options), model)
    except RuntimeError as error:
        version = f"Python {sys.version_info.major}.{sys.version_info.minor}"
        raise RuntimeError(
            f"Compile: torch {torch.__version__} does not compile with {version}: {error}; "
            "leave the callback out"
        ) from error


def _check_compiler(model: nn.Module, backend: object) -> None:
    """Raise RuntimeError where TorchInductor would find no compiler for the CPU."""
    first = next(model.parameters(), None)
    if backend != "inductor" or (first is not None and first.device.type != "cpu"):
        return
    default = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    wanted = os.environ.get("CXX", default)
    if shutil.which(wanted) is None:
        raise RuntimeError(
            f"Compile: torch.compile needs a C++ compiler for a model on the CPU and finds no "
            f"{wanted}: install one, name it in the variable CXX, or use "
            "Compile(backend='aot_eager')"
        )
