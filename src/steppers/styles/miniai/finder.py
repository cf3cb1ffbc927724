"""miniai's search for a learning rate."""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import Any

from torch.optim.lr_scheduler import ExponentialLR

from ...lr_find import restored
from ...train import plots
from ...train.callbacks.bars import in_notebook
from ...train.callbacks.live_graph import Display, notebook_display
from ...train.events import Callback
from .learner import CancelEpochException, CancelFitException


class LRFinderCB(Callback):
    """Multiply the rate by `gamma` after each training batch, until the loss is far from its best.

    The fit ends where the raw loss is more than `max_mult` times the least, or not finite;
    evaluation passes end at once. The weights stay as they are then; with `restore=True` model and
    optimizer come back as they were. `lrs` and `losses` are the curve. `plot()` is its picture,
    which is shown when the fit is over: in a notebook, or by `display`, a function of a figure.
    """

    def __init__(
        self,
        gamma: float = 1.3,
        max_mult: float = 3.0,
        *,
        restore: bool = False,
        display: Display | None = None,
    ) -> None:
        if not gamma > 1 or not max_mult > 1:
            raise ValueError(
                f"LRFinderCB: gamma and max_mult must be > 1, got {gamma} and {max_mult}"
            )
        self.gamma, self.max_mult, self.restore = gamma, max_mult, restore
        self.display = display
        self.lrs: list[float] = []
        self.losses: list[float] = []
        self.min, self.sched = math.inf, None
        self._held = ExitStack()

    def before_fit(self, learn: Any) -> None:
        if self.restore:
            self._held.enter_context(restored(learn.model, learn.opt))
        self.sched = ExponentialLR(learn.opt, self.gamma)
        self.lrs, self.losses, self.min = [], [], math.inf

    def before_batch(self, learn: Any) -> None:
        if not learn.training:
            raise CancelEpochException

    def after_batch(self, learn: Any) -> None:
        loss = learn.loss.item()
        self.lrs.append(float(learn.opt.param_groups[0]["lr"]))
        self.losses.append(loss)
        self.min = min(self.min, loss)
        if not math.isfinite(loss) or loss > self.max_mult * self.min:
            raise CancelFitException
        assert self.sched is not None
        self.sched.step()

    def cleanup_fit(self, learn: Any) -> None:
        self._held.close()
        show = self.display or (notebook_display() if in_notebook() else None)
        if show and self.lrs:
            show(self.plot())

    def plot(self) -> Any:
        """Losses against rates, on a logarithmic axis, as a matplotlib Figure."""
        figure = plots.new_figure(6.4, 4.0)
        axes = figure.subplots()
        axes.plot(self.lrs, self.losses, color=plots.COLOURS[0], linewidth=1.6)
        axes.set(xscale="log", xlabel="lr", ylabel="loss", title="Loss at a rising rate")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        return figure

    def __repr__(self) -> str:
        span = f", {self.lrs[0]:.3g} to {self.lrs[-1]:.3g}" if self.lrs else ""
        return f"{type(self).__name__}({len(self.lrs)} rates{span})"
