"""Pictures of experiments: curves with a band over seeds, loss against rate, loss against a hyper.

Lines are means over the seeds; a band reaches from the least to the greatest of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .. import plots
from ..tasks import Score
from .runs import Run
from .trials import Trial

SMALL = 10  # points, of titles within a figure


def curves(trials: Sequence[Trial], title: str, *, with_rate: bool = False) -> bytes:
    """Training loss by step and the held-out score by epoch, and the learning rate if wanted."""
    score = trials[0].runs[0].settings.task.score
    panels = 3 if with_rate else 2
    figure = plots.new_figure(11.8 + 1.2 * (panels - 2), 5.6)
    axes = figure.subplots(1, panels)
    for number, trial in enumerate(trials):
        style = plots.style(number, len(trials))
        draw_losses(axes[0], trial, score, style)
        draw_scores(axes[1], trial, style)
        if with_rate:
            longest = max(trial.runs, key=lambda run: len(run.rates))
            axes[2].plot(range(1, len(longest.rates) + 1), longest.rates, **style)
    faint = ": smoothed, and each batch (faint)" if len(trials[0].runs) == 1 else ", smoothed"
    words(axes[0], f"Training loss{faint}", "step", "loss (log scale)")
    axes[0].set_yscale("log")
    words(axes[1], f"Held-out {spoken(score)} after each epoch", "step", unit(score))
    focus(axes[1], trials, score)
    if with_rate:
        words(axes[2], "Learning rate", "step", "lr of the last parameter group")
    legend(figure, axes[0])
    figure.suptitle(with_seeds(title, trials), fontsize=11)
    return plots.to_png(figure)


def draw_losses(axes: Any, trial: Trial, score: Score, style: Mapping[str, Any]) -> None:
    """Smoothed training losses, their mean over the seeds and their band."""
    if len(trial.runs) == 1:
        losses = trial.runs[0].losses
        axes.plot(range(1, len(losses) + 1), losses, color=style["color"], lw=0.6, alpha=0.2)
    rows = [plots.smooth(run.losses) for run in trial.runs]
    band(axes, [range(1, len(row) + 1) for row in rows], rows, style, with_end(trial, score))


def draw_scores(axes: Any, trial: Trial, style: Mapping[str, Any]) -> None:
    """The score after each epoch."""
    rows = [[scaled(run, value) for value in run.scores] for run in trial.runs]
    steps = [[row["step"] for row in run.rows] for run in trial.runs]
    marker = "o" if max(map(len, rows)) == 1 else None
    band(axes, steps, rows, {**style, "marker": marker}, None)


def scaled(run: Run, value: float) -> float:
    """A score in the unit of its axis."""
    return 100 * value if run.settings.task.score.unit == "%" else value


def band(
    axes: Any,
    steps: Sequence[Sequence[int]],
    rows: Sequence[Sequence[float]],
    style: Mapping[str, Any],
    label: str | None,
) -> None:
    """A line through the means of rows, as far as the shortest goes, and the band of them."""
    length = min(map(len, rows))
    columns = list(zip(*(row[:length] for row in rows), strict=True))
    axes.plot(steps[0][:length], [sum(c) / len(c) for c in columns], label=label, **style)
    if len(rows) > 1:
        low, high = [min(c) for c in columns], [max(c) for c in columns]
        shade = {"color": style["color"], "alpha": 0.18, "linewidth": 0}
        axes.fill_between(steps[0][:length], low, high, **shade)


def with_end(trial: Trial, score: Score) -> str:
    """The legend's words: the label and how it ended."""
    ended = "diverged" if trial.score is None else trial.score.show(score.show)
    some = f" ({len(trial.errors)} diverged)" if trial.errors and trial.score else ""
    return f"{trial.label}  {ended}{some}"


def focus(axes: Any, trials: Sequence[Trial], score: Score) -> None:
    """Show where shares end, not where they start."""
    if score.unit != "%":
        return
    ends = [100 * trial.score.mean for trial in trials if trial.score is not None]
    seen = [100 * value for trial in trials for run in trial.runs for value in run.scores]
    if ends:
        tail = 100 - 8 * max(1, 100 - min(ends))
        axes.set_ylim(bottom=math.floor(max(tail, min(seen) - 1, 0)), top=100.4)


