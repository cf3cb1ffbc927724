"""Trajectories of six optimizers on two curved valleys and a bowl, as a picture and a film.

    python examples/trajectories.py    # runs/trajectories/trajectories.png, .gif and figures.json

Rosenbrock's valley (1960), Beale's function (1958), and a bowl 100 times as steep one way as the
other, turned by half a radian so that rates for each coordinate do not straighten it. To be seen:

- SGD's rate is bounded by the steepest direction, so the flat one takes for ever;
- momentum adds up along the flat direction, overshoots, and comes back;
- RMSprop and Adam divide by the gradient's size: the slope hardly matters, the direction does;
- Lion's steps all have one length, its rate, so that it ends by hopping around the minimum;
- Rprop grows each coordinate's step while the sign stays: quick here, of no use in noise.
"""

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import steppers
from steppers.train.plots import COLOURS, check_available
from steppers.train.table import table


def rosenbrock(x: Any, y: Any) -> Any:
    return (1 - x) ** 2 + 100 * (y - x * x) ** 2


def beale(x: Any, y: Any) -> Any:
    return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2


def bowl(x: Any, y: Any) -> Any:
    along, across = math.cos(0.5) * x + math.sin(0.5) * y, math.cos(0.5) * y - math.sin(0.5) * x
    return (along**2 + 100 * across**2) / 2


@dataclass(frozen=True)
class Problem:
    """A function of the plane, where to start, where its minimum is, and what to draw."""

    function: Callable[[Any, Any], Any]
    start: tuple[float, float]
    minimum: tuple[float, float]
    window: tuple[float, float, float, float]  # left, right, bottom, top


PROBLEMS = {
    "Rosenbrock": Problem(rosenbrock, (-1.23, 1.02), (1.0, 1.0), (-1.75, 1.75, -0.6, 1.75)),
    "Beale": Problem(beale, (1.03, 1.48), (3.0, 0.5), (-1.0, 4.0, -2.1, 2.0)),
    "bowl": Problem(bowl, (-3.97, 1.04), (0.0, 0.0), (-4.5, 2.5, -4.2, 2.0)),
}
MAKERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "SGD": steppers.SGD,
    "momentum": lambda p, lr: steppers.SGD(p, lr=lr, momentum=0.9),
    "RMSprop": steppers.RMSprop,
    "Adam": steppers.Adam,
    "Lion": steppers.Lion,
    "Rprop": steppers.Rprop,
}
# Of 1e-4, 3e-4, ... 0.3 the rate that ends nearest to the minimum after 500 steps.
RATES = {
    "Rosenbrock": (3e-3, 1e-3, 3e-2, 0.3, 1e-2, 3e-2),
    "Beale": (3e-2, 3e-3, 3e-2, 0.3, 0.1, 1e-3),
    "bowl": (1e-2, 1e-2, 0.1, 0.3, 0.1, 3e-3),
}


def walk(name: str, problem: Problem, lr: float, steps: int) -> Tensor:
    """The points of one optimizer, the start first: (steps + 1, 2), float64."""
    p = torch.nn.Parameter(torch.tensor(problem.start, dtype=torch.float64))
    optimizer, points = MAKERS[name]([p], lr=lr), [p.detach().clone()]
    for _ in range(steps):
        optimizer.zero_grad()
        problem.function(*p).backward()
        optimizer.step()
        points.append(p.detach().clone())
    return torch.stack(points)


def distances(path: Tensor, problem: Problem) -> Tensor:
    """From the minimum, of every point."""
    return (path - path.new_tensor(problem.minimum)).norm(dim=1)


def draw_ground(axes: Any, title: str, problem: Problem) -> None:
    """Contours, a factor of about 3 apart, the start and the minimum."""
    left, right, bottom, top = problem.window
    x, y = torch.linspace(left, right, 200), torch.linspace(bottom, top, 200)
    height = problem.function(*torch.meshgrid(x, y, indexing="xy")) + 1e-9
    levels = [10 ** (k / 2) for k in range(-4, 9)]
    axes.contour(x, y, height, levels=levels, colors="0.8", linewidths=0.7)
    axes.plot(*problem.start, "s", color="black", markersize=6, zorder=5)
    axes.plot(*problem.minimum, "*", color="black", markersize=13, zorder=5)
    axes.set(xlim=(left, right), ylim=(bottom, top), title=title, xlabel="x", ylabel="y")


def draw_paths(axes: Any, paths: dict[str, Tensor], problem: Problem) -> list[Any]:
    """One line for each optimizer, named with its last distance; the lines, to redraw them."""
    lines = []
    for colour, (name, path) in zip(COLOURS, paths.items(), strict=False):
        label = f"{name}  {distances(path, problem)[-1]:.1e}"
        ends = dict(marker="o", markersize=4, markevery=[-1])
        lines += axes.plot(path[:, 0], path[:, 1], color=colour, linewidth=1, label=label, **ends)
    below = dict(loc="upper center", bbox_to_anchor=(0.5, -0.15), frameon=False)
    axes.legend(title="distance from the minimum at the end", ncols=3, fontsize=8, **below)
    return lines


def save_pictures(out: Path, paths: dict[str, dict[str, Tensor]], frames: int) -> None:
    """The whole paths as a PNG, and their growth as a GIF, its first steps slowest."""
    from matplotlib.animation import PillowWriter
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 5.4), layout="constrained")
    moving = list[tuple[Any, Tensor]]()
    for axes, (title, by_name) in zip(figure.subplots(1, 3), paths.items(), strict=True):
        draw_ground(axes, title, PROBLEMS[title])
        lines = draw_paths(axes, by_name, PROBLEMS[title])
        moving += zip(lines, by_name.values(), strict=True)
    steps = len(moving[0][1]) - 1
    words = figure.suptitle(f"{steps} steps from the square to the star", fontsize=12)
    figure.savefig(out / "trajectories.png", dpi=120)
    figure.set_layout_engine("none")  # laid out once, not in every frame
    film = PillowWriter(fps=10)
    with film.saving(figure, str(out / "trajectories.gif"), dpi=75):
        for frame in [*range(frames + 1), *[frames] * (frames // 3)]:
            step = round(steps * (frame / frames) ** 2)
            words.set_text(f"after {step} steps")
            for line, path in moving:
                line.set_data(path[: step + 1, 0], path[: step + 1, 1])
            film.grab_frame()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Trajectories of six optimizers in the plane.")
    parser.add_argument("--out", type=Path, default=Path("runs/trajectories"))
    parser.add_argument("--quick", action="store_true", help="100 steps, a short film")
    options = parser.parse_args(argv)
    check_available()
    options.out.mkdir(parents=True, exist_ok=True)
    steps, frames = (100, 4) if options.quick else (500, 45)
    paths = {
        title: {
            name: walk(name, problem, lr, steps)
            for name, lr in zip(MAKERS, RATES[title], strict=True)
        }
        for title, problem in PROBLEMS.items()
    }
    save_pictures(options.out, paths, frames)
    figures = {
        title: {name: path.tolist() for name, path in by_name.items()}
        for title, by_name in paths.items()
    }
    (options.out / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
    rows = [
        [name, *(f"{distances(paths[title][name], PROBLEMS[title])[-1]:.1e}" for title in PROBLEMS)]
        for name in MAKERS
    ]
    print(f"distance from the minimum after {steps} steps\n")
    print(table(["optimizer", *PROBLEMS], rows))
    print(f"\npicture, film and figures: {options.out}")


if __name__ == "__main__":
    main()
