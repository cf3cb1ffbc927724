"""What a model is made of: its layers, their outputs' shapes, its parameters."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .. import rng
from .callbacks.device import tensors_in
from .table import table

HEADER = ("layer", "class", "output", "parameters", "trainable")


def summary(model: nn.Module, batch: Any = None) -> str:
    """A table of a model's layers, with the shapes of their outputs if a batch is given.

    `batch` is the model's input, a tensor, or a batch as loaders give it: a tuple whose last
    element is the target, which is left out. The model runs once, in evaluation mode and without
    gradients; modes, buffers and random numbers are as before. Rows are modules without modules
    inside, and modules with parameters of their own. A parameter that several modules share counts
    once in the totals.

    Raises ValueError for a model with lazy parameters that no batch has given their shapes yet.

    >>> print(summary(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), torch.ones(5, 2)))
    layer  class   output  parameters  trainable
    -----  ------  ------  ----------  ---------
    0      Linear  5x3              9          9
    1      ReLU    5x3              0          0
    <BLANKLINE>
    9 parameters, 9 trainable, 0 in buffers; 36 bytes
    """
    layers = list(_layers(model))
    if batch is not None:
        run_once(model, batch, [(layer.module, partial(_note, layer)) for layer in layers])
    rows = [_row(layer, batch is not None) for layer in layers]
    return f"{table(HEADER, rows, left=3)}\n\n{_totals(model)}"


@dataclass
class _Layer:
    """A row: a module, and the shapes that it gave in each of its calls."""

    name: str
    module: nn.Module
    outputs: list[str] = field(default_factory=list[str])


def _layers(model: nn.Module) -> Iterator[_Layer]:
    for name, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if any(is_lazy(p) for p in own):
            raise ValueError(
                f"summary: {name or type(model).__name__} is lazy and has no shapes yet: run one "
                "batch through the model first"
            )
        if own or not any(module.children()):
            yield _Layer(name or "(model)", module)


def _note(layer: _Layer, _module: object, _inputs: object, output: Any) -> None:
    shapes = ["x".join(map(str, x.shape)) or "scalar" for x in tensors_in(output)]
    layer.outputs.append(", ".join(shapes) or type(output).__name__)


def _row(layer: _Layer, ran: bool) -> list[str]:
    own = list(layer.module.parameters(recurse=False))
    trained = sum(p.numel() for p in own if p.requires_grad)
    shape = _shown(layer.outputs) if ran else ""
    count = sum(p.numel() for p in own)
    return [layer.name, type(layer.module).__name__, shape, f"{count:,}", f"{trained:,}"]


def _shown(outputs: list[str]) -> str:
    if not outputs:
        return "not run"
    return outputs[0] if len(outputs) == 1 else f"{outputs[0]} ({len(outputs)} times)"


def _totals(model: nn.Module) -> str:
    params, buffers = list(model.parameters()), list(model.buffers())
    count, held = sum(p.numel() for p in params), sum(b.numel() for b in buffers)
    trained = sum(p.numel() for p in params if p.requires_grad)
    size = sum(x.numel() * x.element_size() for x in [*params, *buffers])
    parts = f"{count:,} parameters, {trained:,} trainable, {held:,} in buffers"
    return f"{parts}; {_bytes(size)}"


def _bytes(size: int) -> str:
    for unit, least in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= least:
            return f"{size / least:.1f} {unit}"
    return f"{size} bytes"


def run_once(
    model: nn.Module,
    batch: Any,
    hooks: list[tuple[nn.Module, Any]],
    train: tuple[type[nn.Module], ...] = (),
) -> None:
    """Run a batch through a model that is left as it was, with hooks on its modules' outputs.

    All modules are in evaluation mode but those of the classes `train`.
    """
    inputs = batch[:-1] if isinstance(batch, tuple | list) else (batch,)
    with ExitStack() as stack:
        stack.enter_context(unmoved(model))
        for module, hook in hooks:
            stack.callback(module.register_forward_hook(hook).remove)
        for module in model.modules():
            module.training = isinstance(module, train)
        model(*inputs)


@contextmanager
def unmoved(model: nn.Module) -> Generator[None, None, None]:
    """A block without gradients, after which modes, buffers and random numbers are as before."""
    modes = [(module, module.training) for module in model.modules()]
    held = [(m, n, b, b.clone()) for m in model.modules() for n, b in _buffers(m)]
    random = rng.snapshot()
    with torch.no_grad():
        try:
            yield
        finally:
            for module, name, buffer, values in held:
                setattr(module, name, buffer.copy_(values))  # it may have been replaced
            for module, mode in modes:
                module.training = mode
            rng.restore(random)


def _buffers(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [(n, b) for n, b in module.named_buffers(recurse=False, remove_duplicate=False)]
