"""What a fit did: rates and losses; what sets its rates: schedules, and the search for one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor

from ... import hypers
from ...lr_find import restored
from ...train import plots
from ..base import PerParameter
from .callback import Callback, CancelTrainException
from .lists import listify


class Recorder(Callback):
    """The rate of each group and the raw loss of each training batch.

    `lrs` are those of the last group, `lrs_of_groups` a list for each group. Each plot_ method
    returns a matplotlib Figure.
    """

    def begin_fit(self) -> None:
        self.losses: list[Tensor] = []
        self.lrs_of_groups: list[list[float]] = [[] for _ in self.opt.param_groups]

    def after_batch(self) -> None:
        if self.in_train:
            for lrs, group in zip(self.lrs_of_groups, self.opt.param_groups, strict=True):
                lrs.append(float(group["lr"]))
            self.losses.append(self.loss.detach().cpu())

    @property
    def lrs(self) -> list[float]:
        """The rates of the last group."""
        return self.lrs_of_groups[-1]

    def plot_lr(self, pgid: int = -1) -> Any:
        """The rate of a group at each training batch."""
        lrs = self.lrs_of_groups[pgid]
        return _line(range(1, len(lrs) + 1), lrs, "training batch", "lr")

    def plot_loss(self, skip_last: int = 0) -> Any:
        """The loss of each training batch, without the last ones."""
        losses = self._losses(skip_last)
        return _line(range(1, len(losses) + 1), losses, "training batch", "loss")

    def plot(self, skip_last: int = 0, pgid: int = -1) -> Any:
        """The loss against the rate, on a logarithmic axis: what LR_Find is for."""
        losses = self._losses(skip_last)
        lrs = self.lrs_of_groups[pgid][: len(losses)]
        return _line(lrs, losses, "lr", "loss", log=True)

    def _losses(self, skip_last: int) -> list[float]:
        return [loss.item() for loss in self.losses[: max(len(self.losses) - skip_last, 0)]]


def _line(
    x: Sequence[float], y: Sequence[float], xlabel: str, ylabel: str, log: bool = False
) -> Any:
    figure = plots.new_figure(6.4, 4.0)
    axes = figure.subplots()
    axes.plot(x, y, color=plots.COLOURS[0], linewidth=1.5)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=f"{ylabel} by {xlabel}")
    if log:
        axes.set_xscale("log")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


class ParamScheduler(Callback):
    """Set a hyper-parameter before each training batch: f(n_epochs / epochs).

    `sched_funcs`: one function for all groups, or one a group. The name is any that
    `steppers.hypers` takes, so "mom" is torch's momentum or first beta too. An optimizer that was
    made with `strict=False` takes a name that it does not have.
    """

    _order = 1

    def __init__(self, pname: str, sched_funcs: Any) -> None:
        self.pname, self.sched_funcs = pname, sched_funcs
        for function in listify(sched_funcs):
            if not callable(function):
                raise TypeError(
                    f"ParamScheduler: {pname} wants functions of the position, got {function!r}"
                )

    def begin_fit(self) -> None:
        count = len(self.opt.param_groups if self._lax else hypers.having(self.opt, self.pname))
        given: list[Callable[[float], Any]] = listify(self.sched_funcs)
        if len(given) not in (1, count):
            raise ValueError(
                f"ParamScheduler: got {len(given)} functions for the {self.pname} of {count} groups"
            )

    def begin_batch(self) -> None:
        if self.in_train:
            self.set_param()

    def set_param(self) -> None:
        """Set the hyper-parameter for the position that the fit has reached."""
        position = self.n_epochs / self.epochs
        values = [function(position) for function in listify(self.sched_funcs)]
        value = values if len(values) > 1 else values[0]
        if self._lax:
            self.opt.set_hyper(self.pname, value)
        else:
            hypers.put(self.opt, self.pname, value)

    @property
    def _lax(self) -> bool:
        return isinstance(self.opt, PerParameter) and not self.opt.strict


class LR_Find(Callback):
    """Raise the rate geometrically from `min_lr` to `max_lr`, and end the fit with the loss.

    It ends when `max_iter` training batches are done and `max_lr` is reached, or where the raw loss
    is more than 10 times the best, or not finite. The weights stay as they are then; with
    `restore=True` model and optimizer come back as they were. A Recorder has the curve.
    """

    _order = 1

    def __init__(
        self,
        max_iter: int = 100,
        min_lr: float = 1e-6,
        max_lr: float = 10,
        *,
        restore: bool = False,
    ) -> None:
        if max_iter < 1 or not 0 < min_lr < max_lr:
            raise ValueError(
                "LR_Find: wants max_iter >= 1 and 0 < min_lr < max_lr, got "
                f"{max_iter}, {min_lr} and {max_lr}"
            )
        self.max_iter, self.min_lr, self.max_lr, self.restore = max_iter, min_lr, max_lr, restore
        self.best_loss, self._held = math.inf, ExitStack()

    def begin_fit(self) -> None:
        self.best_loss = math.inf
        if self.restore:
            self._held.enter_context(restored(self.model, self.opt))

    def begin_batch(self) -> None:
        if self.in_train:
            share = self.n_iter / self.max_iter
            hypers.put(self.opt, "lr", self.min_lr * (self.max_lr / self.min_lr) ** share)

    def after_step(self) -> None:
        loss = self.loss.item()
        if self.n_iter >= self.max_iter or not loss <= 10 * self.best_loss:
            raise CancelTrainException
        self.best_loss = min(self.best_loss, loss)

    def after_fit(self) -> None:
        self._held.close()
