"""The picture of a schedule: each hyper against the step."""

from __future__ import annotations

import importlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from torch.optim.lr_scheduler import LRScheduler

from ..colours import COLOURS
from ..hypers import having
from .rehearsal import dry_run
from .scheduler import Scheduler
from .values import Schedule, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DASHES = ("-", (0, (5, 2)), (0, (1, 1)), (0, (5, 1, 1, 1)))
POINTS = 501  # of a schedule without steps
VALUE = "value"  # of a schedule that is given without a hyper's name

Drawn: TypeAlias = Schedule | LRScheduler | Mapping[str, Schedule]


@dataclass(frozen=True)
class Line:
    """One curve: what it is of, where it is and what it is called."""

    hyper: str
    x: Sequence[float]
    y: Sequence[float]
    name: str


def plot(
    schedules: Drawn | Sequence[Drawn],
    steps: int | None = None,
    *,
    hypers: Sequence[str] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw schedules or schedulers and return the figure: a panel a hyper, a line a group.

    Takes a function of the position, a mapping of hypers to such functions, our Scheduler, any of
    torch's schedulers (from where it is; it is not touched, see `dry_run`), or a list of these to
    compare. `steps` is how many optimizer steps to show; without it a function is drawn over
    positions 0 to 1, and our Scheduler to its total_steps. `hypers` chooses panels. One panel may
    be drawn into `ax`, also on top of what is there.

    Raises TypeError for what cannot be drawn, ValueError where `ax` is given for several panels,
    ImportError without matplotlib.
    """
    lines = [line for thing in listed(schedules) for line in curves(thing, steps, hypers)]
    lines = distinct(lines)
    panels = list(dict.fromkeys(line.hyper for line in lines))
    if ax is not None and len(panels) > 1:
        raise ValueError(f"plot: ax has room for one of {', '.join(panels)}; choose with hypers=")
    figure, axes = (ax.get_figure(), [ax]) if ax is not None else panelled(lines, len(panels))
    label = "optimizer step" if on_steps(schedules, steps) else "position in the run"
    for each, hyper in zip(axes, panels, strict=True):
        draw(each, hyper, [line for line in lines if line.hyper == hyper], label)
    return cast("Figure", figure)


def listed(schedules: Drawn | Sequence[Drawn]) -> list[Drawn]:
    """One or several things to draw, as a list."""
    if not isinstance(schedules, list | tuple):
        return [cast("Drawn", schedules)]
    if not schedules:
        raise ValueError("plot: got an empty list, there is nothing to draw")
    return list(schedules)


def on_steps(schedules: Drawn | Sequence[Drawn], steps: int | None) -> bool:
    """True where the x axis counts steps; positions and steps do not go into one picture."""
    kinds = {steps is not None or isinstance(thing, LRScheduler) for thing in listed(schedules)}
    if len(kinds) > 1:
        raise ValueError("plot: give steps= to draw functions and schedulers in one picture")
    return kinds.pop()


def curves(thing: Drawn, steps: int | None, names: Sequence[str] | None) -> list[Line]:
    """The lines of one thing."""
    if isinstance(thing, LRScheduler):
        return of_scheduler(thing, steps, names)
    if callable(thing):
        return of_function(VALUE, thing, steps)
    if not isinstance(cast("object", thing), Mapping):
        kind = type(thing).__name__
        raise TypeError(f"plot: wants a schedule, a mapping of them or a scheduler, got {kind}")
    if unknown := [name for name in names or () if name not in thing]:
        raise KeyError(f"plot: no schedule for {unknown[0]!r}; there is {', '.join(thing)}")
    chosen = thing if names is None else names
    return [line for name in chosen for line in of_function(name, thing[name], steps)]


def of_scheduler(
    scheduler: LRScheduler, steps: int | None, names: Sequence[str] | None
) -> list[Line]:
    """A line for each hyper and group of a scheduler's dry run."""
    start = max(scheduler.last_epoch, 0)
    if steps is None and isinstance(scheduler, Scheduler):
        steps = max(scheduler.total_steps - start, 1)
    if steps is None:
        raise TypeError(f"plot: {type(scheduler).__name__} has no end; say how many steps to show")
    found = dry_run(scheduler, whole("plot", "steps", steps, 1) + 1, hypers=names)
    name, x = type(scheduler).__name__, range(start, start + steps + 1)
    return [
        line
        for hyper, row in found.items()
        for line in by_group(hyper, x, row, name, group_names(scheduler.optimizer, hyper))
    ]


def group_names(optimizer: torch.optim.Optimizer, hyper: str) -> list[str]:
    """What the groups that have a hyper are called: by their `name` key, else by number."""
    groups = optimizer.param_groups
    return [str(groups[i].get("name", f"group {i}")) for i, _ in having(optimizer, hyper)]


def of_function(hyper: str, schedule: Schedule, steps: int | None) -> list[Line]:
    """A line for each group of a function of the position."""
    if not callable(schedule):
        raise TypeError(f"plot: {hyper} wants a function of the position, got {schedule!r}")
    last = POINTS - 1 if steps is None else whole("plot", "steps", steps, 1)
    positions = [k / last for k in range(last + 1)]
    values = [schedule(position) for position in positions]
    x = positions if steps is None else range(last + 1)
    rows = [v if isinstance(v, list | tuple) else [v] for v in values]
    wide = max(len(row) for row in rows)  # a phase may give one value for all groups
    rows = [list(row) * wide if len(row) == 1 else list(row) for row in rows]
    name = repr(schedule)
    return by_group(hyper, x, rows, name if "<" not in name else short_name(schedule))


def short_name(schedule: object) -> str:
    """What a function without a form of its own is called."""
    return str(getattr(schedule, "__name__", type(schedule).__name__))


def by_group(
    hyper: str,
    x: Sequence[float],
    rows: Sequence[Sequence[float]],
    name: str,
    groups: Sequence[str] = (),
) -> list[Line]:
    """One line for each group, or one in all where they are the same."""
    columns = list(zip(*rows, strict=True))
    if all(y == columns[0] for y in columns):
        several = f", all {len(columns)} groups" if len(columns) > 1 else ""
        return [Line(hyper, x, columns[0], name + several)]
    names = groups or [f"group {i}" for i in range(len(columns))]
    return [Line(hyper, x, y, f"{name}, {group}") for y, group in zip(columns, names, strict=True)]


def distinct(lines: list[Line]) -> list[Line]:
    """The lines, with a number where two things would have one name."""
    seen: dict[tuple[str, str], int] = {}
    renamed: list[Line] = []
    for line in lines:
        key = (line.hyper, line.name)
        seen[key] = seen.get(key, 0) + 1
        name = line.name if seen[key] == 1 else f"{line.name} ({seen[key]})"
        renamed.append(Line(line.hyper, line.x, line.y, name))
    return renamed


def panelled(lines: list[Line], n: int) -> tuple[Any, list[Any]]:
    """A new figure with n panels, two in a row, as high as they and their legends need."""
    try:
        module = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        text = "a picture of schedules needs matplotlib: pip install 'steppers[train]'"
        raise ImportError(text) from error
    columns = min(n, 2)
    rows = math.ceil(n / columns)
    most = max(Counter(line.hyper for line in lines).values())
    size = (6.4 if columns == 1 else 10.0, (3.4 + 0.2 * most) * rows)
    figure = module.Figure(figsize=size, layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for spare in axes[n:]:
        spare.remove()
    return figure, axes[:n]


def draw(axes: Any, hyper: str, lines: list[Line], x_label: str) -> None:
    """The lines of one hyper, each in its own colour and dash, with a legend beside them."""
    before = len(axes.get_lines())
    for i, line in enumerate(lines, before):
        style = {"color": COLOURS[i % len(COLOURS)], "linestyle": DASHES[i % len(DASHES)]}
        axes.plot(line.x, line.y, label=line.name, linewidth=1.8, **style)
    axes.set_xlabel(x_label)
    axes.set_ylabel(hyper)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    if before + len(lines) > 1:
        axes.legend(frameon=False, fontsize="small", loc="lower left", bbox_to_anchor=(0, 1.0))
    else:
        axes.set_title(lines[0].name, fontsize="medium", loc="left")
