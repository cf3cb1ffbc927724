"""The mean loss and the metrics of each pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..events import Callback
from ..metrics import OfMean
from .series import Mean

if TYPE_CHECKING:
    from ..learner import Learner

TAKEN = ("loss", "epoch", "time", "train_loss", "valid_loss")
Number = Tensor | float


class Metrics(Callback):
    """Mean loss and metrics over a pass, in `learn.scores["train"]` and `["valid"]` when it ends.

    Means are weighted by the sizes of the batches, so uneven ones count right. A metric is a
    function of (preds, target) that gives the mean over its batch, an `OfMean`, or an object with
    reset(), update(preds, target) and compute(), as torchmetrics and torcheval have them, which is
    moved to the device of the loss if it can be. A batch that is cancelled before its loss is
    known does not count; a pass without any batch has no scores.

    A pass that is resumed in the middle goes on with its sums; the state of objects goes with it
    where they have `state_dict` (torchmetrics: where they are made persistent).

    Args:
        metrics: a list, named after the functions and classes, or a mapping from name to metric.
        train_metrics: compute them in the training passes too.
    """

    order = 40  # before the recorder, which reads the scores
    observes = True

    def __init__(
        self,
        metrics: Iterable[Any] | Mapping[str, Any] = (),
        *,
        train_metrics: bool = False,
    ) -> None:
        self.metrics, self.train_metrics = named(metrics), train_metrics
        self._begun = False
        self._reset()

    def before_epoch(self, learn: Learner) -> None:
        self._begun = False

    def after_loss(self, learn: Learner) -> None:
        if not self._begun:
            self._begin(learn)
        size = batch_size(learn.batch)
        self._loss.add(learn.loss, size)
        if self.metrics and (self.train_metrics or not learn.training):
            self._update(learn, size)

    def after_epoch(self, learn: Learner) -> None:
        if not self._begun:
            self._begin(learn)
        learn.scores["train" if learn.training else "valid"] = self._scores(learn.training)

    def state_dict(self) -> dict[str, Any]:
        objects = self._objects() if self.train_metrics else ()
        return {
            "loss": list(self._loss.parts),
            "means": {name: list(mean.parts) for name, mean in self._means.items()},
            "objects": {n: m.state_dict() for n, m in objects if hasattr(m, "state_dict")},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._reset()
        self._loss = Mean(*state["loss"])
        self._means |= {name: Mean(*parts) for name, parts in state["means"].items()}
        for name, saved in state["objects"].items():
            self.metrics[name].load_state_dict(saved)

    def _begin(self, learn: Learner) -> None:
        """The first batch of a pass: only now it is known whether the pass was begun before."""
        self._begun = True
        if learn.first_iter == 0:
            self._reset()
        for _, metric in self._objects():
            if callable(getattr(metric, "to", None)):
                metric.to(learn.loss.device)

    def _reset(self) -> None:
        self._loss = Mean()
        self._means = {name: Mean() for name, m in self.metrics.items() if not _is_object(m)}
        for _, metric in self._objects():
            metric.reset()

    def _objects(self) -> Iterator[tuple[str, Any]]:
        return ((name, m) for name, m in self.metrics.items() if _is_object(m))

    def _update(self, learn: Learner, size: int) -> None:
        preds, target = _detached(learn.preds), learn.batch[-1]
        with torch.no_grad():
            for name, metric in self.metrics.items():
                if _is_object(metric):
                    metric.update(preds, target)
                else:
                    function = metric.mean if isinstance(metric, OfMean) else metric
                    self._means[name].add(_number(name, function(preds, target)), size)

    def _scores(self, training: bool) -> dict[str, float]:
        if not self._loss.parts[1]:
            return {}
        scores = {"loss": self._loss.value}
        for name, metric in self.metrics.items() if self.train_metrics or not training else ():
            if _is_object(metric):
                scores |= _computed(name, metric.compute(), scores)
            else:
                mean = self._means[name].value
                scores[name] = metric.finish(mean) if isinstance(metric, OfMean) else mean
        return scores


def named(metrics: Iterable[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Metrics by name: a mapping's, else the functions' and classes' own.

    Raises TypeError for what is no metric, ValueError for a name twice or one that rows have.
    """
    pairs = (
        list(metrics.items())
        if isinstance(metrics, Mapping)
        else [(name_of(metric), metric) for metric in metrics]
    )
    found: dict[str, Any] = {}
    for name, metric in pairs:
        if isinstance(metric, type) or not (callable(metric) or _is_object(metric)):
            raise TypeError(
                f"metrics: {name!r} must be a function of (preds, target), or an object with "
                f"reset, update and compute, got {metric!r}"
            )
        if name in found or name in TAKEN:
            raise ValueError(f"metrics: the name {name!r} is taken; give a dict, name: metric")
        found[name] = metric
    return found


def name_of(metric: Any) -> str:
    """What a metric is called.

    >>> from steppers.train.metrics import top_k_accuracy
    >>> name_of(partial(top_k_accuracy, k=3))
    'top_k_accuracy'
    """
    if isinstance(metric, partial):
        return name_of(metric.func)
    if isinstance(metric, OfMean):
        return metric.name
    return getattr(metric, "__name__", type(metric).__name__)


def batch_size(batch: Any) -> int:
    """Items of a batch: the length of the target's first tensor, else of any other's."""
    return next((size for part in reversed(batch) if (size := _length(part)) is not None), 1)


def _length(part: Any) -> int | None:
    if isinstance(part, Tensor):
        return part.shape[0] if part.ndim else None
    inner: Any = part.values() if isinstance(part, Mapping) else part
    if isinstance(inner, Iterable) and not isinstance(inner, str | bytes):
        return next((size for each in inner if (size := _length(each)) is not None), None)
    return None


def _is_object(metric: Any) -> bool:
    return all(callable(getattr(metric, name, None)) for name in ("reset", "update", "compute"))


def _detached(preds: Any) -> Any:
    """Outputs without their graph, which an object that keeps them would keep alive."""
    if isinstance(preds, Tensor):
        return preds.detach()
    if isinstance(preds, Mapping):
        return {key: _detached(value) for key, value in preds.items()}
    if type(preds) in (tuple, list):
        return type(preds)(_detached(each) for each in preds)
    return preds


def _number(name: str, value: object) -> Number:
    if isinstance(value, Tensor) and value.numel() == 1:
        return value
    if isinstance(value, Real):
        return float(value)
    shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
    raise TypeError(f"the metric {name} must give one number, got {type(value).__name__}{shape}")


def _computed(name: str, value: Any, others: Mapping[str, float]) -> dict[str, float]:
    """What an object's compute() gave: one number, or a mapping of them, each under its name."""
    if not isinstance(value, Mapping):
        return {name: float(_number(name, value))}
    names = {key: f"{name}_{key}" if key in others or key in TAKEN else str(key) for key in value}
    return {names[key]: float(_number(names[key], each)) for key, each in value.items()}
