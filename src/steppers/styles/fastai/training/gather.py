"""What a model puts out over a loader: outputs, targets, inputs and losses, joined."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ....train.callbacks.metrics import batch_size
from .callback import Callback


class GatherPredsCallback(Callback):
    """Keep what a pass of validation gives, on the CPU: a list of batches, joined at its end.

    `all_tensors()` has all of it, with None for outputs and targets without `with_preds` and
    `with_targs`. `save_preds` and `save_targs` are folders for each batch's, in files named by its
    number.
    """

    order = 100
    observes = True

    def __init__(
        self,
        with_input: bool = False,
        with_loss: bool = False,
        save_preds: str | Path | None = None,
        save_targs: str | Path | None = None,
        with_preds: bool = True,
        with_targs: bool = True,
        concat_dim: int = 0,
    ) -> None:
        self.with_input, self.with_loss = with_input, with_loss
        self.save_preds, self.save_targs = save_preds, save_targs
        self.with_preds, self.with_targs = with_preds, with_targs
        self.concat_dim = concat_dim
        self._clear()

    def _clear(self) -> None:
        self.inputs, self.preds = list[Any](), list[Any]()
        self.targets, self.losses = list[Any](), list[Any]()
        self._batches = 0

    def before_validate(self) -> None:
        self._clear()

    def after_batch(self) -> None:
        if self.training:
            return
        if self.with_input:
            self.inputs.append(self.learn.to_detach(self.x))
        self._batches += 1
        kept = ((self.pred, self.with_preds, self.preds, self.save_preds),
                (self.y, self.with_targs, self.targets, self.save_targs))  # fmt: skip
        for value, wanted, row, folder in kept:
            found = self.learn.to_detach(value)
            if wanted:
                row.append(found)
            if folder is not None:
                torch.save(found, Path(folder) / str(self.iter))
        if self.with_loss:
            self.losses.append(self.learn.to_detach(by_item(self.loss, batch_size(self.yb))))

    def after_validate(self) -> None:
        for name in ("inputs", "preds", "targets", "losses"):
            if row := getattr(self, name):
                setattr(self, name, joined(row, 0 if name == "losses" else self.concat_dim))

    def all_tensors(self) -> list[Any]:
        """Inputs if kept, outputs, targets, losses if kept. Raises ValueError without a batch."""
        if not self._batches:
            raise ValueError("get_preds: the loader has no batches")
        found = [
            self.preds if self.with_preds else None,
            self.targets if self.with_targs else None,
        ]
        found = [self.inputs, *found] if self.with_input else found
        return [*found, self.losses] if self.with_loss else found


def by_item(loss: torch.Tensor, size: int) -> torch.Tensor:
    """One loss an item: the mean of an item's own, where a loss function gives several."""
    return loss if loss.numel() == size else loss.view(size, -1).mean(1)


def joined(parts: list[Any], dim: int = 0) -> Any:
    """Batches joined along a dimension; tuples member by member, empty ones to None."""
    first = parts[0]
    if isinstance(first, tuple | list):
        return tuple(joined(list(row), dim) for row in zip(*parts, strict=True)) or None
    if not isinstance(first, torch.Tensor):
        raise TypeError(f"get_preds: joins tensors, got a {type(first).__name__}")
    return torch.cat(parts, dim) if first.ndim else torch.stack(parts)


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
