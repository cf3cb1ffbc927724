"""What all pictures share: colours, a check that they can be drawn, smoothing, the PNG's bytes."""

import importlib
import io
import math
from collections.abc import Sequence
from typing import Any

from ..colours import COLOURS as COLOURS
from .extras import missing

# Curves that coincide stay visible: earlier ones are wider, later ones have gaps.
DASHES = ("-", (0, (4, 2)), "-", (0, (1, 1)))


def check_available(purpose: str = "the picture of the curves") -> None:
    """Raise ImportError, with the command that helps, where matplotlib is not installed."""
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise missing("matplotlib", purpose) from error


def new_figure(width: float, height: float) -> Any:
    """An empty figure, in inches, apart from any that pyplot knows."""
    check_available()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def to_png(figure: Any, *, dpi: int = 130) -> bytes:
    """The bytes of a figure's PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def style(number: int, count: int) -> dict[str, Any]:
    """How the number-th of several lines looks."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linewidth": 1.6 + 0.7 * max(0, min(count, 4) - 1 - number),
        "linestyle": DASHES[number % len(DASHES)],
    }


def smooth(values: Sequence[float], *, beta: float = 0.9) -> list[float]:
    """The running geometric mean, debiased: on a log scale it does not lag above a falling loss."""
    mean, weight, smoothed = 0.0, 0.0, list[float]()
    for value in values:
        mean = beta * mean + (1 - beta) * math.log(max(value, 1e-12))
        weight = beta * weight + (1 - beta)
        smoothed.append(math.exp(mean / weight))
    return smoothed
