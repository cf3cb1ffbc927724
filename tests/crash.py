"""Kill training at random moments with SIGKILL, resume it, and compare the final weights.

    python tests/crash.py --times 50

Every trial starts a run with checkpoints, kills it some times, at a random moment or with a part of
a checkpoint written, starts it again until it ends, and compares all bits of the model, the
optimizer's state and the recorded losses with those of a run that nothing stopped. Trials take
turns: 0 and 2 loader workers.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

from steppers.catalogue import AdamW
from steppers.rng import seed_all
from steppers.train.callbacks.checkpoint import Checkpoint
from steppers.train.learner import Learner

EPOCHS, BATCHES, BATCH = 3, 12, 16


class Noisy(torch.utils.data.Dataset):
    """Points with fresh noise from torch's and Python's generators at each reading."""

    def __init__(self) -> None:
        made = torch.Generator().manual_seed(7)
        self.x = torch.randn(BATCHES * BATCH, 6, generator=made)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        noisy = self.x[i] + 0.1 * torch.randn(6) + 0.01 * random.random()
        return noisy, self.x[i].sum().gt(0).long()


def train(folder: Path, workers: int, every: int | None) -> None:
    """The whole script of one run, which goes on from a checkpoint if there is one."""
    torch.set_num_threads(1)
    seed_all(3)
    model = nn.Sequential(
        nn.Linear(6, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 2)
    )
    loader = torch.utils.data.DataLoader(Noisy(), BATCH, shuffle=True, num_workers=workers)
    learn = Learner(
        model, SimpleNamespace(train=loader, valid=None), opt_func=AdamW, progress="silent"
    )
    keeper = Checkpoint(folder / "run.pt", every, resume=True)
    learn.fit_one_cycle(EPOCHS, 1e-2, cbs=keeper)
    final = {
        "model": model.state_dict(),
        "opt": learn.opt.state_dict(),
        "losses": torch.tensor(learn.recorder.losses),
    }
    torch.save(final, folder / "final.tmp")
    os.replace(folder / "final.tmp", folder / "final.pt")


def die_in_save(number: int, written: float) -> None:
    """Have this process kill itself in its so-manieth save, with a share of the file written."""
    left = itertools.count(number - 1, -1)

    def fsync(file: int) -> None:
        if next(left) == 0:
            os.ftruncate(file, int(written * os.fstat(file).st_size))
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = fsync


def started(folder: Path, workers: int, every: int | None, die: tuple | None = None) -> int:
    """Run it in a process of its own; returns the process's number."""
    if pid := os.fork():
        return pid
    try:
        if die:
            die_in_save(*die)
        train(folder, workers, every)
    except BaseException as error:  # a child must not go on in its parent's code
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def killed(pid: int, after: float) -> bool:
    """Kill a process after some seconds, or let it kill itself before; False if it ended well."""
    deadline = time.monotonic() + after
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == -signal.SIGKILL
        time.sleep(0.001)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return True


def finished(folder: Path, workers: int, every: int | None) -> dict:
    """Run to the end and read what it left."""
    pid = started(folder, workers, every)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise RuntimeError(f"a resumed run failed with {status}")
    return torch.load(folder / "final.pt", weights_only=True)


def same(a: object, b: object) -> bool:
    """Equal in structure and in every bit of every tensor."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def trials(times: int, seed: int = 0, show=print) -> dict[str, int]:
    """Kill `times` times in all; raises AssertionError at the first run that ends otherwise."""
    draw = random.Random(seed)
    counts = {"kills": 0, "in a save": 0, "runs": 0}
    with tempfile.TemporaryDirectory() as top:
        whole = {}
        seconds = {}
        for workers in (0, 2):
            folder = Path(top, f"whole{workers}")
            folder.mkdir()
            begin = time.monotonic()
            whole[workers] = finished(folder, workers, None)
            seconds[workers] = time.monotonic() - begin
        while counts["kills"] < times:
            workers = (0, 2)[counts["runs"] % 2]
            folder = Path(top, f"run{counts['runs']}")
            folder.mkdir()
            for _ in range(draw.randint(1, 3)):
                die = (draw.randint(1, 12), draw.random()) if draw.random() < 0.5 else None
                pid = started(folder, workers, draw.choice((1, 5)), die)
                if killed(pid, 60 if die else draw.uniform(0, 1.2 * seconds[workers])):
                    counts["kills"] += 1
                    counts["in a save"] += (folder / ".run.pt.tmp").exists()
            got = finished(folder, workers, every=5)
            assert same(got, whole[workers]), f"run {counts['runs']} ({workers} workers) differs"
            counts["runs"] += 1
            show(f"{counts['kills']:3d} kills, {counts['in a save']} of them in a save, "
                 f"{counts['runs']} runs: all bits equal")  # fmt: skip
    return counts


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="kill training, resume it, compare the weights")
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    trials(options.times, options.seed)
