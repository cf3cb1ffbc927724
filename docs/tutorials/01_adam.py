"""
1 · Adam from three functions
=============================

An optimizer in steppers is a short list of plain functions, called *rules*. In this lesson we write
Adam as three of them, run it, and hold it against ``torch.optim.Adam``.
"""

# %%
# Three rules
# -----------
#
# A rule says in its signature what it reads and keeps, and in the dict that it returns what it
# changes. It names no optimizer, no device and no dtype, and changes nothing in place.

import torch

import steppers
from steppers.ops import sqrt, square, zeros


def averages(g, exp_avg=zeros, exp_avg_sq=zeros, *, beta1=0.9, beta2=0.999):
    exp_avg = beta1 * exp_avg + (1 - beta1) * g
    exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * square(g)
    return dict(exp_avg=exp_avg, exp_avg_sq=exp_avg_sq)


def direction(exp_avg, exp_avg_sq, *, t, beta1=0.9, beta2=0.999, eps=1e-8):
    mean = exp_avg / (1 - beta1**t)
    spread = exp_avg_sq / (1 - beta2**t)
    return dict(u=mean / (sqrt(spread) + eps))


def descend(p, u, *, lr):
    return dict(p=p - lr * u)


# %%
# Read the first signature from left to right:
#
# - ``g`` is the gradient. It is one of the names that are always there: ``p`` is the parameter,
#   ``u`` the direction to go, ``t`` the number of this step, counted from 1.
# - ``exp_avg=zeros`` is a *slot*: a tensor kept from step to step, one for each parameter, that
#   starts as zeros. The rule that gives the default keeps the slot. ``direction`` names
#   ``exp_avg`` without one, so it only reads what ``averages`` has just returned.
# - What stands behind the ``*`` are *hyper-parameters*: numbers that you may change at any time.
#
# A rule is a function like any other. Call it with tensors to see what it does.

g = torch.tensor([1.0, -2.0])
print(averages(g, torch.zeros(2), torch.zeros(2)))

# %%
# A chain
# -------
#
# The rules in their order are a *chain*, and a chain is all that an optimizer needs. The gradient
# goes in at the top, and what the last rule returns as ``p`` is the new parameter.

weights = [torch.nn.Parameter(torch.tensor([3.0, -2.0]))]
optimizer = steppers.Optimizer(weights, steps=[averages, direction, descend], lr=0.1)

for _ in range(3):
    optimizer.zero_grad()
    loss = weights[0].square().sum()
    loss.backward()
    optimizer.step()
    print(f"loss {loss.item():.4f}, weights {weights[0].tolist()}")

# %%
# It is a ``torch.optim.Optimizer``: schedulers, gradient scalers, trainers and checkpoints take
# it like any other.

print(isinstance(optimizer, torch.optim.Optimizer))
print(optimizer.state[weights[0]])

# %%
# A class
# -------
#
# Give the list a name and defaults, and it is an optimizer like those of ``torch.optim``.


class Adam(steppers.Optimizer):
    """Adam: debiased averages of gradient and square (Kingma & Ba 2014, arXiv:1412.6980)."""

    steps = averages, direction, descend
    defaults = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8)


# %%
# Is it Adam? We train the same small network twice, with this class and with torch's, on the same
# data, and compare the losses and the weights.


def train(make, steps=200):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.Tanh(), torch.nn.Linear(32, 1))
    x = torch.randn(256, 8)
    y = torch.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:3]
    optimizer, losses = make(model.parameters(), lr=1e-2), []
    for _ in range(steps):
        loss = (model(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, torch.nn.utils.parameters_to_vector(model.parameters()).detach()


ours, our_weights = train(Adam)
torchs, torchs_weights = train(torch.optim.Adam)
furthest = (our_weights - torchs_weights).abs().max().item()
print(f"after 200 steps no weight differs by more than {furthest:.1e}")

# %%
# What is left is rounding: 32-bit numbers have about seven digits, and the two add and divide in
# another order.

import matplotlib.pyplot as plt

from steppers.train.plots import COLOURS

figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
axes.plot(torchs, color=COLOURS[1], linewidth=5, alpha=0.6, label="torch.optim.Adam")
axes.plot(ours, color=COLOURS[0], linewidth=1.4, label="three rules")
axes.set(xlabel="step", ylabel="mean squared error", title="The same path", yscale="log")
axes.grid(alpha=0.25)
axes.legend(frameon=False)
figure

# %%
# One of the three by another
# ---------------------------
#
# Rules are worth writing because they go together with others. Weight decay, clipping and the
# rest of the catalogue are rules too (:doc:`/api/rules`). Here is our Adam with its gradients
# clipped and with decoupled decay, which makes it an AdamW. Nothing in the three rules has
# changed.

from steppers.rules import clip_by_global_norm, decay

optimizer = steppers.Optimizer(
    [torch.nn.Parameter(torch.randn(4, 3))],
    steps=[clip_by_global_norm, decay, averages, direction, descend],
    lr=1e-3,
    weight_decay=0.1,
    max_norm=1.0,
)
print(optimizer)

# %%
# If rules do not fit together you hear so when the list is made, not in the middle of a training.

try:
    steppers.Optimizer([torch.nn.Parameter(torch.randn(3))], steps=[direction, descend], lr=0.1)
except TypeError as error:
    print(error)

# %%
# What to take away
# -----------------
#
# - A rule is a pure function. Its signature is its declaration: names it reads, slots it keeps,
#   hyper-parameters behind the ``*``. It returns a dict of new values.
# - A chain of rules is an optimizer, with or without a class around it.
# - The lines above are all the mathematics there is. They run as generated kernels, one pass over
#   memory (lesson 8 shows them).
#
# Next: :doc:`02_groups_and_state`, where hyper-parameters and slots live. The whole form of a
# rule is in :doc:`/rules`.