def rates(rows: Mapping[str, Sequence[Trial]], title: str) -> bytes:
    """The held-out loss at the end against the learning rate, a line for each optimizer.

    `rows` has the trials of each, one a rate. Runs that diverged are crosses at the top.
    """
    figure = plots.new_figure(9.5, 6)
    axes = figure.subplots()
    for number, (label, trials) in enumerate(rows.items()):
        points(axes, label, trials, [trial.value for trial in trials], number, len(rows))
    every = [trial for trials in rows.values() for trial in trials]
    if any(trial.value for trial in every):  # a log scale needs a number above 0
        axes.set_xscale("log")
    if any(trial.loss for trial in every):
        axes.set_yscale("log")
    words(axes, "", "learning rate (log scale)", "held-out loss at the end (log scale)")
    legend(figure, axes)
    first = next(iter(rows.values()))
    figure.suptitle(with_seeds(title, first, "each a dot"), fontsize=11)
    return plots.to_png(figure)


def hyper(name: str, trials: Sequence[Trial], title: str) -> bytes:
    """The held-out loss and score at the end for each value of one hyper, evenly spaced."""
    score = trials[0].runs[0].settings.task.score
    figure = plots.new_figure(12, 5.2)
    loss, scores = figure.subplots(1, 2)
    places = list(range(len(trials)))
    points(loss, "held-out loss", trials, places, 0, 1)
    values = [(x, scaled(run, run.score)) for x, trial in zip(places, trials, strict=True)
              for run in trial.runs if run.score is not None]  # fmt: skip
    scores.plot(*zip(*values, strict=True), **DOTS, color=plots.COLOURS[0]) if values else None
    means = [(x, scaled(t.runs[0], t.score.mean)) for x, t in enumerate(trials) if t.score]
    scores.plot(*zip(*means, strict=True), **plots.style(0, 1)) if means else None
    words(loss, "Held-out loss at the end", name, "loss")
    words(scores, f"Held-out {spoken(score)} at the end", name, unit(score))
    for axes in (loss, scores):
        axes.set_xticks(places, [f"{trial.value}" for trial in trials])
        axes.set_xlim(-0.4, len(trials) - 0.6)
    figure.suptitle(with_seeds(title, trials, "each a dot"), fontsize=11)
    return plots.to_png(figure)


DOTS = {"marker": "o", "markersize": 5, "linestyle": "none", "alpha": 0.55}


def points(
    axes: Any, label: str, trials: Sequence[Trial], xs: Sequence[float], number: int, count: int
) -> None:
    """Every run's loss as a dot, the means joined, and crosses at the top for what diverged."""
    style = plots.style(number, count)
    pairs = list(zip(xs, trials, strict=True))
    dots = [(x, run.loss) for x, trial in pairs for run in trial.runs if run.loss is not None]
    means = [(x, trial.loss.mean) for x, trial in pairs if trial.loss is not None]
    lost = [x for x, trial in pairs if trial.errors]
    xs_of, ys_of = ([], []) if not means else zip(*means, strict=True)
    axes.plot(xs_of, ys_of, label=label, **style)
    if dots:
        axes.plot(*zip(*dots, strict=True), color=style["color"], **DOTS)
    if lost:
        top = {"transform": axes.get_xaxis_transform(), "clip_on": False}
        cross = {"marker": "X", "markersize": 10, "linestyle": "none", "color": style["color"]}
        height = 0.98 - 0.035 * number  # those of several optimizers side by side
        axes.plot(lost, [height] * len(lost), label=f"{label}: diverged", **cross, **top)


def words(axes: Any, title: str, x: str, y: str) -> None:
    """A panel's title and axes."""
    axes.set(xlabel=x, ylabel=y)
    axes.set_title(title, fontsize=SMALL)
    axes.grid(alpha=0.25)


def legend(figure: Any, axes: Any) -> None:
    """One legend for the figure, below it; crosses after the lines."""
    named = list(zip(*axes.get_legend_handles_labels(), strict=True))
    named.sort(key=lambda pair: pair[1].endswith(": diverged"))
    handles, labels = zip(*named, strict=True)
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)


def spoken(score: Score) -> str:
    """A score's name in words."""
    return score.name.replace("_", " ")


def unit(score: Score) -> str:
    """The words of a score's axis."""
    return f"{spoken(score)}, %" if score.unit == "%" else spoken(score)


def with_seeds(title: str, trials: Sequence[Trial], how: str = "band: least to greatest") -> str:
    """A title that says how several seeds are shown."""
    count = len(trials[0].runs)
    return title if count == 1 else f"{title}\nmean of {count} seeds, {how}"
