"""What happened in a fit: losses, hyper-parameters and anything else, batch by batch."""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..events import Callback
from . import pictures
from .hyper_history import HyperHistory
from .series import Number, Series

if TYPE_CHECKING:
    from ..learner import Learner

Row = dict[str, Any]


class Recorder(Callback):
    """Keep the training losses, all hyper-parameters, and a row of scores for each round.

    It holds the present fit: a new fit begins empty, a resumed one goes on. `learn.recorder` is the
    recorder of the last fit.

    - `losses`: the loss of each training batch. `smooth`: its running mean, a ← beta·a +
      (1 − beta)·loss from 0, over 1 − beta^count; it runs on from epoch to epoch.
    - `hypers`: from the name of each numeric hyper-parameter to a list for each batch, with the
      value of each parameter group at its step (None for a group without it).
    - `rows`: a dict a round: epoch (from 0), train_loss, valid_loss and metrics, which are the
      means of the Metrics callback, and time, in seconds. With metrics of both passes these are
      named train_ and valid_. `iters`: training batches at the end of each.
    - `values`: the series of the functions below.

    Losses that lie on an accelerator are read together, when one of these is asked for.

    Args:
        beta: how much of the smoothed loss stays at each batch, in [0, 1).
        functions: by name, functions of the learner that give a number, a tensor, or a list of
            numbers (one for each group). They are called once a training batch, after the step and
            while the gradients are there; after the batch where there is no step.

    Raises ValueError for a beta out of its range, TypeError for what cannot be called.
    """

    order = 50  # after the metrics, before what shows or writes rows
    observes = True

    def __init__(self, beta: float = 0.98, /, **functions: Callable[[Learner], Any]) -> None:
        if not 0 <= beta < 1:
            raise ValueError(f"Recorder: beta must be in [0, 1), got {beta}")
        for name, function in functions.items():
            if not callable(function):
                raise TypeError(f"Recorder: {name}= must be a function of learn, got {function!r}")
        self.beta, self.functions = beta, functions
        self._resumed = False
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.hypers, self.rows, self.iters = HyperHistory(), list[Row](), list[int]()
        self._losses = Series()
        self._series = {name: Series() for name in self.functions}
        self._smooth, self._average = list[float](), 0.0
        self._due, self._passes = False, dict[str, dict[str, float]]()
        self._began: float | None = None
        self._elapsed = 0.0  # of a round that was begun before this process

    # --- events ----------------------------------------------------------------------------------

    def before_fit(self, learn: Learner) -> None:
        learn.recorder = self
        if not self._resumed:
            self.clear()

    def before_round(self, learn: Learner) -> None:
        self._passes = {}
        self._began, self._elapsed = time.perf_counter() - self._elapsed, 0.0

    def before_epoch(self, learn: Learner) -> None:
        if learn.training:
            self.hypers.look(learn.opt.param_groups)

    def after_loss(self, learn: Learner) -> None:
        if learn.training:
            self._losses.append(learn.loss)
            self.hypers.record(learn.opt.param_groups)
            self._due = bool(self.functions)

    def after_step(self, learn: Learner) -> None:
        if self._due:
            self._call(learn)

    def after_batch(self, learn: Learner) -> None:
        if self._due:  # without a step: it was cancelled, or gradients are accumulated
            self._call(learn)

    def after_epoch(self, learn: Learner) -> None:
        name = "train" if learn.training else "valid"
        self._passes[name] = learn.scores.get(name, {})

    def after_round(self, learn: Learner) -> None:
        self.rows.append({"epoch": learn.epoch, **self.scores, "time": self._seconds()})
        self.iters.append(len(self._losses))
        self._began = None

    def cleanup_fit(self, learn: Learner) -> None:
        self._resumed, self._began = False, None

    def _call(self, learn: Learner) -> None:
        self._due = False
        for name, function in self.functions.items():
            self._series[name].append(_checked(name, function(learn)))

    def _seconds(self) -> float:
        return self._elapsed if self._began is None else time.perf_counter() - self._began

    # --- what it holds ---------------------------------------------------------------------------

    @property
    def losses(self) -> list[float]:
        """The loss of each training batch."""
        return self._losses.numbers  # pyright: ignore[reportReturnType]  # a loss is one number

    @property
    def smooth(self) -> list[float]:
        """The smoothed loss after each training batch."""
        for loss in self.losses[len(self._smooth) :]:
            self._average = self.beta * self._average + (1 - self.beta) * loss
            self._smooth.append(self._average / (1 - self.beta ** (len(self._smooth) + 1)))
        return self._smooth

    @property
    def scores(self) -> dict[str, float]:
        """The losses and metrics of the round so far, named as its row will have them."""
        train, valid = self._passes.get("train", {}), self._passes.get("valid", {})
        both = len(train) > 1  # metrics beside the loss
        shown = {f"train_{name}": value for name, value in train.items()}
        for name, value in valid.items():
            shown[f"valid_{name}" if both or name == "loss" else name] = value
        return shown

    @property
    def values(self) -> dict[str, list[Number]]:
        """What the functions gave, by name."""
        return {name: series.numbers for name, series in self._series.items()}

    def series(self, name: str) -> list[Any]:
        """One series by name: loss, smooth, a function's, a hyper's, or a column of the rows.

        Raises ValueError, with the nearest name, where there is none.
        """
        series: dict[str, list[Any]] = {"loss": self.losses, "smooth": self.smooth, **self.values}
        if name in series:
            return series[name]
        if name in self.hypers:
            return self.hypers[name]
        columns = {key: None for row in self.rows for key in row}
        if name in columns:
            return [row.get(name) for row in self.rows]
        known = [*series, *self.hypers, *columns]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        raise ValueError(f"the recorder has no {name!r}; {hint}")

    def to_dict(self) -> dict[str, Any]:
        """Everything as lists, dicts and numbers."""
        return {
            "losses": list(self.losses),
            "smooth": list(self.smooth),
            "hypers": dict(self.hypers),
            "values": self.values,
            "rows": [dict(row) for row in self.rows],
            "iters": list(self.iters),
        }

    # --- pictures: matplotlib Figures, apart from any that pyplot knows --------------------------

    def plot_loss(self, skip_start: int = 5, with_valid: bool = True) -> Any:
        """The training loss without its first batches, smoothed, and the validation loss."""
        return pictures.losses(self, skip_start, with_valid)

    def plot_hypers(self, names: str | list[str] | None = None) -> Any:
        """Hyper-parameters batch by batch; unless named, those that changed, else the rate."""
        if isinstance(names, str):
            names = [names]
        chosen = names or self.hypers.changed() or ["lr"]
        return pictures.series({name: self.series(name) for name in chosen})

    def plot_metrics(self) -> Any:
        """Losses and metrics by epoch."""
        return pictures.scores(self.rows)

    def plot(self, name: str) -> Any:
        """One series by name (see `series`)."""
        if any(name in row for row in self.rows):
            return pictures.scores(self.rows, [name])
        return pictures.series({name: self.series(name)})

    # --- state -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "hypers": self.hypers.state_dict(),
            "values": {name: _packed(values) for name, values in self.values.items()},
            "rows": [dict(row) for row in self.rows],
            "iters": list(self.iters),
            "elapsed": self._seconds(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.clear()
        self._resumed = True
        self._losses = Series(state["losses"].tolist())
        self.hypers.load_state_dict(state["hypers"])
        self.rows, self.iters = [dict(row) for row in state["rows"]], list(state["iters"])
        self._elapsed = state["elapsed"]
        for name, values in state["values"].items():
            numbers = values.tolist() if isinstance(values, Tensor) else values
            self._series[name] = Series(numbers)


def recorder_of(learn: Learner, who: str) -> Recorder:
    """The recorder among a learner's callbacks. Raises ValueError where there is none."""
    for cb in learn.cbs:
        if isinstance(cb, Recorder):
            return cb
    raise ValueError(f"{who} reads the rows of a Recorder: add Recorder() to the callbacks")


def _checked(name: str, value: Any) -> Any:
    if isinstance(value, Tensor) and not value.is_complex():
        return value
    numbers = value if isinstance(value, list | tuple) else [value]
    try:
        floats = [float(each) for each in numbers]
    except (TypeError, ValueError):
        raise TypeError(
            f"Recorder: {name} must give a number, a tensor or a list of numbers, got {value!r}"
        ) from None
    return floats if isinstance(value, list | tuple) else floats[0]


def _packed(values: list[Number]) -> Any:
    """Numbers as a tensor, which a file holds in few bytes; lists as they are."""
    plain = all(not isinstance(value, list) for value in values)
    return torch.tensor(values, dtype=torch.float64) if plain else list(values)
