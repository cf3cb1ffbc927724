"""The learning-rate finder on a Learner's own loop."""

from __future__ import annotations

from inspect import isfunction
from typing import TYPE_CHECKING, Any

from ..lr_find import Found, Sweep, restored
from ..lr_find.sweep import Watched
from .callbacks.rate_finder import RateFinder
from .loaders import length

if TYPE_CHECKING:
    from .learner import Learner


def lr_find(
    learn: Learner,
    start_lr: Any = 1e-7,
    end_lr: Any = 10.0,
    num_it: int = 100,
    stop_div: bool | float = True,
    watch: Watched = "smoothed",
) -> Found:
    """The body of `Learner.lr_find`."""
    opt, loader = learn.opt, learn.dls.train
    if not (batches := length(loader)):
        raise ValueError("lr_find: there are no batches to train on")
    sweep = Sweep(opt, start_lr, end_lr, num_it, stop_div, watch=watch)
    attributes, cbs = dict(vars(learn)), learn.cbs
    shaping = [cb for cb in cbs if not getattr(cb, "observes", False)]
    parts = [*shaping, learn.loss_func]
    others = [part for part in parts if hasattr(part, "__dict__") and not isfunction(part)]
    with restored(learn.model, opt, others=others, loaders=[loader]):
        try:
            learn.set_cbs(shaping)
            learn.running = ()  # a callback may search within a fit: all comes back
            epochs = -(-sweep.num_it // batches)
            learn.fit(epochs, cbs=RateFinder(sweep), valid=False)
        finally:
            learn.set_cbs(cbs)
            vars(learn).update(attributes)
    return sweep.found()
