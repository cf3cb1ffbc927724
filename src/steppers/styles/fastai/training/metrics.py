"""fastai's metrics: objects that gather from the learner, batch by batch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ....train.callbacks.metrics import batch_size, name_of
from ....train.metrics import OfMean
from .callback import snake


class Metric:
    """What a pass is worth: `reset()` before it, `accumulate(learn)` a batch, `value`, `name`."""

    def reset(self) -> None:
        """Forget everything."""

    def accumulate(self, learn: Any) -> None:
        """Take the batch that a learner has now."""

    @property
    def value(self) -> Any:
        """The metric so far; None where there is nothing."""
        raise NotImplementedError(f"{type(self).__name__} must have a value")

    @property
    def name(self) -> str:
        """The class in snake case, without "Metric"."""
        return snake(re.sub(r"Metric$", "", type(self).__name__) or "metric")


class AvgMetric(Metric):
    """The mean of `func(pred, *targets)` over batches, weighted by their sizes."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func
        self.total: Any = 0.0
        self.count = 0

    def reset(self) -> None:
        self.total, self.count = 0.0, 0

    def accumulate(self, learn: Any) -> None:
        size = batch_size(learn.yb)
        self.total = self.total + detached(self.compute(learn)) * size
        self.count += size

    def compute(self, learn: Any) -> Any:
        """The number of one batch."""
        function = self.func.mean if isinstance(self.func, OfMean) else self.func
        return function(learn.pred, *learn.yb)

    @property
    def value(self) -> Any:
        if not self.count:
            return None
        mean = self.total / self.count
        return self.func.finish(float(mean)) if isinstance(self.func, OfMean) else mean

    @property
    def name(self) -> str:
        """The function's name; of a partial that of the function inside."""
        return name_of(self.func)


class AvgLoss(AvgMetric):
    """The mean of the loss over batches, weighted by their sizes."""

    def __init__(self) -> None:
        super().__init__(torch.mean)

    def compute(self, learn: Any) -> Any:
        return learn.loss.mean()

    @property
    def name(self) -> str:
        return "loss"


class AvgSmoothLoss(Metric):
    """The running mean of the loss: val = beta * val + (1 - beta) * loss, over 1 - beta**count."""

    def __init__(self, beta: float = 0.98) -> None:
        if not 0 <= beta < 1:
            raise ValueError(f"AvgSmoothLoss: beta must be in [0, 1), got {beta}")
        self.beta = beta
        self.reset()

    def reset(self) -> None:
        self.count, self.val = 0, torch.tensor(0.0)

    def accumulate(self, learn: Any) -> None:
        self.count += 1
        loss = detached(learn.loss.mean())
        self.val = torch.lerp(loss, self.val.to(loss), self.beta)

    @property
    def value(self) -> Any:
        return self.val / (1 - self.beta**self.count) if self.count else self.val

    @property
    def name(self) -> str:
        return "loss"


class ValueMetric(Metric):
    """What a function without arguments gives when the pass is over."""

    def __init__(self, func: Callable[[], Any], metric_name: str | None = None) -> None:
        self.func, self.metric_name = func, metric_name

    @property
    def value(self) -> Any:
        return self.func()

    @property
    def name(self) -> str:
        return self.metric_name or name_of(self.func)


class ObjectMetric(Metric):
    """A metric of other libraries: an object with reset, update(pred, target) and compute."""

    def __init__(self, metric: Any) -> None:
        self.metric, self.seen = metric, False

    def reset(self) -> None:
        self.metric.reset()
        self.seen = False

    def accumulate(self, learn: Any) -> None:
        with torch.no_grad():
            self.metric.update(detached(learn.pred), *learn.yb)
        self.seen = True

    @property
    def value(self) -> Any:
        return self.metric.compute() if self.seen else None

    @property
    def name(self) -> str:
        return name_of(self.metric)


class Score(Metric):
    """A score that our Learner's own Metrics callback computes, by its name."""

    def __init__(self, learn: Any, name: str) -> None:
        self.learn, self.score = learn, name

    @property
    def value(self) -> Any:
        scores = self.learn.scores["train" if self.learn.training else "valid"]
        return scores.get(self.score)

    @property
    def name(self) -> str:
        return self.score


def mk_metric(metric: Any) -> Metric:
    """A metric as it is; the mean of a function; an object with reset, update and compute."""
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, type):
        raise TypeError(f"a metric must be an instance: {metric.__name__}(), got the class")
    if all(callable(getattr(metric, each, None)) for each in ("reset", "update", "compute")):
        return ObjectMetric(metric)
    if not callable(metric):
        raise TypeError(f"a metric must be a function of (pred, target), got {metric!r}")
    return AvgMetric(metric)


def as_metrics(metrics: Any) -> list[Metric]:
    """Metrics in a list: None, one, or several."""
    if metrics is None:
        return []
    several = isinstance(metrics, Iterable) and not callable(metrics)
    given: Iterable[Any] = metrics if several else [metrics]
    return [mk_metric(metric) for metric in given]


def detached(value: Any) -> Any:
    """A tensor without its graph; a number as it is."""
    return value.detach() if isinstance(value, Tensor) else value
