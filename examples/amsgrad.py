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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import steppers
from steppers.rules import adam, average_grad, average_square, descend, largest_square
from steppers.train.experiments.systems import counterexample
from steppers.train.experiments.systems.counterexample import CYCLE, average_regret, project
from steppers.train.experiments.systems.pictures import draw_game
from steppers.train.plots import check_available
from steppers.train.table import table


def falling(u, *, t):
    return dict(u=u / t**0.5)


CHAINS = {
    **counterexample.CHAINS,
    "AMSGrad, falling rate": [
        average_grad, average_square, largest_square, adam, falling, descend, project,
    ],
}  # fmt: skip
FIRST_RATE = {"AMSGrad, falling rate": 0.5}


def play(steps: int, **more: Any) -> tuple[dict[str, Any], steppers.Optimizer]:
    """The x at which each optimizer stood before each step."""
    return counterexample.play(steps, CHAINS, rates=FIRST_RATE, **more)


def save_picture(path: Path, paths: dict[str, Sequence[float]]) -> None:
    """By step: x as the band that it swings in during each cycle of 101, and the regret."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_game(left, right, paths)
    right.set(ylabel="average regret (log scale)", yscale="log")
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
        name: {
            "x": path[-1],
            "average_regret": average_regret(path)[-1].item(),
            "path": path[::CYCLE].tolist(),
        }
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
