"""
4 · Weight decay and L2
=======================

*L2 regularisation* adds the squares of the weights to the loss. *Weight decay* makes the weights
a little smaller at every step. For plain SGD they are the same thing, and for Adam they are not.
And in front of a BatchNorm both do something else than most people think.
"""

# %%
# In the loss, in the gradient, in the weight
# -------------------------------------------
#
# The gradient of ``wd / 2 * p**2`` is ``wd * p``. So there is no need to build the squares into
# the loss: a rule can add ``wd * p`` to the gradient. That rule is ``l2``. The third form leaves
# the gradient alone and shrinks the weight: ``decay``.

import inspect

import matplotlib.pyplot as plt
import torch
from torch import nn

import steppers
from steppers.rules import adam, average_grad, average_square, decay, descend, l2
from steppers.train.data import load_digits
from steppers.train.plots import COLOURS

print(inspect.getsource(l2))
print(inspect.getsource(decay))

# %%
# We train a small network on handwritten digits in each of the three ways, in double precision,
# so that what differs is mathematics and not rounding.

torch.set_num_threads(1)  # for so small a network several only wait for each other
batches = list(load_digits().loaders(128, seed=0).train)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).double()


def train(rules, lr, wd=0.0, in_loss=0.0, epochs=4):
    model = network()
    decays = {"weight_decay": wd} if wd else {}
    optimizer = steppers.Optimizer(model.parameters(), steps=rules, lr=lr, **decays)
    path = []
    for x, y in batches * epochs:
        loss = nn.functional.cross_entropy(model(x.double()), y)
        loss = loss + in_loss / 2 * sum(p.square().sum() for p in model.parameters())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        path.append(nn.utils.parameters_to_vector(model.parameters()).detach().clone())
    return torch.stack(path)


def apart(path, other):
    return ((path - other).norm(dim=1) / other.norm(dim=1)).tolist()


ADAM = [average_grad, average_square, adam]
figure, axes = plt.subplots(figsize=(8, 4))
rules = {"SGD": ([], 0.1), "Adam": (ADAM, 3e-3)}
print("largest distance from the weights with l2, as a share of their length")
for (name, (middle, lr)), colour in zip(rules.items(), COLOURS, strict=False):
    coupled = train([l2, *middle, descend], lr, wd=0.1)
    loss_form = train([*middle, descend], lr, in_loss=0.1)
    decoupled = train([decay, *middle, descend], lr, wd=0.1)
    far, near = apart(decoupled, coupled), apart(loss_form, coupled)
    print(f"{name:5} decay: {max(far):.0e}   squares in the loss: {max(near):.0e}")
    axes.plot(range(1, len(far) + 1), far, color=colour, linewidth=2, label=f"{name} with decay")
axes.set(yscale="log", xlabel="step", ylabel="distance / length of all weights", ylim=(1e-18, 10))
axes.set_title("How far the weights are from those trained with l2")
axes.grid(alpha=0.25)
axes.legend(frameon=False, loc="center right")
figure

# %%
# With 64 bits the rounding is about 1e-16, so what is that small is nothing. The squares in the
# loss *are* ``l2``, for both optimizers. For plain SGD ``decay`` is the same as well. For Adam it
# is another optimizer: a distance near 1 is a different network.
#
# Why Adam tells them apart
# -------------------------
#
# Adam divides by the size of recent gradients. What ``l2`` adds to the gradient is divided too,
# so a weight whose gradients are large is hardly decayed, and one with small gradients is decayed
# hard. ``decay`` takes the same share of all. Here are many weights with gradients of known size
# and mean 0, so that nothing but the decay moves them in the long run.

sizes = torch.logspace(-2, 1, 60, dtype=torch.float64)
kept = {}
for name, rules in (("l2", [l2, *ADAM, descend]), ("decay", [decay, *ADAM, descend])):
    torch.manual_seed(0)
    p = nn.Parameter(torch.ones(60, 400, dtype=torch.float64))
    optimizer = steppers.Optimizer([p], steps=rules, lr=1e-3, weight_decay=0.2)
    for _ in range(500):
        p.grad = sizes[:, None] * torch.randn_like(p)
        optimizer.step()
    kept[name] = p.detach().mean(dim=1)

