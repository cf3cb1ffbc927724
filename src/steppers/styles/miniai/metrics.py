"""miniai's metrics and progress: one line for each pass."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from ...train import plots
from ...train.callbacks import bars
from ...train.callbacks.live_graph import Display, LiveGraph, notebook_display
from ...train.callbacks.metrics import batch_size, name_of
from ...train.events import Callback
from .batches import to_cpu
from .trainers import TrainLearner


class Mean:
    """A mean of numbers with weights: reset, update and compute, as torcheval's metrics have."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.total, self.weight = 0.0, 0.0

    def update(self, value: Any, weight: float = 1) -> None:
        """Add a number, with a weight."""
        self.total += float(value) * weight
        self.weight += weight

    def compute(self) -> float:
        """The mean; NaN where nothing was added."""
        return self.total / self.weight if self.weight else float("nan")


class OfFunction(Mean):
    """The mean over all items of a function of (preds, target) that gives that of a batch."""

    def __init__(self, function: Any) -> None:
        self.function = function
        super().__init__()

    def update(self, value: Any, weight: Any = 1) -> None:
        """Add a batch: its outputs and targets."""
        preds, target = value, weight
        super().update(self.function(preds, target), len(target))


class MetricsCB(Callback):
    """The mean loss and metrics of each pass, weighted by the sizes of its batches.

    A metric has `reset`, `update(preds, target)` and `compute`, as those of torcheval and
    torchmetrics, or is a function of (preds, target); it is named after its class or as its
    keyword. After each pass `_log` gets a dict of texts: the metrics, loss, epoch, and train, which
    is "train" or "eval"; it prints it unless a ProgressCB shows it.
    """

    def __init__(self, *ms: Any, **metrics: Any) -> None:
        named = {name_of(m): m for m in ms} | metrics
        for name in ("loss", "epoch", "train"):
            if name in named:
                raise ValueError(f"MetricsCB: {name} is a column of its own; take another name")
        for name, metric in named.items():
            if isinstance(metric, type) or not (callable(metric) or _is_object(metric)):
                raise TypeError(
                    f"MetricsCB: {name} must have reset, update and compute, or be a function of "
                    f"(preds, target); got {metric!r}"
                )
        self.metrics = {n: m if _is_object(m) else OfFunction(m) for n, m in named.items()}
        self.loss = Mean()
        self.all_metrics: dict[str, Any] = {**self.metrics, "loss": self.loss}

    def _log(self, d: Mapping[str, Any]) -> None:
        print(dict(d), flush=True)

    def before_fit(self, learn: Any) -> None:
        learn.metrics = self

    def before_epoch(self, learn: Any) -> None:
        for metric in self.all_metrics.values():
            metric.reset()

    @torch.no_grad()
    def after_batch(self, learn: Any) -> None:
        target, preds = to_cpu(target_of(learn)), to_cpu(learn.preds)
        for metric in self.metrics.values():
            metric.update(preds, target)
        self.loss.update(to_cpu(learn.loss), weight=batch_size(learn.batch))

    def after_epoch(self, learn: Any) -> None:
        log = {name: f"{float(m.compute()):.3f}" for name, m in self.all_metrics.items()}
        self._log({**log, "epoch": learn.epoch, "train": "train" if learn.training else "eval"})


def target_of(learn: Any) -> Any:
    """What follows the model's inputs in a batch: one for a TrainLearner, a TrainCB's `n_inp`."""
    counts = [cb.n_inp for cb in learn.cbs if hasattr(cb, "n_inp")]
    inputs = 1 if isinstance(learn, TrainLearner) else counts[0] if counts else -1
    return learn.batch[inputs]


def _is_object(metric: Any) -> bool:
    return all(callable(getattr(metric, name, None)) for name in ("reset", "update", "compute"))


