"""Hypers that change while a fit runs: from functions of its position, or by torch's schedulers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.hooks import RemovableHandle

from ... import hypers
from ..events import Callback

if TYPE_CHECKING:
    from ..learner import Learner

# From a position in [0, 1) to a number, or to a list with one for each group.
Schedule = Callable[[float], Any]
# A parameter group by its index, and where it holds a hyper: a key, or an element of a tuple.
Where = tuple[int, tuple[str, int | None]]


class ParamScheduler(Callback):
    """Set hypers before each training batch from functions of `learn.progress`, k / N.

    `schedules` maps a hyper, by any name that `steppers.hypers` takes, to a function of the
    position, or to a list of functions with one for each layer group. A function gives a number, or
    a list with one for each layer group or each parameter group. Where `wd` is scheduled, groups
    that do not decay stay at 0.

    Raises KeyError, before the fit begins, for a hyper that no group has; ValueError for a value
    that is out of the hyper's range.

    >>> from steppers.schedules import cos, lin
    >>> ParamScheduler({"lr": cos(1e-3, 1e-5), "mom": lin(0.95, 0.85)}).order
    60
    """

    order = 60
    observes = True  # a search for the rate sets it instead

    def __init__(self, schedules: Mapping[str, Schedule | Sequence[Schedule]]) -> None:
        if not isinstance(cast("object", schedules), Mapping) or not schedules:
            raise TypeError(
                "ParamScheduler: wants a hyper's name for each function, like {'lr': cos(0.1, 0)}, "
                f"got {schedules!r}"
            )
        for name, schedule in schedules.items():
            _check_functions(name, schedule)
        self.schedules = dict(schedules)
        self._where: dict[str, list[Where]] = {}

    def before_fit(self, learn: Learner) -> None:
        taken: dict[object, str] = {}
        found = {name: hypers.having(learn.opt, name) for name in self.schedules}
        for name, where in found.items():
            for place in where:
                if place in taken:
                    raise ValueError(f"ParamScheduler: {taken[place]} and {name} are one hyper")
                taken[place] = name
        self._where = found  # looked up once: a batch is short

    def before_batch(self, learn: Learner) -> None:
        if learn.training:
            position, groups = learn.progress, learn.opt.param_groups
            owner, writes = type(learn.opt).__name__, list[tuple[Where, object]]()
            for name, where in self._where.items():
                row = _row(learn, name, self.schedules[name], position)
                writes += [((index, place), row[index]) for index, place in where]
            for (_, place), value in writes:
                hypers.check(owner, place, value)
            for (index, place), value in writes:
                hypers.write(groups[index], place, value)


def _check_functions(name: str, schedule: object) -> None:
    several = isinstance(schedule, Sequence)
    for one in cast("Sequence[object]", schedule) if several else [schedule]:
        if not callable(one):
            raise TypeError(
                f"ParamScheduler: {name} wants a function of the position, got {one!r}; "
                "steppers.schedules.no(value) makes a constant one"
            )


def _row(
    learn: Learner, name: str, schedule: Schedule | Sequence[Schedule], position: float
) -> list[object]:
    """What a hyper is to be in each parameter group."""
    given: Any = schedule(position) if callable(schedule) else [f(position) for f in schedule]
    given = given.tolist() if hasattr(given, "tolist") else given
    layers, count = learn.with_opt(), len(learn.opt.param_groups)
    if not isinstance(given, Sequence):
        row: list[object] = [given] * count
    elif len(given) == count:
        row = list(given)
    else:
        row = layers.by_group(given, name)
    if name in ("wd", "weight_decay"):
        row = [value if on else 0.0 for value, on in zip(row, layers.decays, strict=True)]
    return row


def on_step(opt: torch.optim.Optimizer, call: Callable[[], None]) -> RemovableHandle:
    """Call `call` after each step that an optimizer makes.

    Not after one that a GradScaler left out: it does not call the optimizer then, or it gives it
    `found_inf`, which asks it to change nothing.
    """

    def stepped(opt: Any, _args: object, _options: object) -> None:
        found = getattr(opt, "found_inf", None)
        if found is None or not (found.item() if isinstance(found, Tensor) else found):
            call()

    return opt.register_step_post_hook(stepped)


class TorchSchedule(Callback, ABC):
    """A torch scheduler for one fit: made as it begins, and its traces removed as it ends.

    Its base rates are those of this fit. A fit with `start_epoch` begins at that epoch's place.
    """

    order = 60
    observes = True  # a search for the rate sets it instead
    monitor: str | None = None

    def __init__(self, make: Callable[[torch.optim.Optimizer], Any]) -> None:
        if not callable(make):
            raise TypeError(
                f"{type(self).__name__}: wants a function from the optimizer to a scheduler, like "
                f"lambda opt: CosineAnnealingLR(opt, 100), got {make!r}"
            )
        self.make = make
        self.scheduler: Any = None
        self.stepped = False  # the optimizer made a step since the scheduler's last one
        self._undo: list[Callable[[], object]] = []

    @abstractmethod
    def steps_an_epoch(self, learn: Learner) -> int:
        """How many of its steps an epoch makes, as far as that is known beforehand."""

    def before_fit(self, learn: Learner) -> None:
        opt, self.stepped = learn.opt, False
        if not any(cb._undo for cb in learn.cbs if isinstance(cb, TorchSchedule)):
            self._undo = [_before_first(opt)]
        self.scheduler = self.make(opt)
        _check_scheduler(type(self).__name__, self.scheduler, self.monitor)
        self._undo.append(on_step(opt, self._note).remove)
        for _ in range(learn.epochs.start * self.steps_an_epoch(learn)):
            opt._opt_called = True  # pyright: ignore[reportAttributeAccessIssue]  # no warning
            self.scheduler.step()

    def _note(self) -> None:
        self.stepped = True

    def advance(self, *metric: float) -> None:
        """The scheduler's step, if the optimizer has made one."""
        if self.stepped:
            self.stepped = False
            self.scheduler.step(*metric)

    def cleanup_fit(self, learn: Learner) -> None:
        for undo in reversed(self._undo):
            undo()
        self._undo = []

    def state_dict(self) -> dict[str, Any]:
        if self.scheduler is None:
            return {}
        return {"scheduler": self.scheduler.state_dict(), "stepped": self.stepped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, in a fit that has begun; the rates come with the optimizer's."""
        if state and self.scheduler is None:
            raise RuntimeError(f"{type(self).__name__}: a fit must have begun, to load its state")
        if state:
            self.scheduler.load_state_dict(state["scheduler"])
            self.stepped = state["stepped"]


def _check_scheduler(owner: str, scheduler: Any, monitor: str | None) -> None:
    """Raise TypeError for what is no scheduler, and where a metric is missing or one too many."""
    kind = type(scheduler).__name__
    if not (callable(getattr(scheduler, "step", None)) and hasattr(scheduler, "state_dict")):
        raise TypeError(f"{owner}: the function must return a scheduler, got {scheduler!r}")
    if isinstance(scheduler, ReduceLROnPlateau) and monitor is None:
        raise TypeError(f"{owner}: {kind} needs a metric: use EpochSched(make, monitor='loss')")
    if monitor is not None and not isinstance(scheduler, ReduceLROnPlateau):
        raise TypeError(f"{owner}: {kind} takes no metric, leave monitor={monitor!r} out")


def _before_first(opt: torch.optim.Optimizer) -> Callable[[], None]:
    """Make ready for a fit's first scheduler; gives what puts all back after its last one."""
    held, own_step = [dict(group) for group in opt.param_groups], "step" in vars(opt)
    for group in opt.param_groups:
        group.pop("initial_lr", None)  # an earlier fit's, which torch's schedulers would keep
    return lambda: _restore(opt, held, own_step)


def _restore(opt: torch.optim.Optimizer, held: list[dict[str, Any]], own_step: bool) -> None:
    """Take from the groups the keys that a scheduler added, and its wrapper from `step`."""
    for group, before in zip(opt.param_groups, held, strict=False):
        for key in [key for key in group if key not in before]:
            del group[key]
        if "initial_lr" in before:
            group["initial_lr"] = before["initial_lr"]
    if not own_step:
        vars(opt).pop("step", None)


class BatchSched(TorchSchedule):
    """Step a torch scheduler after each training batch in which the optimizer made a step.

    Batches whose gradients are only accumulated, and steps that a GradScaler leaves out, do not
    count. `make` gets the optimizer and returns the scheduler.

    >>> from torch.optim.lr_scheduler import OneCycleLR
    >>> BatchSched(lambda opt: OneCycleLR(opt, max_lr=0.1, total_steps=300)).order
    60
    """

    def steps_an_epoch(self, learn: Learner) -> int:
        return learn.n_iter

    def after_batch(self, learn: Learner) -> None:
        if learn.training:
            self.advance()


class EpochSched(TorchSchedule):
    """Step a torch scheduler after each training pass in which the optimizer made a step.

    `monitor` is for ReduceLROnPlateau: the name of a validation score, "loss" or a metric's. The
    scheduler steps with it after the round, once the validation has given it.
    """

    def __init__(
        self, make: Callable[[torch.optim.Optimizer], Any], monitor: str | None = None
    ) -> None:
        super().__init__(make)
        self.monitor = monitor

    def steps_an_epoch(self, learn: Learner) -> int:
        return 0 if self.monitor else 1

    def after_epoch(self, learn: Learner) -> None:
        if learn.training and self.monitor is None:
            self.advance()

    def after_round(self, learn: Learner) -> None:
        if self.monitor is not None:
            scores = learn.scores["valid"]
            if self.monitor not in scores:
                raise KeyError(
                    f"EpochSched: there is no validation score {self.monitor!r}; there are "
                    f"{', '.join(scores) or 'none'}"
                )
            self.advance(scores[self.monitor])
