"""Small fits for tests of callbacks: a net, batches, and acts in the middle."""

from types import SimpleNamespace

import torch
from torch import nn

from steppers.train.learner import Learner


def batches(count, size=8):
    made = torch.Generator().manual_seed(0)
    x = torch.randn(count, size, 4, generator=made)
    return [(one, one.sum(1).gt(0).long()) for one in x]


def make(*cbs, train=10, valid=0, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    dls = SimpleNamespace(train=batches(train), valid=batches(valid) if valid else None)
    options = {"lr": 0.1, "opt_func": torch.optim.SGD, "default_cbs": False, **options}
    return Learner(model, dls, cbs=cbs, **options)


class At:
    """Calls a function at an event of the n-th training batch."""

    def __init__(self, event, n, act, order=0):
        self.n, self.act, self.order = n, act, order
        setattr(self, event, self.call)

    def call(self, learn):
        if learn.training and learn.train_iter == self.n:
            self.act(learn)


def throw(error):
    def act(learn):
        raise error

    return act
