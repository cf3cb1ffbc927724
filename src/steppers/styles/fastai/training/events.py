"""fastai's events in their order, which of them a callback's flags gate, and its cancels."""

from __future__ import annotations

from ....train.events import (
    CancelBackward,
    CancelBatch,
    CancelEpoch,
    CancelFit,
    CancelStep,
    CancelTrain,
    CancelValid,
)

EVENTS = (
    "after_create", "before_fit", "before_epoch",
    "before_train", "before_batch", "after_pred", "after_loss",
    "before_backward", "after_cancel_backward", "after_backward",
    "before_step", "after_cancel_step", "after_step",
    "after_cancel_batch", "after_batch", "after_cancel_train", "after_train",
    "before_validate", "after_cancel_validate", "after_validate",
    "after_cancel_epoch", "after_epoch", "after_cancel_fit", "after_fit",
)  # fmt: skip
# Those of the batch loop, which run_train and run_valid turn off.
INNER = frozenset(EVENTS[EVENTS.index("before_batch") : EVENTS.index("after_batch") + 1])

CancelFitException = CancelFit
CancelEpochException = CancelEpoch
CancelTrainException = CancelTrain
CancelValidException = CancelValid
CancelBatchException = CancelBatch
CancelBackwardException = CancelBackward
CancelStepException = CancelStep
