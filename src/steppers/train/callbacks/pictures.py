"""The recorder's pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..plots import COLOURS, new_figure

if TYPE_CHECKING:
    from .recorder import Recorder

FEW = 6  # lines that a legend can name


def losses(recorder: Recorder, skip_start: int = 5, with_valid: bool = True) -> Any:
    """Raw losses faint, the smoothed one over them, the validation's as points."""
    raw, smooth = recorder.losses, recorder.smooth
    if not raw:
        raise ValueError("the recorder holds no training loss yet: fit first")
    first = skip_start if len(raw) > skip_start else 0
    figure = new_figure(7.0, 4.2)
    axes = figure.subplots()
    steps = range(first + 1, len(raw) + 1)
    axes.plot(steps, raw[first:], color=COLOURS[0], linewidth=0.7, alpha=0.4, label="each batch")
    axes.plot(steps, smooth[first:], color=COLOURS[0], linewidth=1.8, label="training, smoothed")
    if with_valid:
        _valid_points(axes, recorder, first)
    axes.set(xlabel="training batch", ylabel="loss")
    _finish(axes, "Loss in training and validation", legend=True)
    return figure


def _valid_points(axes: Any, recorder: Recorder, first: int) -> None:
    ends = zip(recorder.iters, recorder.rows, strict=True)
    points = [(at, row["valid_loss"]) for at, row in ends if "valid_loss" in row and at > first]
    if points:
        axes.plot(*zip(*points, strict=True), "o-", color=COLOURS[4], markersize=5, linewidth=1.4,
                  label="validation")  # fmt: skip


def series(shown: Mapping[str, Sequence[Any]]) -> Any:
    """Series by training batch in two columns, a line for each group where groups differ."""
    if not any(len(values) for values in shown.values()):
        raise ValueError(f"the recorder holds no {', '.join(shown)} yet: fit first")
    panels, figure = _grid(len(shown))
    for axes, (name, values) in zip(panels, shown.items(), strict=True):
        _groups(axes, values)
        axes.set(xlabel="training batch", ylabel=name)
        _finish(axes, f"{name} at each batch", legend=bool(axes.get_legend_handles_labels()[0]))
    return figure


def _groups(axes: Any, values: Sequence[Any]) -> None:
    """One line for all groups that agree; many different ones in shades, the outer two named."""
    rows = [each if isinstance(each, list) else [each] for each in values]
    if len({len(row) for row in rows}) > 1:
        raise ValueError("the number of groups changed in between: these have no common picture")
    lines: dict[tuple[Any, ...], list[int]] = {}
    for group, line in enumerate(zip(*rows, strict=True)):
        lines.setdefault(line, []).append(group)
    for number, (line, groups) in enumerate(lines.items()):
        named = 1 < len(lines) <= FEW or (len(lines) > FEW and number in (0, len(lines) - 1))
        axes.plot(
            range(1, len(rows) + 1),
            _numbers(line),
            linewidth=1.7,
            color=_colour(number, len(lines)),
            label=_named(groups) if named else None,
        )


def _named(groups: Sequence[int]) -> str:
    """What a legend calls the groups of one line.

    >>> _named([0]), _named([1, 2]), _named([0, 2, 3, 4, 5])
    ('group 0', 'groups 1, 2', '5 groups from 0 on')
    """
    if len(groups) > 4:
        return f"{len(groups)} groups from {groups[0]} on"
    return f"group{'s' if len(groups) > 1 else ''} {', '.join(map(str, groups))}"


def scores(rows: Sequence[Mapping[str, Any]], names: Sequence[str] | None = None) -> Any:
    """Losses in one panel, each metric in a further one, training and validation together."""
    known = {name: None for row in rows for name in row if name not in ("epoch", "time")}
    panels = _panels([*known] if names is None else names)
    if not panels:
        raise ValueError("the recorder holds no scores yet: fit with Metrics among the callbacks")
    grid, figure = _grid(len(panels))
    epochs = [row["epoch"] for row in rows]
    for axes, (title, columns) in zip(grid, panels.items(), strict=True):
        for name in columns:
            training = name.startswith("train_")
            axes.plot(epochs, _numbers([row.get(name) for row in rows]), "o-", markersize=4,
                      linewidth=1.5, color=COLOURS[0 if training else 4],
                      label="training" if training else "validation")  # fmt: skip
        axes.set(xlabel="epoch", ylabel=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        _finish(axes, f"{title} of each epoch", legend=len(columns) > 1)
    return figure


def _panels(names: Sequence[str]) -> dict[str, list[str]]:
    """Columns of the rows by what they measure."""
    panels: dict[str, list[str]] = {}
    for name in names:
        panels.setdefault(name.removeprefix("train_").removeprefix("valid_"), []).append(name)
    return panels


def _grid(count: int) -> tuple[list[Any], Any]:
    """Panels in two columns, and their figure."""
    columns = min(2, count)
    rows = math.ceil(count / columns)
    figure = new_figure(max(6.0, 4.6 * columns), max(3.6, 2.9 * rows))
    panels = list(figure.subplots(rows, columns, squeeze=False).flatten())
    for axes in panels[count:]:
        axes.remove()
    return panels[:count], figure


def _finish(axes: Any, title: str, legend: bool) -> None:
    axes.set_title(title, fontsize=10)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if legend:
        axes.legend(frameon=False, fontsize=9)


def _colour(number: int, count: int) -> Any:
    if count <= FEW:
        return COLOURS[number]
    from matplotlib import colormaps

    return colormaps["viridis"](0.9 * number / (count - 1))


def _numbers(values: Sequence[Any]) -> list[float]:
    return [math.nan if value is None else value for value in values]
