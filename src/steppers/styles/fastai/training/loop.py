"""The printed outline of a fit: its levels, and which callbacks act at each event."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

BATCH = (
    "before_batch", "after_pred", "after_loss",
    "before_backward", "after_cancel_backward", "after_backward",
    "before_step", "after_cancel_step", "after_step", "after_cancel_batch", "after_batch",
)  # fmt: skip
# A level, what is in it, and the events after its end.
Level = tuple[str, tuple[Any, ...], tuple[str, ...]]
TRAIN: Level = (
    "Train",
    ("before_train", ("Batch Loop", BATCH, ())),
    ("after_cancel_train", "after_train"),
)
VALID: Level = (
    "Valid",
    ("before_validate", ("Batch Loop", ("the training batch's, without backward and step",), ())),
    ("after_cancel_validate", "after_validate"),
)
EPOCH: Level = (
    "Epoch Loop", ("before_epoch", TRAIN, VALID), ("after_cancel_epoch", "after_epoch"),
)  # fmt: skip
FIT: Level = ("Fit", ("before_fit", EPOCH), ("after_cancel_fit", "after_fit"))


def outline(learn: Any, level: Level = FIT, depth: int = 0) -> Iterator[str]:
    """The lines of a level, with those inside."""
    name, inside, after = level
    yield f"{'  ' * depth}Start {name}"
    for part in inside:
        if isinstance(part, str):
            yield _event(learn, part, depth + 1)
        else:
            yield from outline(learn, part, depth + 1)
    yield f"{'  ' * depth}End {name}"
    yield from (_event(learn, event, depth) for event in after)


def _event(learn: Any, event: str, depth: int) -> str:
    if "_" not in event:
        return f"{'  ' * depth} - {event}"
    return f"{'  ' * depth} - {event:<21}: {learn.ordered_cbs(event)}"
