"""The picture of a benchmark: a bar for each way, grouped by optimizer, ours at 1."""

from __future__ import annotations

import importlib
import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..train.extras import missing
from .text import digits, machine_line, run_line

# Okabe and Ito's colours, apart also for colour-blind eyes.
COLOURS = {"steppers": "#0072b2", "torch": "#e69f00", "peer": "#999999"}
NAMES = {"steppers": "steppers", "torch": "torch.optim", "peer": "other libraries"}
CUT = 6.0  # longer bars end here, with their number: one slow way would make the rest unreadable
BEHIND = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # words stand clear of the line
INCHES = 0.25  # of height for a bar


@dataclass(frozen=True)
class Bar:
    """One bar, or the heading of a group where there is no family."""

    label: str
    family: str = ""
    length: float = 0.0
    words: str = ""


def check_available() -> None:
    """Raise ImportError, with the command that helps, where matplotlib is not installed."""
    try:
        importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise missing("matplotlib", "the picture of the benchmark") from error


def bars_png(report: dict[str, Any]) -> bytes:
    """Draw a panel for each work and return the PNG file's bytes."""
    check_available()
    from matplotlib.figure import Figure

    works = list(dict.fromkeys((row["shapes"], row["dtype"]) for row in report["results"]))
    panels = [[r for r in report["results"] if (r["shapes"], r["dtype"]) == w] for w in works]
    bars = [all_bars(rows) for rows in panels]
    heights = [len(each) for each in bars]
    size = (11, INCHES * sum(heights) + 0.9 * len(panels) + 1.6)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(panels), 1, height_ratios=heights, squeeze=False)
    for panel, rows, each in zip(axes[:, 0], panels, bars, strict=True):
        draw(panel, each, panel_title(rows))
    decorate(figure, report)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def all_bars(rows: Sequence[dict[str, Any]]) -> list[Bar]:
    """Every group with its heading, from top to bottom."""
    return [bar for row in rows for bar in (Bar(heading(row)), *map(bar_of, row["ways"]))]


def heading(row: dict[str, Any]) -> str:
    """A group's name, marked where the machine was busy."""
    return row["optimizer"] + (" (noisy)" if row["noisy"] else "")


def bar_of(way: dict[str, Any]) -> Bar:
    """One way: its time over ours, and both in words."""
    length = way["times_ours"] or 0.0
    bound = f", {way['times_bound']:.2f}x the memory bound" if way["times_bound"] else ""
    words = f"{digits(way['ms'])} ms" + ("" if length == 1 else f"  ({length:.2f}x)") + bound
    return Bar(way["way"], way["family"], length, words)


def panel_title(rows: Sequence[dict[str, Any]]) -> str:
    """The work and what it holds."""
    row = max(rows, key=lambda each: each["parameters"])
    return (
        f"{row['shapes']}, {row['dtype']}: {row['tensors']} tensors, "
        f"{row['parameters'] / 1e6:.3g} M parameters"
    )


def draw(axes: Any, bars: Sequence[Bar], title: str) -> None:
    """One panel."""
    for place, bar in enumerate(bars):
        if bar.family:
            length = min(bar.length, CUT)
            axes.barh(place, length, height=0.74, color=COLOURS[bar.family])
            axes.annotate(
                bar.words + cut(bar), (length, place), (5, 0), textcoords="offset points",
                va="center", fontsize=8.5, bbox=BEHIND,
            )  # fmt: skip
    axes.axvline(1, color=COLOURS["steppers"], linewidth=1, linestyle=(0, (3, 2)), zorder=0)
    axes.set_yticks(range(len(bars)), [bar.label for bar in bars], fontsize=9)
    for bar, label in zip(bars, axes.get_yticklabels(), strict=True):
        label.set_fontweight("normal" if bar.family else "bold")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(0, min(CUT, max(bar.length for bar in bars)) * 1.32)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel("time of a step over that of steppers (longer is slower)", fontsize=9)


def cut(bar: Bar) -> str:
    """A mark for a bar that is longer than it is drawn."""
    return "  cut" if bar.length > CUT else ""


def decorate(figure: Any, report: dict[str, Any]) -> None:
    """The title, the legend, the machine."""
    from matplotlib.patches import Patch

    families = {way["family"] for row in report["results"] for way in row["ways"]}
    handles = [Patch(color=COLOURS[f], label=NAMES[f]) for f in COLOURS if f in families]
    figure.suptitle("Milliseconds of an optimizer step, medians", fontsize=13, x=0.01, ha="left")
    figure.legend(handles=handles, loc="outside upper right", ncols=3, frameon=False, fontsize=9)
    words = f"{machine_line(report['machine'])}\n{run_line(report)}\n{report['command_line']}"
    lines = [part for line in words.split("\n") for part in textwrap.wrap(line, 130)]
    figure.supxlabel("\n".join(lines), fontsize=8, color="#444444")
