"""A sweep: the learning rates to try one after the other, and what the losses said."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Real
from typing import Literal, TypeAlias, cast, get_args

import torch
from torch import Tensor

from .. import hypers
from ..spread import spread
from .found import Found

FEWEST = 6  # steps of a sweep
DIVERGED = 4.0  # times the best loss
Watched: TypeAlias = Literal["smoothed", "raw"]


class Sweep:
    """The rates of a finder, set step by step in any torch optimizer's groups.

    Before step k, from 0, `set_lr()` sets lr to start * (end / start)^(k / num_it). After it
    `record(loss)` says whether that was the last: after num_it steps (fewer than 6 count as 6), at
    a loss that is not finite, and, with `stop_div`, when the smoothed loss has passed 4 times its
    best. `stop_div` may be another number of times; with `watch="raw"` it is the loss of the batch
    that is compared with the best of a batch. Smoothed is the running mean with weight `beta`,
    debiased.

    A single `start_lr` or `end_lr` is the last group's; the others keep their ratio to it (of
    `initial_lr`, where a scheduler has left one). Lists and slices give each group its own, and
    then a single number beside them is every group's (see `steppers.spread`).

    With several processes (torch.distributed) the mean of their losses counts, so that all stop at
    the same step: run the sweep in each of them. It changes the optimizer's lr and nothing else;
    see `restored`.

    Raises ValueError for rates that are not above 0 or do not rise and for a stop_div not above 1,
    KeyError for an optimizer without lr; nothing is set then.

    >>> weight = torch.nn.Parameter(torch.ones(()))
    >>> optimizer = torch.optim.SGD([weight], lr=0.1)
    >>> sweep = Sweep(optimizer, start_lr=1e-2, end_lr=1.0, num_it=8)
    >>> for lr in sweep:
    ...     _ = sweep.record(1.0)
    >>> [round(lr, 4) for lr in sweep.lrs[:5]]
    [0.01, 0.0178, 0.0316, 0.0562, 0.1]
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        start_lr: object = 1e-7,
        end_lr: object = 10.0,
        num_it: int = 100,
        stop_div: bool | float = True,
        *,
        watch: Watched = "smoothed",
        beta: float = 0.98,
    ) -> None:
        _check(optimizer, num_it, beta)
        self.optimizer, self.stop_div, self.beta = optimizer, stop_div, beta
        self.watch: Watched = watch
        self.times = _times(stop_div, watch)
        self.num_it = max(FEWEST, num_it)
        self.starts, self.ends = _ends(optimizer, start_lr, end_lr)
        self.lrs: list[float] = []  # the last group's
        self.losses: list[float] = []
        self.smoothed: list[float] = []
        self.why = ""  # it stopped; empty while it goes on
        self._best = math.inf

    def rates(self, step: int) -> list[float]:
        """Each group's lr at a step."""
        part = step / self.num_it
        return [
            a * (b / a) ** part if a else 0.0 for a, b in zip(self.starts, self.ends, strict=True)
        ]

    def set_lr(self) -> float:
        """Set the next step's lr in all groups; gives the last group's."""
        if self.why:
            raise RuntimeError(f"the sweep is over: {self.why}")
        rates = self.rates(len(self.losses))
        hypers.put(self.optimizer, "lr", rates)
        return rates[-1]

    def record(self, loss: Tensor | float) -> bool:
        """Take a step's loss, from before its update; True if the sweep is over."""
        if self.why:
            raise RuntimeError(f"the sweep is over: {self.why}")
        value = _mean_of_processes(loss)
        self.lrs.append(self.rates(len(self.losses))[-1])
        self.losses.append(value)
        # The debiased mean as a step towards the loss: exact for losses that do not change.
        old = self.smoothed[-1] if self.smoothed else 0.0
        share = (1 - self.beta) / (1 - self.beta ** len(self.losses))
        self.smoothed.append(old + share * (value - old))
        self._best = min(self._best, self._watched())
        self.why = self._end()
        return bool(self.why)

    def _end(self) -> str:
        """Why the sweep is over; empty if it goes on."""
        last, best, times = self._watched(), self._best, self.times
        if not math.isfinite(self.losses[-1]):
            return f"the loss is {self.losses[-1]}"
        # For a best loss below 0: as far above it as times - 1 times its size, too.
        if times and last > max(times * best, (2 - times) * best):
            return f"the {self.watch} loss, {last:.4g}, ran far above its best, {best:.4g}"
        return "all steps are taken" if len(self.losses) >= self.num_it else ""

    def _watched(self) -> float:
        """The last loss that is compared with the best."""
        return self.losses[-1] if self.watch == "raw" else self.smoothed[-1]

    def __iter__(self) -> Iterator[float]:
        """Set lr and give it, until the sweep is over; `record` each step's loss in between."""
        while not self.why:
            done = len(self.losses)
            yield self.set_lr()
            if len(self.losses) != done + 1:
                raise RuntimeError("each step of a sweep needs one sweep.record(loss)")

    def found(self) -> Found:
        """What the sweep has shown so far.

        Raises FloatingPointError if the loss diverged before there was enough to suggest anything
        from, RuntimeError if nothing has been recorded.
        """
        if not self.losses:
            raise RuntimeError("the sweep has no losses yet; record(loss) after each step")
        self._refuse_early()
        return Found(
            tuple(self.lrs), tuple(self.losses), tuple(self.smoothed), self.num_it,
            self.why or "it was not finished", tuple(self.starts), tuple(self.ends),
        )  # fmt: skip

    def _refuse_early(self) -> None:
        finite = sum(map(math.isfinite, self.losses))
        if finite == 0:
            raise FloatingPointError(
                f"lr_find: the first loss is {self.losses[0]}, before any step: look at the data, "
                "the model or the loss; no learning rate helps"
            )
        ended = len(self.losses) >= self.num_it or not self.why
        if not ended and finite < min(self.num_it, self.num_it // 10 + 8):
            raise FloatingPointError(
                f"lr_find: diverged at step {len(self.losses)} of {self.num_it}, at lr "
                f"{self.lrs[-1]:.3g}, too early to suggest anything: {self.why}; start lower, say "
                f"with start_lr={self.starts[-1] / 1000:.3g}, or pass stop_div=False if the losses "
                "only scatter"
            )


def _check(optimizer: object, num_it: object, beta: float) -> None:
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer must be a torch optimizer, got {type(optimizer).__name__}")
    if isinstance(num_it, bool) or not isinstance(num_it, int) or num_it < 1:
        raise ValueError(f"num_it must be a whole number of steps from 1 on, got {num_it!r}")
    if not 0 <= beta < 1:
        raise ValueError(f"beta must be in [0, 1), got {beta!r}")


def _times(stop_div: object, watch: object) -> float | None:
    """How many times its best a loss may be; None without such an end."""
    if watch not in get_args(Watched):
        raise ValueError(f"watch must be 'smoothed' or 'raw', got {watch!r}")
    if isinstance(stop_div, bool):
        return DIVERGED if stop_div else None
    if not isinstance(stop_div, Real):  # NumPy's numbers too
        raise TypeError(
            f"stop_div must be True, False or a number of times the best loss, got {stop_div!r}"
        )
    times = float(stop_div)
    if not 1 < times < math.inf:
        raise ValueError(
            f"stop_div must be above 1, as a number of times the best loss, got {stop_div!r}; "
            "False leaves that end out"
        )
    return times


def check_loss(loss: object) -> None:
    """Raise ValueError for a tensor of several numbers, TypeError for what is no number."""
    if isinstance(loss, Tensor):
        if loss.numel() != 1:
            raise ValueError(f"a loss is one number, got a tensor of shape {tuple(loss.shape)}")
    elif not hasattr(loss, "__float__"):
        raise TypeError(f"a loss is one number, got {type(loss).__name__}")


def _mean_of_processes(loss: Tensor | float) -> float:
    """The loss as a number; with several processes the mean of theirs."""
    check_loss(loss)
    value = float(loss.detach() if isinstance(loss, Tensor) else loss)
    several = torch.distributed.is_available() and torch.distributed.is_initialized()
    if not several or torch.distributed.get_world_size() == 1:
        return value
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    total = torch.tensor(value, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(total)
    return total.item() / torch.distributed.get_world_size()


def _ends(
    optimizer: torch.optim.Optimizer, start: object, end: object
) -> tuple[list[float], list[float]]:
    """Each group's first and last rate."""
    where = hypers.having(optimizer, "lr")
    single = all(not _several(value) for value in (start, end))
    ratios = _ratios(optimizer, where) if single else [1.0] * len(where)
    starts = [_number("start_lr", x) for x in spread(start, len(where), "start_lr")]
    ends = [_number("end_lr", x) for x in spread(end, len(where), "end_lr")]
    for a, b in zip(starts, ends, strict=True):
        if not a < b:
            raise ValueError(f"end_lr must be above start_lr, got start_lr={a} and end_lr={b}")
    pairs = [[x * ratio for x, ratio in zip(row, ratios, strict=True)] for row in (starts, ends)]
    return pairs[0], pairs[1]


def _several(value: object) -> bool:
    return isinstance(value, (slice, list, tuple)) or bool(getattr(value, "ndim", 0))


def _ratios(
    optimizer: torch.optim.Optimizer, where: list[tuple[int, tuple[str, int | None]]]
) -> list[float]:
    """Each group's lr by the last group's."""
    groups = [optimizer.param_groups[index] for index, _ in where]
    rates = [group.get("initial_lr", group["lr"]) for group in groups]
    if all(rate is None for rate in rates):  # found by the optimizer itself, until it is set
        return [1.0] * len(rates)
    rates = [math.nan if rate is None else float(rate) for rate in rates]
    if len(set(rates)) == 1:
        return [1.0] * len(rates)
    if not (0 < rates[-1] < math.inf and all(rate >= 0 for rate in rates)):
        raise ValueError(
            f"the groups have lr {rates}, which have no ratios to the last; give start_lr and "
            "end_lr as lists with one value for each group"
        )
    return [rate / rates[-1] for rate in rates]


def _number(name: str, value: object) -> float:
    try:
        number = float(cast("float", value))
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be a number, got {value!r}") from error
    if isinstance(value, (bool, str)) or not 0 < number < math.inf:
        raise ValueError(f"{name} must be a number above 0, got {value!r}")
    return number
