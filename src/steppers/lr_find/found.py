"""What a sweep found: its curve, and the learning rates that it suggests."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from . import suggest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUGGESTIONS = ("valley", "slide", "minimum", "steep")
END = 5  # losses at the end of a curve that no suggestion looks at


@dataclass(frozen=True)
class Found:
    """A finished sweep. Rates are the last group's; `by_group` gives the others'.

    A suggestion is read off the smoothed losses without the first tenth of the sweep and without
    the last 5, up to the first that is not finite. It is None where that part has no such point:
    it is too short, or does not fall.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]  # of each batch, before its step
    smoothed: tuple[float, ...]
    num_it: int
    why: str  # it stopped
    starts: tuple[float, ...] = field(default=(), repr=False)  # each group's first and last rate
    ends: tuple[float, ...] = field(default=(), repr=False)

    @cached_property
    def curve(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The rates and smoothed losses that suggestions are read off; may be empty."""
        lrs, losses = (row[self.num_it // 10 : -END] for row in (self.lrs, self.smoothed))
        cut = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
        return lrs[:cut], losses[:cut]

    @cached_property
    def valley(self) -> float | None:
        """The rate in the middle of the longest fall of the loss; the one to try first."""
        return suggest.valley(*self.curve) if self.curve[0] else None

    @cached_property
    def slide(self) -> float | None:
        """The rate where two pointers that slide down from the end meet even slopes."""
        return suggest.slide(*self.curve) if self.curve[0] else None

    @cached_property
    def minimum(self) -> float | None:
        """A tenth of the rate at the lowest loss."""
        return suggest.minimum(*self.curve) if self.curve[0] else None

    @cached_property
    def steep(self) -> float | None:
        """The rate where the loss falls fastest."""
        return suggest.steep(*self.curve) if self.curve[0] else None

    @property
    def suggestions(self) -> dict[str, float | None]:
        """All four by name."""
        return {name: getattr(self, name) for name in SUGGESTIONS}

    def by_group(self, lr: float | None) -> list[float]:
        """Every group's rate at the step of the sweep where the last group's is `lr`.

        >>> found = Found((), (), (), 100, "", starts=(1e-6, 1e-4), ends=(1e-2, 1.0))
        >>> [f"{lr:.0e}" for lr in found.by_group(1e-2)]
        ['1e-04', '1e-02']
        """
        if lr is None or not 0 < lr < math.inf:
            raise ValueError(f"by_group: lr must be a number above 0, got {lr!r}")
        first, last = self.starts[-1], self.ends[-1]
        part = math.log(lr / first) / math.log(last / first)
        pairs = zip(self.starts[:-1], self.ends[:-1], strict=True)
        return [*(a * (b / a) ** part if a else 0.0 for a, b in pairs), lr]

    def plot(self, suggestions: Iterable[str] = SUGGESTIONS, ax: Any = None) -> Figure:
        """The losses by rate, with a mark for each suggestion; into `ax`, or a new figure.

        Raises ImportError without matplotlib, ValueError for a suggestion that there is not.
        """
        from .picture import draw

        names = (suggestions,) if isinstance(suggestions, str) else tuple(suggestions)
        for name in names:
            if name not in SUGGESTIONS:
                known = ", ".join(SUGGESTIONS)
                raise ValueError(f"no suggestion is called {name!r}; there are {known}")
        return draw(self, {name: getattr(self, name) for name in names}, ax)

    def __repr__(self) -> str:
        """The suggestions in one line, and how far the sweep went.

        >>> Found((1e-3,), (2.0,), (2.0,), 100, "it was left")
        Found(valley=None, slide=None, minimum=None, steep=None; 1 of 100 steps, it was left)
        """
        said = ", ".join(
            f"{n}={v if v is None else f'{v:.3g}'}" for n, v in self.suggestions.items()
        )
        return f"Found({said}; {len(self.lrs)} of {self.num_it} steps, {self.why})"

    def _repr_png_(self) -> bytes | None:
        """The picture, for notebooks; None without matplotlib, and then the line above stands."""
        try:
            figure = self.plot()
        except ImportError:
            return None
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        return buffer.getvalue()
