"""
6 · Finding a rate
==================

Of all hyper-parameters the learning rate matters most, and a minute finds one that will do. The
*finder* (Smith 2015) trains for a hundred steps while the rate rises from far too small to far
too large, and watches the loss.
"""

# %%
# A sweep
# -------
#
# We need a model, an optimizer, batches and a loss. The optimizer may be any of torch's; here it
# is our AdamW, on scikit-learn's handwritten digits.

import matplotlib.pyplot as plt
import torch
from torch import nn

import steppers
from steppers.lr_find import lr_find
from steppers.train.data import load_digits
from steppers.train.nets import small_conv_net
from steppers.train.plots import COLOURS, smooth

torch.set_num_threads(1)  # for so small a network several only wait for each other
torch.manual_seed(0)
loaders = load_digits().loaders(64, seed=0)
model = small_conv_net(8)
optimizer = steppers.AdamW(model.parameters())
before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()

found = lr_find(model, optimizer, loaders.train, nn.functional.cross_entropy)
print(found)

# %%
# The picture is the reason to look at it at all.

figure = found.plot()
figure

# %%
# Read it from left to right. At first the rate is so small that nothing happens. Then the loss
# falls, and the faster the higher the rate. At last the rate is too high: the loss turns and goes
# through the roof, and the finder stops.
#
# A good rate is where the loss falls, well before it turns. At the turn itself it is too late:
# what goes well for one step there does not go well for a thousand. ``valley`` is the middle of
# the longest fall, and the one to try first. The others are explained in :doc:`/lr_find`.
#
# Nothing has happened
# --------------------
#
# The hundred steps were not a training. Weights, BatchNorm's statistics, the optimizer's state,
# the order of the batches and all random numbers are what they were, to the bit.

after = nn.utils.parameters_to_vector(model.parameters()).detach()
print(torch.equal(before, after), len(optimizer.state), optimizer.param_groups[0]["lr"])

# %%
# Is it any good?
# ---------------
#
# Let us not take its word for it. We train with a tenth of the suggestion, with the suggestion,
# and with ten and a hundred times as much.


def train(lr, epochs=3):
    torch.manual_seed(0)
    model, losses = small_conv_net(8), []
    optimizer = steppers.AdamW(model.parameters(), lr=lr)
    for _ in range(epochs):
        for x, y in load_digits().loaders(64, seed=0).train:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


figure, axes = plt.subplots(figsize=(8, 4))
for factor, colour in zip((0.1, 1, 10, 100), COLOURS, strict=False):
    losses = smooth(train(factor * found.valley))
    label = f"{factor:g} · valley = {factor * found.valley:.1e}"
    axes.plot(losses, color=colour, linewidth=2, label=label)
axes.set(xlabel="step", ylabel="cross-entropy, smoothed", yscale="log")
axes.set_title("Three epochs at a constant rate")
axes.grid(alpha=0.25)
axes.legend(frameon=False)
figure

# %%
# A tenth is too slow. The suggestion itself is on the careful side: ten times as much is faster
# here. A hundred times is beyond the best, the loss jumps up first and falls more slowly after.
# So the finder gives the order of magnitude. With a schedule that warms up and comes down again
# (:doc:`05_schedules`) a few times ``valley`` is a good peak.
#
# Another optimizer, another rate
# -------------------------------
#
# A rate is worth nothing without the optimizer it was found for. AdamW's and Lion's steps have
# about the size of the rate itself, and of these two Lion turns sooner. SGD's have the size of
# rate times gradient, and its rates are of another order.

figure, axes = plt.subplots(figsize=(8, 4))
makers = {
    "SGD, momentum 0.9": lambda p: steppers.SGD(p, momentum=0.9),
    "AdamW": steppers.AdamW,
    "Lion": steppers.Lion,
}
for (name, make), colour in zip(makers.items(), COLOURS, strict=False):
    torch.manual_seed(0)
    model = small_conv_net(8)
    sweep = lr_find(model, make(model.parameters()), loaders.train, nn.functional.cross_entropy)
    axes.plot(sweep.lrs, sweep.smoothed, color=colour, linewidth=2, label=name)
    height = sweep.smoothed[
        min(range(len(sweep.lrs)), key=lambda i: abs(sweep.lrs[i] - sweep.valley))
    ]
    axes.plot(sweep.valley, height, "o", color=colour, markersize=9)
axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed loss")
axes.set(xlim=(1e-5, 10), ylim=(1.5, 3))
axes.set_title("The same network under three optimizers; the dot is valley")
axes.grid(alpha=0.25)
axes.legend(frameon=False, loc="lower left")
figure

# %%
# What to take away
# -----------------
#
# - Sweep the rate before the first training with a new model, batch size or optimizer.
# - Take ``found.valley``, or a few times that as the peak of a one-cycle.
# - The sweep leaves no trace, so it can also be made in the middle of a training.
#
# Next: :doc:`07_lamb`, an optimizer that scales the rate of each tensor by itself.
