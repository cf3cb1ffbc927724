"""fastai's search for a learning rate: its callback, and its functions that suggest one."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch

from ....lr_find import Found, Sweep, restored, suggest
from ....lr_find.found import SUGGESTIONS
from ....train.callbacks.bars import in_notebook
from ....train.callbacks.live_graph import notebook_display
from .callback import Callback
from .events import CancelFitException, CancelValidException

# A rate, and the point of the curve to mark.
Suggestion = tuple[float | None, tuple[float, float] | None]


class LRFinder(Callback):
    """Train at a rate that rises from `start_lr` to `end_lr` over `num_it` batches (at least 6).

    The fit ends there, or where the smoothed loss is more than 4 times its best (`stop_div`, which
    may be another number of times); passes of validation are left out. Model and optimizer come
    back as they were, however it ends. A rate is every group's; lists have one for each.
    """

    order = 60
    run_valid = False

    def __init__(
        self,
        start_lr: Any = 1e-7,
        end_lr: Any = 10.0,
        num_it: int = 100,
        stop_div: bool | float = True,
    ) -> None:
        self.start_lr, self.end_lr = start_lr, end_lr
        self.num_it, self.stop_div = max(6, num_it), stop_div
        self.sweep: Any = None
        self._held = ExitStack()

    def before_fit(self) -> None:
        start, end = (in_all(self.opt, lr) for lr in (self.start_lr, self.end_lr))
        self.sweep = Sweep(self.opt, start, end, self.num_it, self.stop_div)
        self._held.enter_context(restored(self.model, self.opt))

    def before_batch(self) -> None:
        self.sweep.set_lr()

    def after_batch(self) -> None:
        if self.sweep.record(self.loss):
            raise CancelFitException

    def before_validate(self) -> None:
        raise CancelValidException

    def cleanup_fit(self) -> None:
        self._held.close()


def in_all(opt: torch.optim.Optimizer, lr: Any) -> Any:
    """One rate for each group, as fastai has it; our own finder keeps the groups' ratios."""
    return [lr] * len(opt.param_groups) if isinstance(lr, int | float) else lr


def valley(lrs: Sequence[float], losses: Sequence[float], num_it: int = 100) -> Suggestion:
    """The rate in the middle of the longest fall of the loss, and its point."""
    return _with_point(suggest.valley, lrs, losses)


def slide(
    lrs: Sequence[float],
    losses: Sequence[float],
    num_it: int = 100,
    lr_diff: int = 15,
    thresh: float = 0.005,
    adjust_value: float = 1.0,
) -> Suggestion:
    """The rate where two pointers that slide down from the end meet even slopes."""
    options = dict(lr_diff=lr_diff, thresh=thresh, adjust_value=adjust_value)
    return _with_point(partial(suggest.slide, **options), lrs, losses)


def minimum(lrs: Sequence[float], losses: Sequence[float], num_it: int = 100) -> Suggestion:
    """A tenth of the rate at the lowest loss."""
    return _with_point(suggest.minimum, lrs, losses)


def steep(lrs: Sequence[float], losses: Sequence[float], num_it: int = 100) -> Suggestion:
    """The rate where the loss falls fastest."""
    return _with_point(suggest.steep, lrs, losses)


def _with_point(
    find: Callable[..., Any], lrs: Sequence[float], losses: Sequence[float]
) -> Suggestion:
    """A suggestion of ours as fastai has it; None where the curve has none."""
    rates, curve = [float(lr) for lr in lrs], [float(loss) for loss in losses]
    rate = find(rates, curve) if rates else None
    if rate is None:
        return None, None
    nearest = min(range(len(rates)), key=lambda i: abs(rates[i] - rate))
    return rate, (rate, curve[nearest])


# What versions before 2.2 gave with suggestions=True.
OLDER: Mapping[str, Callable[..., Suggestion]] = {"lr_min": minimum, "lr_steep": steep}


def by_name(suggest_funcs: Any) -> dict[str, Callable[..., Any]]:
    """Functions by the fields that they fill: one, or several."""
    functions: list[Any] = [suggest_funcs] if callable(suggest_funcs) else list(suggest_funcs)
    return {_name(function): function for function in functions}


def suggested(found: Found, functions: Mapping[str, Callable[..., Any]]) -> Any:
    """What functions of (lrs, losses, num_it) suggest, as a namedtuple with a field for each.

    Rates and losses are tensors. A function gives (rate, point) or the rate alone; one without a
    name has its number, as _0.
    """
    lrs, losses = (torch.tensor(row, dtype=torch.float64) for row in found.curve)
    given = [function(lrs, losses, found.num_it) for function in functions.values()]
    rates = [each[0] if isinstance(each, tuple) else each for each in given]
    make: Any = namedtuple  # with fields that only the caller knows
    return make("SuggestedLRs", functions, rename=True)(*rates)


def show(found: Found, functions: Mapping[str, Callable[..., Any]]) -> None:
    """Show the curve in a notebook, with a mark for each of our suggestions; elsewhere nothing."""
    if in_notebook():
        names = [_name(function) for function in functions.values()]
        notebook_display()(found.plot([name for name in names if name in SUGGESTIONS]))


def _name(function: Any) -> str:
    inner = function.func if isinstance(function, partial) else function
    return str(getattr(inner, "__name__", type(inner).__name__))
