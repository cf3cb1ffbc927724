"""Pictures of the originals' runs done again: accuracies beside those printed, and the game."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from ... import plots
from .counterexample import BEST, CYCLE, Played, average_regret

if TYPE_CHECKING:
    from .reruns import Rerun

OURS, THEIRS = plots.COLOURS[0], plots.COLOURS[4]


def accuracies(reruns: Sequence[Rerun], title: str) -> bytes:
    """The accuracy at the end of each run, ours and printed; faint dots are single seeds."""
    figure = plots.new_figure(9.5, 2.2 + 0.29 * (len(reruns) + families(reruns)))
    axes = figure.subplots()
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
    printed, ours = rerun.experiment.end.accuracy, rerun.accuracy
    if printed is not None:
        axes.plot(
            100 * printed,
            place,
            "D",
            mfc="none",
            color=THEIRS,
            ms=6,
            label="printed by the original, on its own data",
        )
    if ours is not None:
        ends = [100 * run.accuracies[-1] for run in rerun.finished]
        axes.plot(ends, [place] * len(ends), "o", color=OURS, ms=4, alpha=0.3)
        axes.plot(100 * ours.mean, place, "o", color=OURS, ms=7, label="ours")


def game(played: Played) -> bytes:
    """By step: x as the band that it swings in during each cycle of 101, and the regret."""
    figure = plots.new_figure(12, 4.6)
    left, right = figure.subplots(1, 2)
    draw_game(left, right, played.paths)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle("One steep step in 101: Adam goes the wrong way", fontsize=12)
    return plots.to_png(figure)


def draw_game(left: Any, right: Any, paths: Mapping[str, Sequence[float]]) -> None:
    """Each path on the left, its average regret on the right."""
    for colour, (name, values) in zip(plots.COLOURS[4::-2], paths.items(), strict=False):
        cycles = torch.tensor(values[: len(values) // CYCLE * CYCLE]).view(-1, CYCLE)
        steps = torch.arange(1, len(cycles) + 1) * CYCLE
        left.fill_between(steps, cycles.amin(1), cycles.amax(1), color=colour, alpha=0.35, lw=0)
        left.plot(steps, cycles.mean(1), color=colour, label=name)
        right.plot(steps, average_regret(values)[CYCLE - 1 :: CYCLE], color=colour, label=name)
    left.set(xlabel="step", ylabel="x: mean and range of each cycle", ylim=(-1.1, 1.1))
    left.axhline(BEST, color="black", linewidth=1, linestyle=":", label="best")
    right.set(xlabel="step", ylabel="average regret")
    for axes in (left, right):
        axes.locator_params(axis="x", nbins=5)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(alpha=0.25)
