"""Fits of fastai's style so small that their events and numbers can be told beforehand."""

from types import SimpleNamespace

import torch
from torch import nn

from steppers.styles.fastai.training import Callback, Learner, ProgressCallback, synth_learner

BATCH_V = ["before_batch", "after_pred", "after_loss", "after_batch"]
BATCH_T = [*BATCH_V[:3], "before_backward", "after_backward", "before_step", "after_step",
           "after_batch"]  # fmt: skip
TRAIN = ["before_train", *BATCH_T, *BATCH_T, "after_train"]
VALID = ["before_validate", *BATCH_V, "after_validate"]
EPOCH = ["before_epoch", *TRAIN, *VALID, "after_epoch"]


def learner(cbs=None, default_cbs=False, **options):
    """Two training batches and one of validation, all the same; SGD of torch's at 0.1."""
    torch.manual_seed(0)
    batches = [(torch.ones(2, 3), torch.tensor([0, 1]))] * 3
    dls = SimpleNamespace(train=batches[:2], valid=batches[:1])
    options = {"opt_func": torch.optim.SGD, "lr": 0.1, **options}
    return Learner(dls, nn.Linear(3, 2), nn.functional.cross_entropy, cbs=cbs,
                   default_cbs=default_cbs, **options)  # fmt: skip


class Log(Callback):
    """Notes every event; raises something at one of them, by its number."""

    def __init__(self, place=-1, error=None):
        self.seen, self.place, self.error = [], place, error

    def __call__(self, event_name):
        self.seen.append(event_name)
        if len(self.seen) == self.place + 1:
            raise self.error


def quiet(**options):
    """fastai's learner of a line, always the same, that shows nothing."""
    torch.manual_seed(0)
    learn = synth_learner(**options)
    learn.remove_cb(ProgressCallback)
    learn.logger = lambda row: None
    return learn
