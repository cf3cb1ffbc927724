"""What a model puts out over a loader: outputs, targets, inputs and losses, joined."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from .callback import Callback


class GatherPredsCallback(Callback):
    """Keep what a pass of validation gives, on the CPU; `all_tensors()` is it joined."""

    order = 100
    observes = True

    def __init__(self, with_input: bool = False, with_loss: bool = False) -> None:
        self.with_input, self.with_loss = with_input, with_loss
        self._clear()

    def _clear(self) -> None:
        self.inputs, self.preds = list[Any](), list[Any]()
        self.targets, self.losses = list[Any](), list[Any]()

    def before_validate(self) -> None:
        self._clear()

    def after_batch(self) -> None:
        if self.training:
            return
        if self.with_input:
            self.inputs.append(self.learn.to_detach(self.x))
        self.preds.append(self.learn.to_detach(self.pred))
        self.targets.append(self.learn.to_detach(self.y))
        if self.with_loss:
            loss = self.loss
            each = loss.flatten(1).mean(1) if loss.ndim > 1 else loss
            self.losses.append(self.learn.to_detach(each))

    def all_tensors(self) -> list[Any]:
        """Inputs if kept, outputs, targets, losses if kept. Raises ValueError without a batch."""
        if not self.preds:
            raise ValueError("get_preds: the loader has no batches")
        rows = [self.preds, self.targets]
        rows = [self.inputs, *rows] if self.with_input else rows
        rows = [*rows, self.losses] if self.with_loss else rows
        return [joined(row) for row in rows]


def joined(parts: list[Any]) -> Any:
    """Batches joined along the first dimension; tuples member by member, empty ones to None."""
    first = parts[0]
    if isinstance(first, tuple | list):
        return tuple(joined(list(row)) for row in zip(*parts, strict=True)) or None
    if not isinstance(first, torch.Tensor):
        raise TypeError(f"get_preds: joins tensors, got a {type(first).__name__}")
    return torch.cat(parts) if first.ndim else torch.stack(parts)


@contextmanager
def loss_not_reduced(learn: Any) -> Generator[None, None, None]:
    """Have the loss function give a loss for each item while the block runs.

    Raises TypeError for one without `reduction`, when it is called.
    """
    function: Callable[..., Any] = learn.loss_func
    if hasattr(function, "reduction"):
        before = function.reduction  # pyright: ignore[reportFunctionMemberAccess]  # a loss module
        vars(function)["reduction"] = "none"
        try:
            yield
        finally:
            vars(function)["reduction"] = before
        return
    learn.loss_func = partial(function, reduction="none")
    try:
        yield
    finally:
        learn.loss_func = function