class ProgressCB(Callback):
    """A bar for each pass, and the metrics' lines as a table; with `plot` the losses as a graph.

    In a notebook the graph is drawn again while the fit runs, elsewhere `display`, a function of
    a matplotlib Figure, shows it. `plot_loss()` gives the picture at any time: each training loss,
    and the mean of each evaluation pass at the batch that it followed.
    """

    order = 1  # after MetricsCB

    def __init__(
        self, plot: bool = False, *, kind: bars.Kind = "auto", display: Display | None = None
    ) -> None:
        if kind not in bars.KINDS:
            raise ValueError(
                f"ProgressCB: kind must be one of {', '.join(bars.KINDS)}, got {kind!r}"
            )
        self.kind: bars.Kind = kind
        self.plot, self.display = plot, display
        self.losses: list[float] = []
        self.val_losses: list[tuple[int, float]] = []
        self._seen: list[Any] = []
        self._moving: bars.Moving | None = None
        self._graph: LiveGraph | None = None
        self._columns: list[str] = []
        self._next = 0.0

    # --- events ----------------------------------------------------------------------------------

    def before_fit(self, learn: Any) -> None:
        self.losses, self.val_losses, self._columns = [], [], []
        if hasattr(learn, "metrics"):
            learn.metrics._log = self._log
        show = self.display or (notebook_display() if bars.in_notebook() else None)
        shown: Any = _Losses(self)
        self._graph = LiveGraph(shown, show) if self.plot and show else None

    def before_epoch(self, learn: Any) -> None:
        title = f"epoch {learn.epoch + 1}/{learn.n_epochs} {'train' if learn.training else 'eval'}"
        self._moving = bars.opened(self.kind, title, _length(learn.dl), 0)
        self._next, self._seen = time.monotonic() + self._moving.interval, []

    def after_batch(self, learn: Any) -> None:
        if self._moving is not None and time.monotonic() >= self._next:
            self._moving.update(learn.iter + 1, f"{learn.loss.item():.3f}")
            self._next = time.monotonic() + self._moving.interval
        if self.plot:
            self._note(learn)

    def after_epoch(self, learn: Any) -> None:
        if self.plot and not learn.training and self._seen:
            sizes = [size for _, size in self._seen]
            mean = sum(loss * size for loss, size in self._seen) / sum(sizes)
            self.val_losses.append((len(self.losses), mean))
        if self._graph is not None:
            self._graph.draw()

    def cleanup_epoch(self, learn: Any) -> None:
        if self._moving is not None:
            moving, self._moving = self._moving, None
            moving.close()

    def cleanup_fit(self, learn: Any) -> None:
        self._graph = None

    # --- what it shows ---------------------------------------------------------------------------

    def _note(self, learn: Any) -> None:
        loss = learn.loss.item()
        if learn.training:
            self.losses.append(loss)
        else:
            self._seen.append((loss, batch_size(learn.batch)))
        if self._graph is not None:
            self._graph.update()

    def _log(self, d: Mapping[str, Any]) -> None:
        if list(d) != self._columns:
            self._columns = list(d)
            print("  ".join(f"{name:>8}" for name in d))
        print("  ".join(f"{d[name]!s:>{max(8, len(name))}}" for name in d), flush=True)

    def plot_loss(self) -> Any:
        """The losses so far, as a matplotlib Figure."""
        if not self.losses:
            raise RuntimeError("ProgressCB: there is nothing to draw: fit with plot=True")
        figure = plots.new_figure(6.4, 4.0)
        axes = figure.subplots()
        steps = range(1, len(self.losses) + 1)
        axes.plot(steps, self.losses, color=plots.COLOURS[0], linewidth=1.2, label="training")
        if self.val_losses:
            at, means = zip(*self.val_losses, strict=True)
            axes.plot(at, means, "o-", color=plots.COLOURS[4], label="evaluation")
        axes.set(xlabel="training batch", ylabel="loss", title="Loss in training and evaluation")
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        return figure


class _Losses:
    """What a live graph reads: how many losses and passes there are, and their picture."""

    def __init__(self, shown: ProgressCB) -> None:
        self.shown = shown

    @property
    def losses(self) -> list[float]:
        return self.shown.losses

    @property
    def rows(self) -> list[tuple[int, float]]:
        return self.shown.val_losses

    def plot_loss(self) -> Any:
        return self.shown.plot_loss()


def _length(dl: Any) -> int | None:
    try:
        return len(dl)
    except TypeError:
        return None
