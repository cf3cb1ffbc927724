"""
9 · Training with the Learner
=============================

A training loop is ten lines, until it also has to validate, measure, log, clip, average, save and
go on after a crash. The ``Learner`` keeps the ten lines; everything else is a *callback*. It
trains with any torch optimizer, and it takes data and models as they are.
"""

# %%
# Model, data, loss
# -----------------

import tempfile
from pathlib import Path

import torch
from torch import nn

import steppers
from steppers.train import Learner, accuracy
from steppers.train.data import load_digits
from steppers.train.nets import small_conv_net

torch.set_num_threads(1)  # for so small a network several only wait for each other
torch.manual_seed(0)
loaders = load_digits().loaders(64, seed=0)
print(loaders.summary())

# %%
# The data is anything with a ``train`` and a ``valid`` part, each giving tuples whose last
# element is the target. ``opt_func`` makes the optimizer from parameter groups; norms and biases
# get a group without decay.

learn = Learner(
    small_conv_net(8),
    loaders,
    nn.functional.cross_entropy,
    opt_func=steppers.AdamW,
    metrics=[accuracy],
    wd=0.01,
)
found = learn.lr_find()
print(found)

# %%
# The finder left everything as it was (:doc:`06_learning_rate`). Now one cycle whose peak is a
# few times that rate; the table has a row for each epoch.

learn.fit_one_cycle(5, 4 * found.valley)

# %%
# What happened
# -------------
#
# The recorder keeps the loss of every batch and all hyper-parameters.

figure = learn.recorder.plot_loss()
figure

# %%
figure = learn.recorder.plot_hypers(["lr", "beta1"])
figure

# %%
# All of it is there as plain lists, too.

for name, value in learn.recorder.rows[-1].items():
    print(f"{name:12}{value:.4g}")
print("first losses", [round(loss, 3) for loss in learn.recorder.losses[:4]])

# %%
# And the model is a model:

x, y = next(iter(loaders.valid))
print("predicted", learn.predict(x[:10]).argmax(1).tolist())
print("in truth ", y[:10].tolist())

# %%
# Callbacks
# ---------
#
# A callback is a part of training beside the loop. Clipping, an average of the weights, and
# statistics of what the layers put out are three of some thirty (:doc:`/api/callbacks`).

from steppers.train import EMA, ActivationStats, ClipGradients

torch.manual_seed(0)
stats = ActivationStats(lambda module: isinstance(module, nn.Conv2d))
learn = Learner(
    small_conv_net(8),
    loaders,
    opt_func=steppers.AdamW,
    metrics=[accuracy],
    cbs=[ClipGradients(max_norm=1.0), EMA(decay=0.95), stats],
)
learn.fit_one_cycle(3, 1e-2)

# %%
# With ``EMA`` the validation column is that of the averaged weights. ``ActivationStats`` shows
# whether the layers are alive: means near 0, deviations not far from 1. Here it looks at the
# convolutions.

figure = stats.plot_stats()
figure

# %%
# One of your own
# ---------------
#
# A callback is any object with methods named as the events, each called with the learner. The
# loop calls ``before_`` and ``after_`` events at each level: fit, round, epoch, batch, backward,
# step. An *epoch* is one pass over the training or the validation data; the two together are a
# *round*. This one stops the fit when the loss is good enough.

from steppers.train import Callback, CancelFit


class StopWhenGood(Callback):
    def __init__(self, loss):
        self.loss = loss

    def after_round(self, learn):
        if learn.scores["valid"]["loss"] < self.loss:
            raise CancelFit


learn.fit(20, 3e-3, cbs=StopWhenGood(0.1))
print(f"stopped in epoch {learn.epoch}")

# %%
# Levels can be left early: ``CancelFit`` ends the fit, ``CancelBatch`` the batch, ``CancelStep``
# leaves out the step. What has to be cleaned up is cleaned up.
#
# Numbers for the recorder
# ------------------------
#
# To watch something else, hand the recorder a function of the learner. Here it is the norm of the
# gradients, which ``ClipGradients`` leaves on the learner. A recorder of your own takes the place
# of the default one.

from steppers.train import Recorder

watched = Learner(
    small_conv_net(8),
    loaders,
    opt_func=steppers.AdamW,
    cbs=[ClipGradients(max_norm=1.0), Recorder(norm=lambda learn: learn.grad_norm)],
    progress="silent",  # no table
)
watched.fit_one_cycle(3, 1e-2)
figure = watched.recorder.plot("norm")
figure

# %%
# Checkpoint and resume
# ---------------------
#
# ``Checkpoint`` writes a file as often as you say. With ``resume=True`` a fit goes on from the
# file if there is one, in the middle of an epoch too, and ends with the very bits of a fit that
# nothing stopped. We pull the plug at batch 30 and start again.

from steppers.train import Checkpoint


class PowerCut(Callback):
    order = 2000  # after the checkpoint

    def after_batch(self, learn):
        if learn.training and learn.train_iter == 30:
            raise RuntimeError("power cut")


def trained(*cbs):
    torch.manual_seed(0)
    model = small_conv_net(8)
    loaders = load_digits().loaders(64, seed=0)
    learn = Learner(model, loaders, opt_func=steppers.AdamW, progress="silent")
    learn.fit_one_cycle(2, 1e-2, cbs=list(cbs))
    return nn.utils.parameters_to_vector(model.parameters()).detach()


whole = trained()
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "fit.pt"
    try:
        trained(Checkpoint(file, every=10, resume=True), PowerCut())
    except RuntimeError as error:
        print(f"stopped: {error}, {file.name} has {file.stat().st_size:,} bytes")
    resumed = trained(Checkpoint(file, every=10, resume=True))

print("the same bits:", torch.equal(whole, resumed))

# %%
# What to take away
# -----------------
#
# - ``Learner(model, data, loss, opt_func=…)``, ``lr_find()``, ``fit_one_cycle(epochs, peak)``:
#   that is most of it.
# - Everything beside the loop is a callback. Yours are objects with methods named as events.
# - The recorder has every loss and hyper-parameter; its pictures are figures of matplotlib.
# - ``Checkpoint(path, every, resume=True)`` makes a run that may be killed at any time.
#
# From here: :doc:`/coming_from` if you know another library, :doc:`/api/train` for all names,
# :doc:`/examples` for longer programs.
