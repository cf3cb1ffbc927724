"""AMSGrad: a problem with one slope that is steep and rare, on which Adam ends at the worst point.

    python examples/amsgrad.py         # 200,000 steps; runs/amsgrad/amsgrad.png and figures.json

Reddi, Kale & Kumar 2018 (arXiv:1904.09237), section 3 and figure 1: f_t(x) = 1010 x in every
101st step, -10 x in the others, x kept in [-1, 1]. Over 101 steps that is 10 x, so -1 is best.
Adam forgets the steep step before the next one comes and is driven to +1. AMSGrad, one rule more,
divides by the largest second moment so far, remembers, and ends at -1.

At a constant rate x still swings within each cycle, and being off -1 at the steep step costs 0.33
a step on average; with the rate falling as 1 / sqrt(t), as in the paper, the regret goes to 0.

Keeping x in [-1, 1] is a projection, so here it is a rule after the others. The gradient depends on
the step alone. eps is 1e-16 as in labml's experiment, and does not matter: no gradient is below 10.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

import steppers
from steppers.ops import clamp
from steppers.rules import adam, average_grad, average_square, descend, largest_square
from steppers.train.plots import COLOURS, check_available
from steppers.train.table import table

HYPERS: dict[str, Any] = dict(lr=1e-2, betas=(0.9, 0.99), eps=1e-16)
BEST, CYCLE = -1.0, 101


def falling(u, *, t):
    return dict(u=u / t**0.5)


def project(p):
    return dict(p=clamp(p, -1.0, 1.0))


CHAINS = {
    "Adam": [average_grad, average_square, adam, descend, project],
    "AMSGrad": [average_grad, average_square, largest_square, adam, descend, project],
    "AMSGrad, falling rate": [
        average_grad, average_square, largest_square, adam, falling, descend, project,
    ],
}  # fmt: skip
FIRST_RATE = {"AMSGrad, falling rate": 0.5}


def slope(t: int) -> float:
    """The gradient of f_t."""
    return 1010.0 if t % CYCLE == 1 else -10.0


def play(steps: int, **more: Any) -> tuple[dict[str, list[float]], steppers.Optimizer]:
    """The x at which each optimizer stood before each step."""
    points = {name: torch.nn.Parameter(torch.zeros(())) for name in CHAINS}
    hypers = HYPERS | more
    groups = [
        {"params": [p], "chain": name, "lr": FIRST_RATE.get(name, hypers["lr"])}
        for name, p in points.items()
    ]
    optimizer = steppers.Optimizer(groups, chains=CHAINS, **hypers)
    slopes = {value: torch.tensor(value) for value in (1010.0, -10.0)}
    paths: dict[str, list[float]] = {name: [] for name in CHAINS}
    for t in range(1, steps + 1):
        for name, p in points.items():
            paths[name].append(p.item())
            p.grad = slopes[slope(t)]
        optimizer.step()
    return paths, optimizer


def average_regret(path: list[float]) -> list[float]:
    """After each step: how much was lost against x = -1, over the number of steps."""
    lost, averages = 0.0, list[float]()
    for t, x in enumerate(path, 1):
        lost += slope(t) * (x - BEST)
        averages.append(lost / t)
    return averages


def save_picture(path: Path, paths: dict[str, list[float]]) -> None:
    """By step: x as the band that it swings in during each cycle of 101, and the regret."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for colour, (name, values) in zip(COLOURS[4::-2], paths.items(), strict=True):
        cycles = torch.tensor(values[: len(values) // CYCLE * CYCLE]).view(-1, CYCLE)
        steps = torch.arange(1, len(cycles) + 1) * CYCLE
        left.fill_between(steps, cycles.amin(1), cycles.amax(1), color=colour, alpha=0.35, lw=0)
        left.plot(steps, cycles.mean(1), color=colour, label=name)
        right.plot(steps, average_regret(values)[CYCLE - 1 :: CYCLE], color=colour, label=name)
    left.set(xlabel="step", ylabel="x: mean and range of each cycle", ylim=(-1.1, 1.1))
    left.axhline(BEST, color="black", linewidth=1, linestyle=":", label="best")
    right.set(xlabel="step", ylabel="average regret (log scale)", yscale="log")
    for axes in (left, right):
        axes.locator_params(axis="x", nbins=5)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.grid(alpha=0.25)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle("One steep step in 101: Adam goes the wrong way", fontsize=12)
    figure.savefig(path, dpi=120)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Adam and AMSGrad on Reddi's counter-example.")
    parser.add_argument("--out", type=Path, default=Path("runs/amsgrad"))
    parser.add_argument("--quick", action="store_true", help="6,000 steps")
    options = parser.parse_args(argv)
    check_available()
    options.out.mkdir(parents=True, exist_ok=True)
    steps, begin = 6_000 if options.quick else 200_000, time.perf_counter()
    paths, optimizer = play(steps)
    seconds = time.perf_counter() - begin
    save_picture(options.out / "amsgrad.png", paths)
    figures = {
        name: {"x": path[-1], "average_regret": average_regret(path)[-1], "path": path[::CYCLE]}
        for name, path in paths.items()
    }
    text = json.dumps({"steps": steps, "path_every": CYCLE, "seconds": seconds} | figures)
    (options.out / "figures.json").write_text(text, encoding="utf-8")
    ends = [[n, f"{f['x']:+.4f}", f"{f['average_regret']:.4f}"] for n, f in figures.items()]
    print(table(["optimizer", "x at the end", "average regret"], ends))
    print(f"\n{steps:,} steps of all three in {seconds:.1f} s, engine {optimizer.engine}")
    print(f"picture and figures: {options.out}")


if __name__ == "__main__":
    main()
