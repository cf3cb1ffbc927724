"""Pictures of the originals' runs done again: accuracies beside those printed, and the game."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ... import plots
from .bands import end_band, printed_band
from .counterexample import BEST, CYCLE, Played, average_regret
from .ordering import common

if TYPE_CHECKING:
    from .rerun import Rerun

BLOCKS = 2_000  # of a path, at most about twice as many, that are drawn
OURS, THEIRS = plots.COLOURS[0], plots.COLOURS[4]


def accuracies(reruns: Sequence[Rerun], title: str) -> bytes:
    """The accuracy at the end of each run, ours and printed; faint dots are single seeds."""
    figure = plots.new_figure(9.5, 2.2 + 0.29 * (len(reruns) + families(reruns)))
    axes = figure.subplots()
    axes.use_sticky_edges = False  # else a band ends at the frame
    place, ticks, family = 0, list[tuple[int, str]](), ""
    for rerun in reruns:
        if rerun.experiment.family != family:
            family = rerun.experiment.family
            axes.text(0.01, place, family, fontsize=9, style="italic", va="center",
                      transform=axes.get_yaxis_transform())  # fmt: skip
            place += 1
        draw_row(axes, rerun, place)
        ticks.append((place, rerun.experiment.name))
        place += 1
    axes.set_yticks([y for y, _ in ticks], [name for _, name in ticks])
    axes.set(xlabel="accuracy on the held-out part at the end, %", ylim=(place - 0.4, -0.9))
    axes.grid(axis="x", alpha=0.25)
    handles, labels = axes.get_legend_handles_labels()
    first = dict(zip(labels, handles, strict=True))
    figure.legend(first.values(), first.keys(), loc="outside lower center", ncols=2, frameon=False)
    figure.suptitle(title, fontsize=11)
    return plots.to_png(figure)


def families(reruns: Sequence[Rerun]) -> int:
    """How many headings the rows have."""
    return len({rerun.experiment.family for rerun in reruns})


def draw_row(axes: Any, rerun: Rerun, place: int) -> None:
    """One run: the mean over seeds, each seed, and what was printed."""
    printed, ours = end_band(rerun.experiment), rerun.accuracy
    if printed is not None:
        label = "printed by the original on its own data, with the 95 % band of its held-out part"
        low, high = printed.accuracy - printed.half, printed.accuracy + printed.half
        axes.barh(place, 100 * (high - low), 0.6, 100 * low, color=THEIRS, alpha=0.25)
        axes.plot(100 * printed.accuracy, place, "D", mfc="none", color=THEIRS, ms=6, label=label)
    if ours is not None:
        ends = [100 * run.accuracies[-1] for run in rerun.finished]
        axes.plot(ends, [place] * len(ends), "o", color=OURS, ms=4, alpha=0.3)
        axes.plot(100 * ours.mean, place, "o", color=OURS, ms=7, label="ours; faint: each seed")


def by_epoch(reruns: Sequence[Rerun], title: str) -> bytes:
    """The accuracy after each epoch, a panel for each family: ours as lines, printed dashed."""
    members: dict[str, list[Rerun]] = {}
    for rerun in reruns:
        if len(rerun.by_epoch) > 1:
            members.setdefault(rerun.experiment.family, []).append(rerun)
    columns = min(3, len(members))
    lines = -(-len(members) // columns)
    figure = plots.new_figure(4.6 * columns + 0.4, 4.4 * lines + 0.6)
    panels = figure.subplots(lines, columns, squeeze=False).flat
    for axes, (family, found) in zip(panels, members.items(), strict=False):
        draw_family(axes, family, found)
    for axes in [*panels][len(members) :]:
        axes.set_visible(False)
    figure.suptitle(f"{title}\nheld out, %: ours as lines, with the range of the seeds; "
                    "printed dashed, with its 95 % band", fontsize=11)  # fmt: skip
    return plots.to_png(figure)


def draw_family(axes: Any, family: str, reruns: Sequence[Rerun]) -> None:
    """The runs of a family by epoch, with names of what tells them apart."""
    cut = common([rerun.experiment.name for rerun in reruns]) if len(reruns) > 1 else 0
    for number, rerun in enumerate(reruns):
        colour = plots.COLOURS[number % len(plots.COLOURS)]
        name = rerun.experiment.name[cut:]
        rows = [[100 * value for value in run.accuracies] for run in rerun.finished]
        epochs = range(1, len(rows[0]) + 1)
        axes.plot(epochs, [100 * value for value in rerun.by_epoch], "o-", ms=4, color=colour,
                  label=name)  # fmt: skip
        spread = [[pick(column) for column in zip(*rows, strict=True)] for pick in (min, max)]
        axes.fill_between(epochs, *spread, color=colour, alpha=0.15, lw=0)
        if len(rerun.experiment.printed) == len(epochs):
            draw_printed(axes, rerun, colour)
    axes.set_title(family, fontsize=10)
    axes.set(xlabel="epoch")
    axes.locator_params(axis="x", integer=True)
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, frameon=False)


def draw_printed(axes: Any, rerun: Rerun, colour: str) -> None:
    """What the page printed after each epoch, as a dashed line with bars."""
    pages = [printed_band(rerun.experiment, one.accuracy) for one in rerun.experiment.printed]
    there = [(number, band) for number, band in enumerate(pages, 1) if band is not None]
    numbers, bands = [number for number, _ in there], [band for _, band in there]
    axes.errorbar(
        numbers,
        [100 * band.accuracy for band in bands],
        [100 * band.half for band in bands],
        fmt="D--", mfc="none", ms=4, lw=1, capsize=2, color=colour,
    )  # fmt: skip


def game(played: Played) -> bytes:
    """By step: x as the band that it swings in during each cycle of 101, and the regret."""
    figure = plots.new_figure(12, 4.6)
    left, right = figure.subplots(1, 2)
    draw_game(left, right, played.paths)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle("One steep step in 101: Adam goes the wrong way", fontsize=12)
    return plots.to_png(figure)


def draw_game(left: Any, right: Any, paths: Mapping[str, array[float]]) -> None:
    """Each path on the left, its average regret on the right."""
    for colour, (name, values) in zip(plots.COLOURS[4::-2], paths.items(), strict=False):
        block = CYCLE * max(1, len(values) // CYCLE // BLOCKS)
        x = torch.frombuffer(values, dtype=torch.float32)
        cycles = x[: len(values) // block * block].view(-1, block)
        steps = torch.arange(1, len(cycles) + 1) * block
        left.fill_between(steps, cycles.amin(1), cycles.amax(1), color=colour, alpha=0.35, lw=0)
        left.plot(steps, cycles.mean(1), color=colour, label=name)
        right.plot(steps, average_regret(values)[block - 1 :: block], color=colour, label=name)
    left.set(xlabel="step", ylabel="x: mean and range of each cycle", ylim=(-1.1, 1.1))
    left.axhline(BEST, color="black", linewidth=1, linestyle=":", label="best")
    right.set(xlabel="step", ylabel="average regret")
    for axes in (left, right):
        axes.locator_params(axis="x", nbins=5)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(alpha=0.25)
