"""One batch instead of a fit, to try whether everything fits together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..events import Callback, CancelFit, CancelValid

if TYPE_CHECKING:
    from ..learner import Learner


class SingleBatch(Callback):
    """End the fit after its first batch; `validate` and `get_preds` end after one batch too."""

    order = 2000  # the last: other callbacks see the batch to its end

    def __init__(self) -> None:
        self._fitting = False

    def before_fit(self, learn: Learner) -> None:
        self._fitting = True

    def after_batch(self, learn: Learner) -> None:
        raise CancelFit if self._fitting else CancelValid

    def cleanup_fit(self, learn: Learner) -> None:
        self._fitting = False
