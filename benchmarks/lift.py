"""What lifting gains, and what a style costs: steps of the same formula, run in several ways.

    python benchmarks/lift.py

Adam with decoupled decay and LAMB, each as fastai's callbacks: lifted, in the catalogue's form, as
the style runs them, as a plain loop over parameters and callbacks, and as one formula written out
by hand. The ways take turns, `--runs` times, each a few steps on the same parameters; a ratio is
the median over the turns of two ways' times in one turn. The bars: lifted over the catalogue 1.1,
the style over the plain loop 1.2. Written to benchmarks/results/lift.json. Where fastai itself can
be imported (`make originals`, then PYTHONPATH=.originals) its own optimizer takes turns too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

try:
    import fastai.optimizer as original
except ImportError:
    original = None

import steppers
from steppers.bench.work import SHAPES, Work
from steppers.styles import fastai, lift_all

RESULT = Path(__file__).parent / "results" / "lift.json"
STATS = [partial(fastai.average_grad, dampening=True), fastai.average_sqr_grad, fastai.step_stat]
HYPERS = dict(lr=1e-4, mom=0.9, sqr_mom=0.99, eps=1e-6)
CALLBACKS = {
    "adam": [fastai.weight_decay, *STATS, fastai.adam_step],
    "lamb": [*STATS, fastai.lamb_step],
}
OURS = {"adam": steppers.AdamW, "lamb": steppers.LAMB}
STEPS = {"resnet50": 3, "tiny": 20}  # of one turn


class PlainLoop:
    """Callbacks in order, parameter by parameter, and nothing else."""

    def __init__(self, params, callbacks, **hypers) -> None:
        self.params, self.callbacks, self.hypers = params, callbacks, hypers
        self.state = defaultdict(dict)

    @torch.no_grad()
    def step(self) -> None:
        for p in self.params:
            if p.grad is None:
                continue
            for callback in self.callbacks:
                new = callback(p, **{**self.state[p], **self.hypers})
                if isinstance(new, dict):
                    self.state[p].update(new)


class ByHand:
    """Adam or LAMB written out: one loop over parameters, state in a dict."""

    def __init__(self, params, formula: str) -> None:
        self.params, self.formula = params, formula
        self.state = defaultdict(dict)

    @torch.no_grad()
    def step(self) -> None:
        for p in self.params:
            if p.grad is None:
                continue
            state = self.state[p]
            if not state:
                state.update(step=0, m=torch.zeros_like(p), v=torch.zeros_like(p))
            self._move(p, state)

    def _move(self, p, state) -> None:
        lr, mom, sqr_mom, eps = HYPERS.values()
        if self.formula == "adam":
            p.mul_(1 - lr * 0.01)
        state["step"] += 1
        m = state["m"].mul_(mom).add_(p.grad, alpha=1 - mom)
        v = state["v"].mul_(sqr_mom).addcmul_(p.grad, p.grad, value=1 - sqr_mom)
        unbias = 1 - mom ** state["step"]
        root = (v / (1 - sqr_mom ** state["step"])).sqrt_().add_(eps)
        if self.formula == "adam":
            p.addcdiv_(m, root, value=-lr / unbias)
            return
        step = m / unbias / root
        size, change = p.pow(2).mean().sqrt(), step.pow(2).mean().sqrt()
        ratio = torch.where((size > 0) & (change > 0), (size / change).clamp(max=10.0), 1.0)
        p.sub_(step.mul_(lr * ratio))


def made(formula: str, way: str, params):
    """The optimizer that runs a formula in one of the ways."""
    decay = {"wd": 0.01} if formula == "adam" else {}
    if way == "by hand":
        return ByHand(params, formula)
    if way == "plain loop":
        return PlainLoop(params, CALLBACKS[formula], **HYPERS, **decay)
    if way == "fastai" and original is not None:
        stats = [partial(original.average_grad, dampening=True), original.average_sqr_grad]
        step = [original.weight_decay, *stats, original.step_stat, original.adam_step]
        cbs = step if formula == "adam" else [*step[1:-1], original.lamb_step]
        return original.Optimizer(params, cbs, **HYPERS, **decay)
    if way == "style":
        return fastai.Optimizer(params, CALLBACKS[formula], **HYPERS, **decay)
    if way == "lifted":
        rules = lift_all(CALLBACKS[formula])
        return steppers.Optimizer(params, steps=rules, engine="fused", **HYPERS, **decay)
    return OURS[formula](
        params, lr=1e-4, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.01, engine="fused"
    )


def turns(ways: dict[str, Callable[[], None]], steps: int, runs: int) -> dict[str, list[float]]:
    """Seconds a step of each way, in turns: A B A B."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(runs + 1):
        order = [*ways] if run % 2 else [*ways][::-1]
        for name in order:
            begin = time.perf_counter()
            for _ in range(steps):
                ways[name]()
            if run:  # the first is to warm up
                seconds[name].append((time.perf_counter() - begin) / steps)
    return seconds


def over(seconds: dict[str, list[float]], a: str, b: str) -> float:
    """The median of a's time over b's, turn by turn."""
    return statistics.median(x / y for x, y in zip(seconds[a], seconds[b], strict=True))


def measured(shapes: str, formula: str, ways: tuple[str, ...], runs: int) -> dict[str, object]:
    """The first way's time over each of the others'."""
    work = Work(shapes, tuple(SHAPES[shapes]()))
    steps = {way: made(formula, way, work.parameters()).step for way in ways}
    seconds = turns(steps, STEPS[shapes], runs)
    ratios = {f"{ways[0]} over {other}": over(seconds, ways[0], other) for other in ways[1:]}
    ms = {way: statistics.median(times) * 1e3 for way, times in seconds.items()}
    said = ", ".join(f"{way} {value:.3f} ms" for way, value in ms.items())
    for name, ratio in ratios.items():
        print(f"{shapes:9s} {formula:5s} {name}: {ratio:.3f}  ({said})", flush=True)
    return dict(shapes=shapes, formula=formula, ratios=ratios, ms=ms, seconds=seconds)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--shapes", nargs="+", choices=STEPS, default=[*STEPS])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    begin = os.getloadavg()
    theirs = ("fastai",) if original is not None else ()
    results = [
        measured(shapes, formula, ways, options.runs)
        for shapes in options.shapes
        for formula in CALLBACKS
        for ways in (("lifted", "catalogue"), ("style", "plain loop", "by hand", *theirs))
    ]
    text = {
        "command": f"python benchmarks/lift.py --runs {options.runs} --threads {options.threads}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {options.threads} threads",
        "torch": torch.__version__,
        "load": {"start": begin, "end": os.getloadavg()},
        "bars": {"lifted over catalogue": 1.1, "style over plain loop": 1.2},
        "results": results,
    }
    RESULT.write_text(json.dumps(text, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
