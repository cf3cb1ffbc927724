"""The finder for a plain loop: model, optimizer, batches, loss."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, cast

import torch
from torch import Tensor, nn

from .found import Found
from .restore import restored
from .sweep import Sweep, Watched, check_loss


def lr_find(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable[Any],
    loss_func: Callable[..., Tensor],
    *,
    start_lr: object = 1e-7,
    end_lr: object = 10.0,
    num_it: int = 100,
    stop_div: bool | float = True,
    watch: Watched = "smoothed",
    scaler: torch.amp.GradScaler | None = None,
    scheduler: object = None,
    others: Iterable[object] = (),
) -> Found:
    """Train for `num_it` steps at rising learning rates; then everything is as it was.

    A batch is a tuple (x, y), or several inputs and y last; the loss is `loss_func(model(x), y)`,
    a mean. Tensors are moved to the model's device. `batches` is a loader or list, and is begun
    anew when it ends before the sweep. Rates and ends are as `Sweep` says: `stop_div=3` stops at 3
    times the best smoothed loss, with `watch="raw"` at 3 times the best loss of a batch. What is
    put back, even after an error or Ctrl-C, is as `restored` says. The optimizer is used as it
    stands, its state included. A `scheduler` is put back too but takes no steps. For a step of
    another kind write the loop:

        with restored(model, optimizer):
            for lr in sweep:
                sweep.record(train_step(next(batches)))

    Raises, with everything as it was: TypeError for an iterator, which cannot be begun anew, and
    for batches of another kind; ValueError for no batches; FloatingPointError for a loss that
    diverged at once, with the start to try.

    >>> _ = torch.manual_seed(0)
    >>> model, x = nn.Linear(4, 1), torch.randn(64, 4)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> batches = [(x, x.sum(1, keepdim=True))]
    >>> found = lr_find(model, optimizer, batches, nn.functional.mse_loss)
    >>> 1e-3 < found.valley < 1.0, optimizer.param_groups[0]["lr"]
    (True, 0.1)
    """
    _check(batches, loss_func)
    sweep = Sweep(optimizer, start_lr, end_lr, num_it, stop_div, watch=watch)
    if isinstance(loss_func, nn.Module):
        others = (*others, loss_func)
    with (
        restored(model, optimizer, scheduler, scaler, others, loaders=[batches]),
        closing(_endless(batches)) as source,
    ):
        for part in (model, optimizer):
            _to_train(part)
        for _ in sweep:
            inputs, target = _parts(next(source), model)
            sweep.record(_step(model, optimizer, loss_func, scaler, inputs, target))
    return sweep.found()


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_func: Callable[..., Tensor],
    scaler: torch.amp.GradScaler | None,
    inputs: list[Any],
    target: Any,
) -> Tensor:
    """One step; gives the loss before it."""
    losses: list[Tensor] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = loss_func(model(*inputs), target)
        check_loss(loss)
        losses.append(loss.detach())
        (loss if scaler is None else scaler.scale(loss)).backward()
        return loss

    if scaler is None:  # with a closure, for those that need one: LBFGS, SAM
        optimizer.step(cast("Callable[[], float]", closure))
    else:
        closure()
        scaler.step(optimizer)
        scaler.update()
    return losses[0]


def _to_train(part: object) -> None:
    """Switch to training: a model, and an optimizer with modes of its own (schedule-free)."""
    switch = getattr(part, "train", None)
    if callable(switch):
        switch()


def _check(batches: object, loss_func: object) -> None:
    if isinstance(batches, Iterator):
        raise TypeError(
            f"lr_find: batches is an iterator ({type(batches).__name__}), whose batches could not "
            "be given back; pass the loader itself, or a list of batches"
        )
    if not hasattr(batches, "__iter__") and not hasattr(batches, "__getitem__"):
        raise TypeError(f"lr_find: batches must be a loader, got {type(batches).__name__}")
    if not callable(loss_func):
        raise TypeError(f"lr_find: loss_func must be callable, got {type(loss_func).__name__}")


def _endless(batches: Iterable[Any]) -> Generator[Any]:
    """The batches again and again."""
    while True:
        empty = True
        for batch in batches:
            empty = False
            yield batch
        if empty:
            raise ValueError("lr_find: there are no batches to train on")


def _parts(batch: Any, model: nn.Module) -> tuple[list[Any], Any]:
    """The inputs and the target of a batch, on the model's device."""
    if not isinstance(batch, (tuple, list)) or len(batch) < 2:
        raise TypeError(
            "lr_find: a batch must be a tuple (inputs, target), got "
            f"{type(batch).__name__}; for others write the loop with Sweep and restored"
        )
    first = next((p for p in model.parameters()), None)
    device = first.device if first is not None else None
    moved = [x.to(device) if isinstance(x, Tensor) else x for x in batch]
    return moved[:-1], moved[-1]
