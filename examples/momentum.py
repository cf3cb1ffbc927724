"""Momentum and debiasing: what four running averages make of noise and of a curve.

    python examples/momentum.py        # runs/momentum/*.png and figures.json

After lesson 11 of fast.ai's course-v3 ("09_optimizers") and lesson 18 of its course22p2
("12_accel_sgd"). The values are fed as gradients to chains of rules, one group for each average and
each beta, and the last rule stores the direction as the parameter, so that the parameter is what
the momentum would follow. To be seen:

- undampened momentum with a high beta goes far too far, and has no way to turn in time;
- an average follows a shape only after several points, the later the higher beta is;
- an average from zero starts too low, one from the first value is led astray if that is an
  outlier; debiasing mends both, as its weights sum to 1 from the start.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import steppers
from steppers.ops import lerp, where, zeros
from steppers.rules import average_momentum
from steppers.train.plots import COLOURS, check_available
from steppers.train.table import table

BETAS = (0.5, 0.7, 0.9, 0.99)


def undampened(g, total=zeros, *, t, momentum):
    total = momentum * where(t == 1, g, total) + g
    return dict(total=total, u=total)


def seeded(g, average=zeros, *, t, momentum):
    average = lerp(where(t == 1, g, average), g, 1 - momentum)
    return dict(average=average, u=average)


def debiased(u, *, t, momentum):
    return dict(u=u / (1 - momentum**t))


def show(u):
    return dict(p=u)


FROM_ZERO = "average, from 0"
VARIANTS = {
    "undampened, from the first value": [undampened, show],
    "average, from the first value": [seeded, show],
    FROM_ZERO: [average_momentum, show],
    "average, from 0, debiased": [average_momentum, debiased, show],
}


def averages(values: Tensor) -> dict[str, dict[float, Tensor]]:
    """Each variant's path through the values, by beta."""
    points = {(name, beta): values.new_zeros(()) for name in VARIANTS for beta in BETAS}
    groups = [{"params": [p], "chain": n, "momentum": beta} for (n, beta), p in points.items()]
    optimizer = steppers.Optimizer(groups, chains=VARIANTS)
    paths: dict[tuple[str, float], list[float]] = {key: [] for key in points}
    for value in values:
        for p in points.values():
            p.grad = value
        optimizer.step()
        for key, p in points.items():
            paths[key].append(p.item())
    return {name: {beta: values.new_tensor(paths[name, beta]) for beta in BETAS}
            for name in VARIANTS}  # fmt: skip


@dataclass(frozen=True)
class Data:
    """Noisy values at positions, and what they are without noise."""

    position: str
    x: Tensor
    y: Tensor
    curve: Tensor


def data_sets() -> dict[str, Data]:
    """200 values of noise around 0.3; 200 of a parabola with an outlier first; 100 without one."""
    draw = torch.Generator().manual_seed(0)
    noise = [torch.randn(n, generator=draw, dtype=torch.float64) for n in (200, 200, 100)]
    x, short = (torch.linspace(-4, 4, n, dtype=torch.float64) for n in (200, 100))
    curve, short_curve = 1 - (x / 3) ** 2, 1 - (short / 3) ** 2
    outlier = curve + 0.1 * noise[1]
    outlier[0] = 0.5
    return {
        "noise": Data("step", torch.arange(1.0, 201.0), noise[0] + 0.3, torch.full_like(x, 0.3)),
        "parabola": Data("x", x, outlier, curve),
        "short_parabola": Data("x", short, short_curve + 0.1 * noise[2], short_curve),
    }


def draw_block(block: Any, title: str, data: Data, paths: dict[float, Tensor]) -> None:
    """Four panels, one for each beta: the values as points, and their average as a line."""
    block.suptitle(title, fontsize=11)
    block.supxlabel(data.position, fontsize=9)
    for axes, (beta, path) in zip(block.subplots(2, 2).flat, paths.items(), strict=True):
        axes.plot(data.x, data.y, ".", color=COLOURS[5], markersize=3)
        axes.plot(data.x, path, color=COLOURS[4], linewidth=1.6)
        axes.set_title(f"beta = {beta}", fontsize=9)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.25)


def save_picture(path: Path, data: Data, paths: dict[str, dict[float, Tensor]]) -> None:
    """One block of panels for each average; every panel has its own scale."""
    from matplotlib.figure import Figure

    wide = len(paths) > 1
    figure = Figure(figsize=(13, 10) if wide else (7, 5.4), layout="constrained")
    blocks = figure.subfigures(2, 2, squeeze=False).ravel() if wide else [figure]
    for block, (name, by_beta) in zip(blocks, paths.items(), strict=True):
        draw_block(block, name, data, by_beta)
    figure.savefig(path, dpi=110)


def rms(error: Tensor) -> float:
    return error.square().mean().sqrt().item()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Four running averages on noise and a curve.")
    parser.add_argument("--out", type=Path, default=Path("runs/momentum"))
    parser.add_argument("--quick", action="store_true", help="the same: it takes seconds anyway")
    out = parser.parse_args(argv).out
    check_available()
    out.mkdir(parents=True, exist_ok=True)
    figures, rows = {}, []
    for name, data in data_sets().items():
        paths = averages(data.y)
        drawn = [FROM_ZERO] if name == "short_parabola" else VARIANTS  # as the second course has it
        save_picture(out / f"{name}.png", data, {variant: paths[variant] for variant in drawn})
        figures[name] = {"x": data.x.tolist(), "y": data.y.tolist()} | {
            variant: {beta: path.tolist() for beta, path in by_beta.items()}
            for variant, by_beta in paths.items()
        }
        for variant, by_beta in paths.items():
            errors = [f"{rms((by_beta[b] - data.curve)[:20]):.3f}" for b in BETAS]
            rows.append([name, variant, *errors])
    (out / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
    print("error of the first 20 values, root mean square\n")
    print(table(["data", "average", *(f"beta {beta}" for beta in BETAS)], rows, left=2))
    print(f"\npictures and figures: {out}")


if __name__ == "__main__":
    main()
