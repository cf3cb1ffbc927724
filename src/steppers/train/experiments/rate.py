"""Find a rate: the learning-rate finder on a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ... import lr_find, rng
from .. import plots
from .optimizers import maker
from .results import Table
from .runs import threads
from .settings import Contender, Setup, enter, flags, seeds_from

MEANING = {
    "valley": "in the longest fall of the loss: the one to try first",
    "slide": "where the slope settles, coming from the end",
    "minimum": "a tenth of the rate at the lowest loss",
    "steep": "where the loss falls fastest",
}


@dataclass(frozen=True)
class Finding:
    """What the finder showed of one optimizer."""

    contender: Contender
    found: lr_find.Found
    data: str
    seed: int
    asked: Mapping[str, Any]  # start_lr, end_lr, num_it

    @property
    def title(self) -> str:
        return f"rates of {self.contender.found.name} on {self.contender.setup.task}"

    @property
    def command(self) -> list[str]:
        words = ["--optimizer", self.contender.spec]
        words += flags(self.contender.setup, leave_out=("epochs", "schedule"))
        words += ["--seed", str(self.seed)] if self.seed else []
        for key, value in self.asked.items():
            words += [f"--{key.replace('_', '-')}", str(value)]
        return ["steppers", "find-lr", *words]

    @property
    def diverged(self) -> bool:
        return False

    @property
    def suggestions(self) -> dict[str, float | None]:
        """A rate by each of the four ways; None where one finds none."""
        return self.found.suggestions

    def tables(self) -> list[Table]:
        rows = [
            [name, "-" if lr is None else f"{lr:.3g}", MEANING[name]]
            for name, lr in self.suggestions.items()
        ]
        return [Table(("suggestion", "lr", "what it is"), rows, left=3)]

    def sentences(self) -> list[str]:
        what = f"{self.contender.spec}, batch {self.contender.setup.batch_size}"
        steps = f"{len(self.found.lrs)} of {self.found.num_it} steps"
        return [f"{what}: {steps}, {self.found.why}"]

    def pictures(self) -> dict[str, bytes]:
        figure = plots.new_figure(9.5, 5.6)
        axes = figure.subplots()
        self.found.plot(ax=axes)
        figure.suptitle(f"{self.contender.found.name}: {self.data}", fontsize=11)
        return {"rates": plots.to_png(figure)}

    def as_dict(self) -> dict[str, Any]:
        return {
            "data": self.data,
            "task": self.contender.setup.task,
            "optimizer": self.contender.found.name,
            "hypers": dict(self.contender.hypers),
            "batch_size": self.contender.setup.batch_size,
            "seed": self.seed,
            **self.asked,
            "steps": len(self.found.lrs),
            "why": self.found.why,
            "suggestions": self.suggestions,
        }

    def curves(self) -> list[dict[str, Any]]:
        found = self.found
        return [
            {
                "lrs": list(found.lrs),
                "losses": list(found.losses),
                "smoothed": list(found.smoothed),
            }
        ]


def find_lr(
    optimizer: str = "AdamW",
    setup: Setup | None = None,
    *,
    hypers: Mapping[str, Any] | None = None,
    seed: int = 0,
    start_lr: float = 1e-7,
    end_lr: float = 10.0,
    num_it: int = 100,
) -> Finding:
    """Train for `num_it` steps at rising rates, and say which rates look good.

    Of the setup it takes the task, its data, the batch size, threads and the device.

    Raises:
        ValueError: an unknown name, with the nearest, or a value out of its range.
        FloatingPointError: the loss diverged at once.
    """
    contender = enter(optimizer, setup or Setup(), hypers)
    seeds_from(seed, 1)
    chosen, data = contender.setup, contender.data(seed)
    rng.seed_all(seed)
    model = contender.task.model().to(chosen.device)
    loaders = data.loaders(chosen.batch_size or 1, workers=chosen.workers, seed=seed)
    asked = {"start_lr": start_lr, "end_lr": end_lr, "num_it": num_it}
    with threads(contender.threads):
        found = lr_find.lr_find(
            model,
            maker(contender.found, contender.hypers)(model),
            loaders.train,
            contender.task.loss,
            start_lr=start_lr,
            end_lr=end_lr,
            num_it=num_it,
        )
    return Finding(contender, found, data.description, seed, asked)
