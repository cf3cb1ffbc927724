"""A picture of the losses that is drawn again while a fit runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..plots import to_png
from .bars import in_notebook
from .recorder import Recorder

Display = Callable[[Any], None]  # shows a matplotlib Figure in place of the one before
SHARE = 0.05  # of the time, at most, goes into drawing


class LiveGraph:
    """Shows the recorder's losses, twice a second at most, and less often where drawing is slow."""

    def __init__(
        self,
        recorder: Recorder,
        display: Display,
        interval: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.recorder, self.display = recorder, display
        self.interval, self.clock = interval, clock
        self._next = clock() + interval
        self._drawn = (0, 0)  # batches and rounds that the last picture shows

    def update(self) -> None:
        """Draw, if it is time again."""
        if self.clock() >= self._next:
            self.draw()

    def draw(self) -> None:
        """Draw now, if anything is new."""
        shows = (len(self.recorder.losses), len(self.recorder.rows))
        if shows[0] == 0 or shows == self._drawn:
            return
        self._drawn, began = shows, self.clock()
        self.display(self.recorder.plot_loss())
        now = self.clock()
        self._next = now + max(self.interval, (now - began) / SHARE)


def notebook_display() -> Display:
    """Shows pictures in a notebook's cell, each in place of the one before.

    Raises RuntimeError outside a notebook.
    """
    if not in_notebook():
        raise RuntimeError(
            "the live graph is shown in notebooks; elsewhere give display=, a function that shows "
            "a matplotlib Figure"
        )
    from IPython.display import Image, display  # pyright: ignore[reportMissingImports]  # optional

    handles: list[Any] = []

    def show(figure: Any) -> None:
        picture = Image(data=to_png(figure, dpi=90))
        if handles:
            handles[0].update(picture)
        else:
            handles.append(display(picture, display_id=True))

    return show
