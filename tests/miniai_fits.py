"""Small fits in miniai's style, for its tests: data, a network, Learners, a log of events."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from steppers.styles.miniai import Callback, DataLoaders, Learner, TrainLearner
from steppers.train import Learner as Trainer


def batches(count, seed=0, size=8):
    made = torch.Generator().manual_seed(seed)
    x = torch.randn(count, size, 4, generator=made)
    return [(one, one.sum(1).gt(0).long()) for one in x]


def data(train=5, valid=2):
    return DataLoaders(batches(train), batches(valid, 1))


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def make(*cbs, kind=TrainLearner, lr=0.1, dls=None, **options):
    return kind(net(), dls or data(), F.cross_entropy, lr=lr, cbs=list(cbs), **options)


def ours(*cbs, lr=0.1, opt_func=torch.optim.SGD, dls=None):
    """steppers' own Learner, with all its default callbacks."""
    return Trainer(net(), dls or data(), F.cross_entropy, lr, list(cbs), opt_func,
                   progress="silent")  # fmt: skip


EVERYWHERE = pytest.mark.parametrize("learner", [make, partial(make, kind=Learner), ours])


def by_hand(epochs=2, lr=0.1, zero=lambda opt: opt.zero_grad()):
    model = net()
    opt = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(epochs):
        for x, y in batches(5):
            F.cross_entropy(model(x), y).backward()
            opt.step()
            zero(opt)
    return list(model.parameters())


def same(model, params):
    pairs = zip(model.parameters(), params, strict=True)
    return all(torch.allclose(a, b, atol=1e-7) for a, b in pairs)


class Log(Callback):
    """Notes each event with its pass; raises something at one."""

    def __init__(self, at=None, error=None, training=True):
        self.seen, self.at, self.error, self.training = [], at, error, training

    def note(self, event, learn):
        self.seen.append(event)
        if event == self.at and learn.training is self.training:
            raise self.error


for _event in ("before_fit", "after_fit", "cleanup_fit", "before_epoch", "after_epoch",
               "cleanup_epoch", "before_batch", "after_predict", "after_loss", "after_backward",
               "after_step", "after_batch", "cleanup_batch"):  # fmt: skip
    setattr(Log, _event, lambda self, learn, event=_event: self.note(event, learn))

TRAIN = ["before_batch", "after_predict", "after_loss", "after_backward", "after_step",
         "after_batch", "cleanup_batch"]  # fmt: skip
EVAL = ["before_batch", "after_predict", "after_loss", "after_batch", "cleanup_batch"]
PASSES = ["before_epoch", *TRAIN, "after_epoch", "cleanup_epoch",
          "before_epoch", *EVAL, "after_epoch", "cleanup_epoch"]  # fmt: skip


class Counted:
    def __init__(self, inside):
        self.inside, self.count = inside, 0

    def __len__(self):
        return len(self.inside)

    def __iter__(self):
        for each in self.inside:
            self.count += 1
            yield each
