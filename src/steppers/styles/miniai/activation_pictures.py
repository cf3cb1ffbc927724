"""Pictures of what layers put out: histograms, shares near zero, means and deviations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ...train import plots

Size = tuple[float, float] | None


def images(layers: Sequence[tuple[str, Tensor]], top: float, figsize: Size) -> Any:
    """A panel a layer: its histograms as columns of colours, from 0 to `top`."""
    figure, panels = _panels(len(layers), figsize)
    most, image = max(hist.max().item() for _, hist in layers), None
    for axes, (title, hist) in zip(panels, layers, strict=True):
        image = axes.imshow(
            hist.numpy(),
            origin="lower",
            aspect="auto",
            extent=(0, hist.shape[1], 0, top),
            vmin=0,
            vmax=most,
        )
        axes.set_title(title, fontsize=9)
    bar = figure.colorbar(image, ax=panels, shrink=0.8)
    bar.set_label("log(1 + outputs in a bin)", fontsize=9)
    return _named(figure, panels, "How large outputs are", "|output|")


def shares(layers: Sequence[tuple[str, Tensor]], below: float, figsize: Size) -> Any:
    """A panel a layer: the share of its outputs in the first bin."""
    figure, panels = _panels(len(layers), figsize)
    for axes, (title, dead) in zip(panels, layers, strict=True):
        axes.plot(dead.numpy(), color=plots.COLOURS[0])
        axes.set_ylim(0, 1)
        axes.set_title(title, fontsize=9)
        axes.grid(alpha=0.25)
    return _named(figure, panels, f"Outputs near zero: |output| < {below:g}", "share")


def lines(layers: Sequence[tuple[str, Any]], figsize: Size) -> Any:
    """Means in one panel, deviations in another, a line a layer."""
    figure = plots.new_figure(*(figsize or (10, 4)))
    panels = figure.subplots(1, 2)
    for axes, heading, which in zip(panels, ("Means", "Standard deviations"), (0, 1), strict=True):
        for number, (title, stats) in enumerate(layers):
            axes.plot([each.item() for each in stats[which]], label=title, **_line(number))
        axes.set_title(heading, fontsize=10)
        axes.set(xlabel="training batch", ylabel="output")
        axes.grid(alpha=0.25)
    handles, labels = panels[0].get_legend_handles_labels()
    columns = max(1, 120 // (8 + max(map(len, labels))))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
    return figure


def _line(number: int) -> dict[str, Any]:
    """How the number-th of many lines looks: colours first, then dashes."""
    colours = len(plots.COLOURS)
    dashes = ("-", "--", ":", "-.")[number // colours % 4]
    return {"color": plots.COLOURS[number % colours], "linestyle": dashes, "linewidth": 1.3}


def _panels(count: int, figsize: Size) -> tuple[Any, list[Any]]:
    columns = min(count, 4)
    rows = math.ceil(count / columns)
    figure = plots.new_figure(*(figsize or (1.2 + 2.7 * columns, 1.1 + 1.9 * rows)))
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in panels[count:]:
        spare.remove()
    return figure, panels[:count]


def _named(figure: Any, panels: Sequence[Any], title: str, upwards: str) -> Any:
    figure.suptitle(title, fontsize=11)
    for axes in panels:
        axes.tick_params(labelsize=8)
    figure.supxlabel("training batch", fontsize=10)
    figure.supylabel(upwards, fontsize=10)
    return figure
