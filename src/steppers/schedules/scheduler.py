"""A scheduler that sets any hyper of any torch optimizer from functions of the position."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from .. import hypers, names
from ..spread import spread
from .values import Schedule, number, whole

Schedules: TypeAlias = Mapping[str, Schedule | Sequence[Schedule]]
Target: TypeAlias = tuple[int, names.Place]  # a group that has the hyper, and where
STATE = ("last_epoch", "total_steps", "_step_count", "_last_lr")


class Scheduler(LRScheduler):
    """Set hypers from functions of the position in the run: k / total_steps after the k-th step.

    Used as torch's are: `scheduler.step()` after each `optimizer.step()`. It is made with the
    values at position 0 in place, and past total_steps it stays at those of position 1.

    `schedules` maps hypers, as the group names them (`lr`, `weight_decay`), elements of tuples
    (`beta1`) or fastai's names (`mom`, `wd`), to functions of a position in [0, 1]. A function
    gives a number, or a list with one for each group that has the hyper; there may also be a list
    of functions, one for each such group. Groups without the hyper are left alone.

    `state_dict` holds numbers only. As with torch's schedulers, the values themselves come back
    with the optimizer's state. `step(k)` goes to the k-th step; `last_epoch=k` starts after it.

    Raises KeyError for a hyper that no group has, TypeError for what cannot be scheduled, and
    ValueError for a value that is not finite or out of the hyper's range: at construction or in the
    step that would set it, before anything is changed.

    >>> from steppers.schedules import one_cycle, one_cycle_momentum
    >>> optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(2))])
    >>> plan = {"lr": one_cycle(0.025), "beta1": one_cycle_momentum()}
    >>> scheduler = Scheduler(optimizer, plan, total_steps=100)
    >>> scheduler.get_last_lr(), optimizer.param_groups[0]["betas"]
    ([0.001], (0.95, 0.999))
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        schedules: Schedules,
        total_steps: int,
        last_epoch: int = -1,
    ) -> None:
        check_optimizer(optimizer)
        self.optimizer = optimizer
        self.total_steps = whole("Scheduler", "total_steps", total_steps, 1)
        self.schedules = checked(optimizer, schedules)
        self._keys: list[tuple[str, ...]] = []
        self._found: dict[str, list[Target]] = {}
        self._values(whole("Scheduler", "last_epoch", last_epoch, -1) + 1)  # for its errors
        if last_epoch >= 0:  # torch asks for it, to multiply it; our values do not depend on it
            for group, lr in zip(optimizer.param_groups, self.get_lr(), strict=True):
                group.setdefault("initial_lr", lr)
        super().__init__(optimizer, last_epoch)

    # torch's own step also warns where the optimizer has not stepped yet. That is wrong where a
    # GradScaler skipped the first step, and after both were copied, so ours does not.
    def step(self, epoch: int | None = None) -> None:
        """Set the values of the next step, or of step `epoch`."""
        self._update_lr(epoch)
        self._step_count += 1

    def _update_lr(self, epoch: int | None = None) -> None:  # SequentialLR calls it with 0
        index = self.last_epoch + 1 if epoch is None else whole("Scheduler.step", "epoch", epoch, 0)
        values, groups = self._values(index), self.optimizer.param_groups
        for name, targets in self._targets().items():
            for (i, place), value in zip(targets, values[name], strict=True):
                hypers.write(groups[i], place, value)
        self.last_epoch = index
        self._last_lr = self.get_lr()

    def get_lr(self) -> list[float | Tensor]:
        """A copy of each group's present rate."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        return [lr.clone() if isinstance(lr, Tensor) else lr for lr in rates]

    def _values(self, index: int) -> dict[str, list[float]]:
        """The values of a step by hyper, one for each group that has it, all of them valid."""
        position = min(max(index, 0) / self.total_steps, 1.0)
        owner = type(self.optimizer).__name__
        return {
            name: values_at(owner, name, self.schedules[name], targets, position)
            for name, targets in self._targets().items()
        }

    def _targets(self) -> dict[str, list[Target]]:
        """Where each hyper is; found anew where a group came, went or got another key."""
        keys = [tuple(group) for group in self.optimizer.param_groups]
        if keys != self._keys:
            found = {name: hypers.having(self.optimizer, name) for name in self.schedules}
            self._found, self._keys = found, keys
        return self._found

    def state_dict(self) -> dict[str, Any]:
        """Where the run is, as plain numbers; the schedules are not in it."""
        rates = [float(lr) for lr in self._last_lr]
        return {**{key: getattr(self, key) for key in STATE}, "_last_lr": rates}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a state was saved; the optimizer's own state holds the values themselves.

        Raises KeyError for a state that is not this class's, ValueError for another total_steps.
        """
        if missing := [key for key in STATE if key not in state_dict]:
            raise KeyError(f"Scheduler: not a state of this class, it lacks {', '.join(missing)}")
        theirs, step = state_dict["total_steps"], state_dict["last_epoch"]
        if theirs != self.total_steps:
            raise ValueError(
                f"Scheduler: the state is of a run of {theirs} steps, this one has "
                f"{self.total_steps}; build it with total_steps={theirs}, or leave the state and "
                f"build it with last_epoch={step - 1} to go on at step {step} of {self.total_steps}"
            )
        whole("Scheduler", "last_epoch", step, -1)
        for key in STATE:
            value = state_dict[key]
            setattr(self, key, list(value) if isinstance(value, list) else value)


