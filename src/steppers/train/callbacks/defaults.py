"""The callbacks that a Learner has unless it is told otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .bars import Kind
from .metrics import Metrics
from .operations import Operations
from .progress import Progress
from .recorder import Recorder


def default_callbacks(
    metrics: Iterable[Any] | Mapping[str, Any] = (),
    *,
    train_metrics: bool = False,
    progress: Kind = "auto",
) -> list[Any]:
    """The operations, the metrics, the recorder, the progress."""
    return [
        Operations(),
        Metrics(metrics, train_metrics=train_metrics),
        Recorder(),
        Progress(progress),
    ]
