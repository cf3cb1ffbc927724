"""What weight decay is: beside L2, as part of the loss, and in front of a BatchNorm.

    python examples/weight_decay.py    # runs/weight_decay/weight_decay.png and figures.json

On scikit-learn's handwritten digits, in float64. To be seen:

- a term wd/2 * sum(w**2) in the loss is wd * w in the gradient, which is the rule `l2`;
- for plain SGD that is `decay`, to rounding; with momentum, RMSprop or Adam, whose statistics see
  the one and not the other, it is not (Loshchilov & Hutter 2017, arXiv:1711.05101);
- weights before a BatchNorm can shrink without changing the function (van Laarhoven 2017,
  arXiv:1706.05350): what decay does there is to keep lr / |w|**2 up, the rate at which w turns.
"""

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import steppers
from steppers.rules import (
    adam,
    average_grad,
    average_square,
    decay,
    descend,
    heavy_ball,
    l2,
    mean_square,
    rms_scaled,
)
from steppers.train.data import load_digits
from steppers.train.plots import COLOURS, check_available
from steppers.train.table import table

MIDDLES = {
    "SGD": ([], 0.1),
    "momentum": ([heavy_ball], 0.02),
    "RMSprop": ([mean_square, rms_scaled], 1e-3),
    "Adam": ([average_grad, average_square, adam], 1e-2),
}
DECAYS = (0.0, 0.01, 0.05)


def network() -> nn.Sequential:
    """64 pixels, 32 units with BatchNorm, 10 classes. BatchNorm's eps is next to nothing."""
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(32, eps=1e-12)
    return nn.Sequential(nn.Linear(64, 32, bias=False), norm, nn.ReLU(), nn.Linear(32, 10)).double()


def batches(steps: int) -> list[tuple[Tensor, Tensor]]:
    """Random batches of 128 digits, the same every time."""
    data, draw = load_digits(seed=0).train, torch.Generator().manual_seed(0)
    count = len(data.y)
    chosen = [torch.randint(count, (128,), generator=draw) for _ in range(steps)]
    return [(data.x[i].flatten(1).double(), data.y[i]) for i in chosen]


def weights(model: nn.Module) -> Tensor:
    """All parameters in one vector."""
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def train(steps: list[Any], data: Any, lr: float, wd: float = 0.0, in_loss: float = 0.0) -> Tensor:
    """The weights after every step of a chain; `in_loss` is a decay that is part of the loss."""
    model = network()
    hypers: dict[str, Any] = {"weight_decay": wd} if wd else {}
    optimizer = steppers.Optimizer(model.parameters(), steps=steps, lr=lr, **hypers)
    path = []
    for x, y in data:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        for p in model.parameters():
            loss = loss + in_loss / 2 * p.square().sum()
        loss.backward()
        optimizer.step()
        path.append(weights(model))
    return torch.stack(path)


def compare(name: str, data: Any, wd: float = 0.1) -> dict[str, list[float]]:
    """By step: how far the weights are from those with l2, as a share of their length."""
    middle, lr = MIDDLES[name]
    coupled = train([l2, *middle, descend], data, lr, wd)
    others = {
        "decay": train([decay, *middle, descend], data, lr, wd),
        "in the loss": train([*middle, descend], data, lr, in_loss=wd),
    }
    return {
        way: ((path - coupled).norm(dim=1) / coupled.norm(dim=1)).tolist()
        for way, path in others.items()
    }


def before_a_norm(data: Any, wd: float, lr: float = 0.3) -> dict[str, list[float]]:
    """By step, for the weights w before the BatchNorm: |w|, lr / |w|**2, the angle they turn by."""
    model = network()
    first, *others = model.parameters()
    seen: dict[str, list[float]] = {"norm": [], "rate": [], "angle": [], "loss": []}
    groups = [{"params": [first], "weight_decay": wd}, {"params": others}]
    optimizer = steppers.Optimizer(groups, steps=[decay, descend], lr=lr)
    for x, y in data:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        old = first.detach().clone()
        optimizer.step()
        size = first.detach().norm()
        cosine = (old * first.detach()).sum() / (old.norm() * size)
        seen["norm"].append(size.item())
        seen["rate"].append(lr / size.item() ** 2)
        seen["angle"].append(torch.rad2deg(torch.acos(cosine.clamp(max=1.0))).item())
        seen["loss"].append(loss.item())
    return seen


def rescaled(data: Any, factor: float = 0.5) -> float:
    """The largest change of any output when the weights before the BatchNorm are scaled."""
    model = network()
    other = copy.deepcopy(model)
    with torch.no_grad():
        next(other.parameters()).mul_(factor)
        return max((model(x) - other(x)).abs().max().item() for x, _ in data[:10])


def save_picture(path: Path, apart: dict[str, Any], runs: dict[str, Any]) -> None:
    """How far decay is from l2 by step, and what decay does in front of a BatchNorm."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 8), layout="constrained")
    (first, norm), (rate, angle) = figure.subplots(2, 2)
    for colour, (name, ways) in zip(COLOURS, apart.items(), strict=False):
        first.plot(ways["decay"], color=colour, label=name)
    for colour, (wd, seen) in zip(COLOURS, runs.items(), strict=False):
        for axes, key in ((norm, "norm"), (rate, "rate"), (angle, "angle")):
            axes.plot(seen[key], color=colour, label=f"decay {wd}", linewidth=1.2)
    norms = "before a BatchNorm: "
    first.set(title="decay against l2, wd 0.1", ylabel="distance / length of w")
    norm.set(title=norms + "the length of w", ylabel="|w|", ylim=(0, None))
    rate.set(title=norms + "the effective rate", ylabel="lr / |w|²")
    angle.set(title=norms + "how far w turns", ylabel="degrees a step")
    for axes, bottom in ((first, 1e-19), (rate, 0.01), (angle, 0.05)):
        axes.set(yscale="log", ylim=(bottom, None))
    for axes in (first, norm, rate, angle):
        axes.set_xlabel("step")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize=9, loc="lower center", ncols=4)
    figure.savefig(path, dpi=120)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Weight decay, L2, and decay before a BatchNorm.")
    parser.add_argument("--out", type=Path, default=Path("runs/weight_decay"))
    parser.add_argument("--quick", action="store_true", help="20 and 120 steps, not 100 and 1,000")
    options = parser.parse_args(argv)
    check_available()
    options.out.mkdir(parents=True, exist_ok=True)
    few, many = (20, 120) if options.quick else (100, 1000)
    data = batches(many)
    apart = {name: compare(name, data[:few]) for name in MIDDLES}
    runs = {str(wd): before_a_norm(data, wd) for wd in DECAYS}
    figures = {"apart": apart, "before_a_norm": runs, "rescaled": rescaled(data)}
    (options.out / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
    save_picture(options.out / "weight_decay.png", apart, runs)
    rows = [[name, *(f"{path[-1]:.0e}" for path in ways.values())] for name, ways in apart.items()]
    print(f"distance of the weights from l2's after {few} steps, over their length\n")
    print(table(["optimizer", "decay", "term in the loss"], rows))
    print(f"\nbefore a BatchNorm, after {many} steps of SGD\n")
    ends = [[wd, *(f"{v[-1]:.3g}" for v in seen.values())] for wd, seen in runs.items()]
    print(table(["decay", "|w|", "lr/|w|²", "degrees a step", "loss"], ends))
    print(f"\noutputs with these weights halved differ by {figures['rescaled']:.0e} at most")
    print(f"picture and figures: {options.out}")


if __name__ == "__main__":
    main()