def check_optimizer(optimizer: object) -> None:
    """Raise for what torch's LRScheduler cannot drive, before it changes anything."""
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(
            f"Scheduler: optimizer must be a torch.optim.Optimizer, got {type(optimizer).__name__}"
        )
    for i, group in enumerate(optimizer.param_groups):
        if "lr" not in group:
            raise KeyError(
                f"Scheduler: group {i} of {type(optimizer).__name__} has no lr, which every "
                "scheduler of torch needs; give the group one"
            )


def checked(optimizer: torch.optim.Optimizer, schedules: Schedules) -> dict[str, Any]:
    """The schedules by name, each known to fit hypers that are numbers."""
    if not isinstance(cast("object", schedules), Mapping):
        kind = type(schedules).__name__
        raise TypeError(
            f"Scheduler: schedules must map hypers to functions, {{'lr': cos(0.1, 0)}}, got {kind}"
        )
    if not schedules:
        raise ValueError("Scheduler: schedules is empty, there is nothing to set")
    taken: dict[object, str] = {}
    for name, schedule in schedules.items():
        if not isinstance(cast("object", name), str):
            raise TypeError(f"Scheduler: a hyper is given by its name, a string, got {name!r}")
        where = hypers.having(optimizer, name)
        for place in where:
            if place in taken:
                raise ValueError(f"Scheduler: {taken[place]} and {name} are one hyper")
            taken[place] = name
        check_held(name, hypers.get(optimizer, name))
        check_schedule(name, schedule, len(where))
    return {n: list(s) if isinstance(s, Sequence) else s for n, s in schedules.items()}


def check_held(name: str, held: list[Any]) -> None:
    """Raise TypeError where a group holds something else than a number."""
    for value in held:
        if isinstance(value, tuple | list):
            raise TypeError(f"Scheduler: {name} is {value!r}; schedule its elements by their names")
        if isinstance(value, bool) or not isinstance(value, int | float | Tensor):
            raise TypeError(f"Scheduler: {name} is {value!r}; only numbers can be scheduled")


def check_schedule(name: str, schedule: object, n: int) -> None:
    """Raise for what is neither a function nor a list with one function for each group."""
    several = isinstance(schedule, Sequence)
    each = cast("Sequence[object]", schedule) if several else [schedule]
    if several and len(each) != n:
        raise ValueError(f"Scheduler: {name} has {len(each)} schedules for {n} groups with {name}")
    for one in each:
        if not callable(one):
            raise TypeError(
                f"Scheduler: {name} wants a function of the position, got {one!r}; "
                "steppers.schedules.no(value) makes a constant one"
            )


def values_at(
    owner: str,
    name: str,
    schedule: Schedule | Sequence[Callable[[float], object]],
    targets: list[Target],
    position: float,
) -> list[float]:
    """What a hyper is to be in each group that has it."""
    at = f"{name} at position {position:g}"
    given = schedule(position) if callable(schedule) else [f(position) for f in schedule]
    values = [value_of(owner, at, each) for each in spread(given, len(targets), at)]
    # Many groups have few values and places.
    for place, value in {(p, v) for (_, p), v in zip(targets, values, strict=True)}:
        try:
            hypers.check(owner, place, value)
        except ValueError as error:
            raise ValueError(f"{error} at position {position:g}") from None
    return values


def value_of(owner: str, at: str, value: object) -> float:
    """A schedule's value as a float; a tensor of one element is one too."""
    if isinstance(value, Tensor) and value.numel() == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return number(owner, at, value)
    if not math.isfinite(value):
        raise ValueError(f"{owner}: {at} must be finite, got {value!r}")
    return float(value)
