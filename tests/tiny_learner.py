"""Learners so small that every number of a fit can be told beforehand."""

from types import SimpleNamespace

import torch
from torch import nn

from steppers.train.callbacks.defaults import default_callbacks
from steppers.train.learner import Learner


class Passes:
    """A loader whose batches have the losses that each pass in turn is given.

    A loss is a number, or (number, items) for a batch of another size than 2.
    """

    def __init__(self, *passes):
        self.passes, self.begun = [list(each) for each in passes], 0

    def __len__(self):
        return len(self.passes[0])

    def __iter__(self):
        losses = self.passes[self.begun % len(self.passes)]
        self.begun += 1
        for each in losses:
            loss, size = each if isinstance(each, tuple) else (each, 2)
            yield torch.ones(size, 3), torch.full((size, 1), float(loss))


def told(preds, target):
    """The loss is what the target says; its gradient is 1 for every weight and item."""
    return (preds - preds.detach() + target).mean()


def tiny(train=((1.0, 2.0, 3.0),), valid=((0.5, 1.5),), cbs=(), *, shown="silent", **options):
    """A learner with the default callbacks on the losses of its passes."""
    dls = SimpleNamespace(train=Passes(*train), valid=Passes(*valid) if valid else None)
    torch.manual_seed(0)
    options = {"lr": 0.1, "opt_func": torch.optim.SGD, "wd_bn_bias": True, **options}
    defaults = default_callbacks(
        options.pop("metrics", ()),
        train_metrics=options.pop("train_metrics", False),
        progress=shown,
    )
    cbs = [*defaults[1:], *(cbs if isinstance(cbs, (list, tuple)) else [cbs])]
    return Learner(nn.Linear(3, 1), dls, told, cbs=cbs, default_cbs=False, **options)


class Stop:
    """Raises an error at an event of one batch."""

    order = 500

    def __init__(self, error, at=1, event="after_batch", training=True):
        self.error, self.at, self.training = error, at, training
        setattr(self, event, self.raised)

    def raised(self, learn):
        if learn.iter == self.at and learn.training is self.training:
            raise self.error
