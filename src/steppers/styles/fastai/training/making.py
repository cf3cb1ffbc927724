"""The optimizer as fastai's Learner makes it: of lists of parameters, with flags on norms."""

from __future__ import annotations

from typing import Any

import torch

from ....spread import spread
from ....train.layers import Layers, bound_rate, layer_groups, made, taken
from .. import mark


def layers_of(learn: Any) -> Layers:
    """Make a learner's optimizer, or take the built one, and its layer groups.

    `opt_func` gets the splitter's lists of parameters and `lr=`. Norms and biases are flagged,
    where the optimizer reads flags; torch's and ours get groups of their own for them.
    """
    opt_func: Any = learn.opt_func
    if isinstance(opt_func, torch.optim.Optimizer):
        getattr(opt_func, "clear_state", lambda: None)()
        return flagged(opt_func, learn) or taken(opt_func, learn.model)
    learn.lr = bound_rate(opt_func, learn.lr)
    lists = layer_groups(learn.model, learn.splitter)
    rates = spread(learn.lr, len(lists), "lr")
    try:
        opt: Any = opt_func(lists, lr=rates[-1])  # a fit sets all of them
    except TypeError:  # torch's classes take no lists of lists
        opt = None
    return flagged(opt, learn) or made(
        learn.model, opt_func, learn.splitter, learn.lr, learn.wd_bn_bias
    )


def flagged(opt: Any, learn: Any) -> Layers | None:
    """The layers of an optimizer with fastai's flags, which are set; None for any other."""
    if not (isinstance(opt, torch.optim.Optimizer) and hasattr(opt, "all_params")):
        return None
    mark(opt, learn.model, learn.wd_bn_bias, learn.train_bn)
    count = len(opt.param_groups)
    return Layers(opt, tuple(range(count)), (True,) * count, count)
