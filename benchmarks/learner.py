"""What the Learner costs over a loop written by hand, on the digits net at batch 64.

    python benchmarks/learner.py

Three ways take turns, each a fit of `--epochs` epochs with validation from the same weights: by
hand, the Learner with its default callbacks but the progress bar, and with the bar. The figures are
the medians over `--runs` turns of each way's time over the hand loop's of the same turn; the bars
are 3 % and 5 %. Written to benchmarks/results/learner.json.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import statistics
import time
from pathlib import Path

import torch
from torch import nn

import steppers
from steppers import groups
from steppers.train.callbacks.progress import Progress
from steppers.train.data import load_data
from steppers.train.learner import Learner
from steppers.train.metrics import accuracy
from steppers.train.nets import small_conv_net

RESULT = Path(__file__).parent / "results" / "learner.json"


def by_hand(dls, epochs: int) -> None:
    """The same work by hand: the same groups, no schedule, the loss and accuracy of each epoch."""
    model = small_conv_net()
    opt = steppers.AdamW(groups.no_decay(model, weight_decay=1e-2), lr=1e-3)
    for _ in range(epochs):
        model.train()
        for x, y in dls.train:
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            opt.step()
            opt.zero_grad()
        model.eval()
        total = right = count = 0.0
        with torch.no_grad():
            for x, y in dls.valid:
                out = model(x)
                total += nn.functional.cross_entropy(out, y).item() * len(y)
                right += (out.argmax(1) == y).sum().item()
                count += len(y)


def by_learner(dls, epochs: int, bar: bool) -> None:
    shown = Progress("bar" if bar else "silent", write=io.StringIO().write)
    learn = Learner(small_conv_net(), dls, lr=1e-3, cbs=shown, opt_func=steppers.AdamW,
                    metrics=[accuracy])  # fmt: skip
    learn.fit(epochs)


def timed(run, *args) -> float:
    torch.manual_seed(0)
    begin = time.perf_counter()
    run(*args)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)  # the net is small
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dls = load_data("digits").loaders(64, seed=0)
    ways = {"by hand": (by_hand, dls, options.epochs),
            "Learner": (by_learner, dls, options.epochs, False),
            "Learner with its bar": (by_learner, dls, options.epochs, True)}  # fmt: skip
    for way in ways.values():
        timed(*way)  # warm
    seconds = {name: [] for name in ways}
    for turn in range(options.runs):
        for name in [*ways][turn % 3 :] + [*ways][: turn % 3]:
            seconds[name].append(timed(*ways[name]))
    batches = options.epochs * len(dls.train)
    result = {
        "command": f"python benchmarks/learner.py --runs {options.runs} --epochs {options.epochs}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {options.threads} threads",
        "torch": torch.__version__,
        "load": os.getloadavg(),
        "ms_a_batch": statistics.median(seconds["by hand"]) / batches * 1e3,
        "seconds": seconds,
        "over_by_hand": {
            name: statistics.median(a / b for a, b in zip(times, seconds["by hand"], strict=True))
            for name, times in seconds.items()
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"{result['ms_a_batch']:.2f} ms a training batch by hand, its validation included")
    for name, ratio in result["over_by_hand"].items():
        print(f"{name:22s} {ratio:.3f}")


if __name__ == "__main__":
    main()
