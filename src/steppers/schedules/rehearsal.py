"""A dry run: what a scheduler will set, found on a copy that has no parameters."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from .. import hypers
from .scheduler import Scheduler
from .values import whole

Maker = Callable[[torch.optim.Optimizer], LRScheduler]


def dry_run(
    scheduler: LRScheduler | Maker,
    steps: int,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    hypers: Sequence[str] | None = None,
) -> dict[str, list[list[float]]]:
    """The hypers of the next `steps` steps: by name, then by step, one value for each group.

    `scheduler` is ours or any of torch's, at any point of its run, or a function that makes one for
    an optimizer; then `optimizer` is given too. Everything happens on a copy: the scheduler, the
    optimizer and its groups stay as they are. Without `hypers` these are the ones that ours drives,
    and for others lr and whatever else changes. A value is given for each group that has the hyper.

    Raises TypeError for what is no scheduler, or waits for a loss (ReduceLROnPlateau); KeyError for
    a hyper that there is not.

    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=1.0)
    >>> decay = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> dry_run(decay, 3)
    {'lr': [[1.0], [0.5], [0.25]]}
    """
    count = whole("dry_run", "steps", steps, 1)
    with warnings.catch_warnings():  # torch's schedulers warn of what other ones call on them
        warnings.simplefilter("ignore", UserWarning)
        twin = understudy(scheduler, optimizer)
        names = list(hypers) if hypers is not None else candidates(twin)
        rows = recorded(twin, names, count)
    if hypers is not None or isinstance(twin, Scheduler):
        return rows
    return {name: row for name, row in rows.items() if name == "lr" or differs(row)}


class Understudy(torch.optim.Optimizer):
    """An optimizer with another's groups and defaults, empty parameters, and nothing to do."""

    def __init__(self, original: torch.optim.Optimizer) -> None:
        groups = [
            {**copied(group), "params": [torch.nn.Parameter(torch.empty(0))]}
            for group in original.param_groups
        ]
        super().__init__(groups, copied(original.defaults))

    def step(self, closure: Any = None) -> Any:
        """Do nothing."""

    # What torch's schedulers look for, to know that they were called in the right order.
    step._wrapped_by_lr_sched = True  # pyright: ignore[reportFunctionMemberAccess]  # torch's mark
    _opt_called = True


def copied(group: dict[str, Any]) -> dict[str, Any]:
    """A group's hypers, with tensors of their own."""
    kept = {k: v for k, v in group.items() if k not in ("params", "param_names")}
    for key, value in kept.items():
        kept[key] = value.detach().clone() if isinstance(value, Tensor) else copy.copy(value)
    return kept


def stand_in(original: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """An understudy that has the name of the class it stands in for, which errors show."""
    return type(type(original).__name__, (Understudy,), {})(original)


def understudy(
    scheduler: LRScheduler | Maker, optimizer: torch.optim.Optimizer | None
) -> LRScheduler:
    """A copy of the scheduler, or a new one, that drives a stand-in for the optimizer."""
    if isinstance(scheduler, LRScheduler):
        refuse_waiting(scheduler)
        own = scheduler.optimizer
        # deepcopy takes what its memo holds for an object in place of a copy.
        return copy.deepcopy(scheduler, {id(own): stand_in(own)})
    if not callable(scheduler):
        kind = type(scheduler).__name__
        raise TypeError(f"dry_run: wants a scheduler of torch's kind or a function, got {kind}")
    if optimizer is None:
        raise TypeError("dry_run: a function that makes a scheduler also needs optimizer=")
    made = scheduler(stand_in(optimizer))
    if not isinstance(cast("object", made), LRScheduler):
        raise TypeError(f"dry_run: the function must return a scheduler, got {type(made).__name__}")
    refuse_waiting(made)
    return made


def refuse_waiting(scheduler: LRScheduler) -> None:
    """Raise TypeError for a scheduler that decides by losses, alone or inside another."""
    for each in (scheduler, *getattr(scheduler, "_schedulers", ())):
        if isinstance(each, ReduceLROnPlateau):
            raise TypeError(
                "dry_run: ReduceLROnPlateau sets lr by the losses of a real run; there is nothing "
                "to show before it"
            )


def candidates(scheduler: LRScheduler) -> list[str]:
    """The hypers that ours drives, or all that are numbers in every group that has them."""
    if isinstance(scheduler, Scheduler):
        return list(scheduler.schedules)
    groups = scheduler.optimizer.param_groups
    known = dict.fromkeys(name for group in groups for name in hypers.places(group))
    return [n for n in known if all(is_number(v) for v in hypers.get(scheduler.optimizer, n))]


def is_number(value: object) -> bool:
    """True for an int, a float and a tensor of one element."""
    if isinstance(value, Tensor):
        return value.numel() == 1
    return isinstance(value, int | float) and not isinstance(value, bool)


def recorded(scheduler: LRScheduler, names: list[str], steps: int) -> dict[str, list[list[float]]]:
    """The values before each of so many steps."""
    rows: dict[str, list[list[float]]] = {name: [] for name in names}
    for _ in range(steps):
        for name, row in rows.items():
            row.append([float(v) for v in hypers.get(scheduler.optimizer, name)])
        scheduler.optimizer.step()
        scheduler.step()
    return rows


def differs(row: list[list[float]]) -> bool:
    """True where the values are not the same in all steps."""
    return any(values != row[0] for values in row)