figure, axes = plt.subplots(figsize=(8, 4))
for (name, values), colour in zip(kept.items(), COLOURS, strict=False):
    axes.plot(sizes, values, color=colour, linewidth=2, label=f"Adam with {name}")
axes.set(
    xscale="log", xlabel="size of the weight's gradients", ylabel="weight after 500 steps, from 1"
)
axes.set_title("decay takes the same share of all weights, l2 does not")
axes.set_ylim(0, 1.05)
axes.grid(alpha=0.25)
axes.legend(frameon=False, loc="center right")
figure

# %%
# This is why Loshchilov & Hutter (2017) took the decay out of the gradient, and why AdamW, and
# not Adam, is the one to start with. In the catalogue ``Adam`` decays as torch's does (``l2``),
# ``AdamW`` by ``decay``. A good value for the one is no good value for the other.
#
# In front of a BatchNorm
# -----------------------
#
# A BatchNorm subtracts the mean and divides by the deviation. Halve all weights before it, and
# the deviation is halved as well: the output is the same. Then a penalty on large weights cannot
# mean simpler functions. What does decay do there?


def network_with_norm():
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(32, eps=1e-12)  # with next to no eps, so that nothing else is at work
    first = nn.Linear(64, 32, bias=False)
    return nn.Sequential(nn.Flatten(), first, norm, nn.ReLU(), nn.Linear(32, 10))


normed = network_with_norm()
x, _ = batches[0]
before = normed(x)
with torch.no_grad():
    normed[1].weight.mul_(0.5)
change = (normed(x) - before).abs().max().item()
print(f"largest change of an output: {change:g}, of outputs up to {before.abs().max().item():.1f}")

# %%
# Since only the direction of these weights matters, what counts is the angle by which a step
# turns them. A gradient at weights half as long is twice as large, so one and the same rate turns
# them by four times the angle: the rate that acts is lr / \|w\|².
#
# Without decay every step makes the weights longer, because the gradient stands at right angles
# to them, and the rate that acts falls by itself. Decay stops that.


def watch(wd, steps=300, lr=0.2):
    model = network_with_norm()
    weight = model[1].weight
    rest = [p for p in model.parameters() if p is not weight]
    groups = [{"params": [weight], "weight_decay": wd}, {"params": rest}]
    optimizer = steppers.Optimizer(groups, steps=[decay, descend], lr=lr)
    lengths = []
    for i in range(steps):
        x, y = batches[i % len(batches)]
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        lengths.append(weight.detach().norm().item())
    return torch.tensor(lengths)


figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8))
for wd, colour in zip((0.0, 0.01, 0.03), COLOURS, strict=False):
    lengths = watch(wd)
    left.plot(lengths, color=colour, linewidth=2, label=f"weight decay {wd:g}")
    right.plot(0.2 / lengths**2, color=colour, linewidth=2)
left.set(xlabel="step", ylabel="|w|", title="The length of the weights", ylim=(0, None))
right.set(xlabel="step", ylabel="lr / |w|²", title="The rate that acts", ylim=(0, None))
for axes in (left, right):
    axes.grid(alpha=0.25)
figure.legend(loc="outside lower center", ncols=3, frameon=False)
figure

# %%
# So in front of a norm, decay is a way to set the learning rate (van Laarhoven 2017,
# arXiv:1706.05350). The scale and the shift of the norm itself, and biases, are another matter:
# they are usually not decayed. ``steppers.create`` leaves them out, and
# ``steppers.groups.no_decay`` makes such groups for any optimizer.
#
# What to take away
# -----------------
#
# - Squares in the loss are the rule ``l2``. For plain SGD that is ``decay``, with everything else
#   it is not.
# - Under Adam, ``l2`` decays weights with large gradients least. Take AdamW.
# - In front of a norm, decay keeps the acting rate lr / \|w\|² from falling.
# - Do not decay norms and biases.
#
# Next: :doc:`05_schedules`. ``examples/weight_decay.py`` has the long version (:doc:`/examples`).
