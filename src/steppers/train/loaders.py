"""What a Learner trains on: loaders of training and of validation data."""

from __future__ import annotations

from typing import Any

from .. import rng
from .data.dataset import Data


def checked(dls: Any) -> Any:
    """Data with `train` and `valid`, or None for no data; TypeError for others."""
    if isinstance(dls, Data):
        raise TypeError(f"Learner: wants batches, got {dls.name} as items: give data.loaders(64)")
    for name in ("train", "valid"):
        if dls is not None and not hasattr(dls, name):
            raise TypeError(
                "Learner: dls must have train and valid, which may be None, got a "
                f"{type(dls).__name__} without {name}; "
                "types.SimpleNamespace(train=..., valid=...) will do"
            )
    return dls


def length(loader: Any) -> int:
    """Batches of the training data; TypeError where that is not known."""
    try:
        return len(loader)
    except TypeError as error:
        raise TypeError(
            f"Learner: the training data, a {type(loader).__name__}, have no length, and a place "
            "in a schedule is told by it: give them, or their data set, a __len__"
        ) from error


def check_any(dls: Any) -> None:
    """Raise ValueError where there is nothing to train on."""
    if dls is None or dls.train is None:
        raise ValueError("Learner: there is no training data; give it dls=")
    if length(dls.train) == 0:
        raise ValueError(
            "Learner: there are no training batches: the training part is empty, or smaller than "
            "one batch and drop_last=True"
        )


def one_of(loader: Any) -> Any:
    """A batch of a loader, whose order goes on as if it had not been taken."""
    generators = rng.generators_of(loader)
    states = rng.snapshot(*generators)
    try:
        return next(iter(loader))
    finally:
        rng.restore(states, *generators)
