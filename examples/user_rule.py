"""A new optimizer of one rule, with everything else taken from the catalogue, in bfloat16.

    python examples/user_rule.py       # runs/user_rule/losses.png, source.txt and figures.json

Say someone wants to try this: step by the sign of a momentum that is forgotten every `period`
steps. That is the one rule written here. Clipping, decoupled decay, a cautious mask and an average
of the weights are rules of the catalogue, how numbers are stored is no part of a rule, and the
whole list runs as generated kernels. Trained on scikit-learn's handwritten digits in float32, in
bfloat16, where small steps are lost as the rate falls, and in bfloat16 with Kahan's low parts,
which keep them.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parameters_to_vector

import steppers
from steppers.ops import lerp, sign, where, zeros
from steppers.rules import cautious, clip_by_global_norm, decay, descend, ema, use_average
from steppers.train.data import load_digits
from steppers.train.plots import COLOURS, check_available, smooth
from steppers.train.table import table


def restarting_sign(g, exp_avg=zeros, *, t, beta1=0.9, period=50):
    exp_avg = where(t % period == 1, g, lerp(exp_avg, g, 1 - beta1))
    return dict(exp_avg=exp_avg, u=sign(exp_avg))


class RestartingSign(steppers.Optimizer):
    """The sign of a momentum that starts again every `period` steps; evaluate the average."""

    steps = clip_by_global_norm, decay, restarting_sign, cautious, descend, ema
    evaluate = use_average
    defaults = dict(
        lr=1e-3, betas=(0.9,), period=50, weight_decay=0.1, max_norm=1.0, ema_decay=0.98
    )
    ranges = dict(period="> 1")


STORED: dict[str, tuple[torch.dtype, dict[str, Any]]] = {
    "float32": (torch.float32, {}),
    "bfloat16": (torch.bfloat16, {}),
    "bfloat16, Kahan": (torch.bfloat16, dict(rounding="kahan")),
}


def network(dtype: torch.dtype) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10)).to(dtype)


def train(dtype: torch.dtype, options: dict[str, Any], steps: int) -> dict[str, Any]:
    """Losses, held-out accuracy of the averaged weights, weights, bytes of state a parameter."""
    data, draw = load_digits(seed=0), torch.Generator().manual_seed(0)
    model = network(dtype)
    optimizer = RestartingSign(model.parameters(), **options)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    losses = list[float]()
    for _ in range(steps):
        batch = torch.randint(len(data.train.y), (64,), generator=draw)
        optimizer.zero_grad()
        logits = model(data.train.x[batch].to(dtype)).float()
        loss = F.cross_entropy(logits, data.train.y[batch])
        loss.backward()
        optimizer.step()
        cosine.step()
        losses.append(loss.item())
    with optimizer.evaluating(), torch.no_grad():  # the averaged weights are in place here
        right = model(data.valid.x.to(dtype)).argmax(1) == data.valid.y
    state = [x for slots in optimizer.state.values() for n, x in slots.items() if n != "step"]
    weights = parameters_to_vector(model.parameters()).detach().double()
    return {
        "losses": losses,
        "accuracy": right.double().mean().item(),
        "weights": weights,
        "state_bytes": sum(x.numel() * x.element_size() for x in state) / len(weights),
    }


def save_picture(path: Path, runs: dict[str, dict[str, Any]]) -> None:
    """The smoothed training losses by step."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for colour, (name, seen) in zip(COLOURS, runs.items(), strict=False):
        axes.plot(smooth(seen["losses"], beta=0.95), color=colour, label=name)
    axes.set(yscale="log", xlabel="step", ylabel="cross-entropy, smoothed (log scale)")
    axes.set_title("One list of rules, stored in three ways, the rate falling to 0")
    axes.grid(alpha=0.25)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="A rule of one's own among those of others.")
    parser.add_argument("--out", type=Path, default=Path("runs/user_rule"))
    parser.add_argument("--quick", action="store_true", help="200 steps, not 1,000")
    options = parser.parse_args(argv)
    check_available()
    options.out.mkdir(parents=True, exist_ok=True)
    optimizer = RestartingSign(network(torch.bfloat16).parameters(), rounding="kahan")
    source = optimizer.source()
    (options.out / "source.txt").write_text(source, encoding="utf-8")
    print(optimizer.explain(measure=False))
    steps = 200 if options.quick else 1000
    runs = {name: train(dtype, more, steps) for name, (dtype, more) in STORED.items()}
    save_picture(options.out / "losses.png", runs)
    weights = {name: seen.pop("weights") for name, seen in runs.items()}
    exact = weights["float32"]
    for name, seen in runs.items():
        seen["distance"] = ((weights[name] - exact).norm() / exact.norm()).item()
    figures = {"engine": optimizer.engine.name, "source_lines": source.count("\n")} | runs
    (options.out / "figures.json").write_text(json.dumps(figures), encoding="utf-8")
    rows = [
        [name, f"{smooth(seen['losses'], beta=0.95)[-1]:.4f}", f"{seen['accuracy']:.2%}",
         f"{seen['distance']:.1%}", f"{seen['state_bytes']:.0f}"]
        for name, seen in runs.items()
    ]  # fmt: skip
    print(f"\nits source in the {optimizer.engine.name} engine: {figures['source_lines']} lines\n")
    header = ["stored", "loss", "held out", "from float32's weights", "state bytes a parameter"]
    print(table(header, rows))
    print(f"\npicture, source and figures: {options.out}")


if __name__ == "__main__":
    main()
