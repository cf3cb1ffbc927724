"""LAMB as its reader would write it, five lines that are equal to steppers.LAMB; two variations.

    python examples/lamb_in_five_lines.py    # runs/lamb_in_five_lines/*.png and figures.json

LAMB is You et al. 2019 (arXiv:1904.00962): Adam's direction with the decay in it, scaled to the
norm of each tensor. `lars` is You et al. 2017 (arXiv:1708.03888): the same scaling on the gradient,
before the momentum. The other variation puts LAMB's last rules behind Lion's direction, a list of
rules from the catalogue. All are trained on scikit-learn's handwritten digits.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import steppers
from steppers.catalogue.sign import lion
from steppers.ops import lerp, minimum, norm, sqrt, square, where, zeros
from steppers.rules import decayed_direction, descend, heavy_ball, trust_ratio
from steppers.train.data import load_digits
from steppers.train.plots import COLOURS, check_available, smooth
from steppers.train.table import table


def lamb(
    p, g, exp_avg=zeros, exp_avg_sq=zeros, *,
    t, lr, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.0,
):  # fmt: skip
    m = lerp(exp_avg, g, 1 - beta1)
    v = beta2 * exp_avg_sq + (1 - beta2) * square(g)
    u = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps) + weight_decay * p
    ratio = where((norm(p) > 0) & (norm(u) > 0), minimum(norm(p) / norm(u), 10.0), 1.0)
    return dict(p=p - lr * (ratio * u), exp_avg=m, exp_avg_sq=v)


def lars(p, g, *, weight_decay=0.0, trust=1e-3):
    p_norm, g_norm = norm(p), norm(g)
    ratio = trust * p_norm / (g_norm + weight_decay * p_norm)
    ratio = where((p_norm > 0) & (g_norm > 0), ratio, 1.0)
    return dict(g=ratio * (g + weight_decay * p))


class LAMB(steppers.Optimizer):
    """LAMB, written by a reader of the paper."""

    steps = (lamb,)
    defaults = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0)


class LARS(steppers.Optimizer):
    """LARS: each tensor's gradient scaled to its norm, then momentum (You et al. 2017)."""

    steps = lars, heavy_ball, descend
    defaults = dict(lr=1.0, momentum=0.9, weight_decay=0.0, trust=1e-3)


class LayerwiseLion(steppers.Optimizer):
    """Lion's direction under LAMB's trust ratio."""

    steps = lion, decayed_direction, trust_ratio, descend
    defaults = dict(lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0, trust_clip=10.0)


Maker = Callable[..., torch.optim.Optimizer]
RUNS: dict[str, tuple[Maker, dict[str, Any]]] = {
    "LAMB, the five lines": (LAMB, dict(lr=0.01, weight_decay=0.1)),
    "steppers.LAMB": (steppers.LAMB, dict(lr=0.01, weight_decay=0.1)),
    "LARS": (LARS, dict(lr=10.0, weight_decay=5e-4)),
    "Lion with a trust ratio": (LayerwiseLion, dict(lr=0.01, weight_decay=0.1)),
}


def train(make: Maker, hypers: dict[str, Any], steps: int) -> tuple[list[float], float, Tensor]:
    """The loss of every batch, the held-out accuracy and all weights at the end."""
    data, draw = load_digits(seed=0), torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer, losses = make(model.parameters(), **hypers), list[float]()
    for _ in range(steps):
        batch = torch.randint(len(data.train.y), (64,), generator=draw)
        optimizer.zero_grad()
        loss = F.cross_entropy(model(data.train.x[batch]), data.train.y[batch])
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    with torch.no_grad():
        right = model(data.valid.x).argmax(1) == data.valid.y
    return (
        losses,
        right.double().mean().item(),
        torch.nn.utils.parameters_to_vector(model.parameters()),
    )


def save_picture(path: Path, curves: dict[str, list[float]]) -> None:
    """The smoothed training losses; equal curves stay visible as a line with gaps on a wide one."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for i, (name, losses) in enumerate(curves.items()):
        line, width = "--" if i == 1 else "-", 4 if i == 0 else 1.8
        colour = COLOURS[i]
        axes.plot(smooth(losses), color=colour, linestyle=line, linewidth=width, label=name)
    axes.set(yscale="log", xlabel="step", ylabel="cross-entropy, smoothed (log scale)")
    axes.set_title("The digits, batches of 64")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="LAMB in five lines, LARS, and a layer-wise Lion.")
    parser.add_argument("--out", type=Path, default=Path("runs/lamb_in_five_lines"))
    parser.add_argument("--quick", action="store_true", help="60 steps, not 400")
    options = parser.parse_args(argv)
    check_available()
    options.out.mkdir(parents=True, exist_ok=True)
    for make in (LAMB, LARS, LayerwiseLion):
        print(make([torch.nn.Parameter(torch.ones(64, 64))]).explain(measure=False), end="\n\n")
    steps = 60 if options.quick else 400
    ends = {name: train(make, hypers, steps) for name, (make, hypers) in RUNS.items()}
    apart = (ends["steppers.LAMB"][2] - ends["LAMB, the five lines"][2]).abs().max().item()
    curves = {name: losses for name, (losses, _, _) in ends.items()}
    save_picture(options.out / "losses.png", curves)
    accuracies = {name: accuracy for name, (_, accuracy, _) in ends.items()}
    figures = {"losses": curves, "accuracies": accuracies, "five_lines_from_steppers_LAMB": apart}
    (options.out / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
    rows = [[n, f"{smooth(curves[n])[-1]:.4f}", f"{a:.2%}"] for n, a in accuracies.items()]
    print(table([f"after {steps} steps", "loss", "held out"], rows))
    print(f"\nlargest difference of a weight between the two LAMBs: {apart:.1e}")
    print(f"picture and figures: {options.out}")


if __name__ == "__main__":
    main()
