"""The picture of a sweep: loss by learning rate, and where the suggestions are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .found import Found

# Okabe and Ito's colours, apart also for colour-blind eyes, and shapes, apart without any.
MARKS = {
    "valley": ("#d55e00", "o"),
    "slide": ("#009e73", "s"),
    "minimum": ("#cc79a7", "D"),
    "steep": ("#e69f00", "^"),
}
LINE = "#0072b2"


def draw(found: Found, suggestions: Mapping[str, float | None], ax: Any = None) -> Figure:
    """Draw into `ax` or a new figure; gives the figure."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(
            "the picture of a sweep needs matplotlib: pip install 'steppers[train]'"
        ) from error
    own = ax is None
    if own:
        ax = Figure(figsize=(7.5, 4.5), layout="constrained").add_subplot()
    ax.plot(found.lrs, found.losses, color=LINE, linewidth=0.8, alpha=0.35, label="each batch")
    ax.plot(found.lrs, found.smoothed, color=LINE, linewidth=2, label="smoothed")
    for name, lr in suggestions.items():
        if lr is not None:
            mark(ax, found, name, lr)
    ax.set(xscale="log", xlabel="learning rate (log scale)", ylabel="training loss")
    ax.set_ylim(*limits(found))
    ax.set_title(f"{len(found.lrs)} of {found.num_it} steps: {found.why}", fontsize=10)
    ax.grid(alpha=0.25)
    place = dict(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    ax.legend(**place if own else {"loc": "best", "fontsize": 8})
    return ax.figure


def mark(ax: Any, found: Found, name: str, lr: float) -> None:
    """A suggestion's mark on the smoothed line, with a thin line down to its rate."""
    colour, shape = MARKS[name]
    loss = smoothed_at(found, lr)
    ax.plot([lr, lr], [limits(found)[0], loss], color=colour, linewidth=1, linestyle=":")
    ax.plot(
        [lr], [loss], color=colour, marker=shape, markersize=9, markeredgecolor="white",
        linestyle="none", zorder=5, label=f"{name}  {lr:.2e}",
    )  # fmt: skip


def smoothed_at(found: Found, lr: float) -> float:
    """The smoothed loss at the recorded rate that is nearest."""
    return min(
        (abs(math.log(each / lr)), loss)
        for each, loss in zip(found.lrs, found.smoothed, strict=True)
    )[1]


def limits(found: Found) -> tuple[float, float]:
    """The losses to show: down to the lowest, up to the highest smoothed unless it ran far away."""
    finite = [loss for loss in found.smoothed if math.isfinite(loss)]
    first, low = finite[0], min(filter(math.isfinite, found.losses))
    early = filter(math.isfinite, found.losses[: len(found.losses) // 2])
    high = min(max([*finite, *early]), first + 1.5 * (first - low) + 0.25 * abs(first))
    room = 0.06 * (high - low) or 0.1
    return low - room, max(high, first) + room
