"""
3 · Momentum and debiasing
==========================

Gradients of small batches are noisy. Momentum goes along an average of the recent ones. How long
should it remember, where does the average begin, and what does debiasing mend? We feed rules with
numbers that we know and look.
"""

# %%
# An optimizer as an instrument
# -----------------------------
#
# A chain does what its rules say, so it can also show us an average. Here the values are
# "gradients", a rule averages them, and the last rule stores the average as the parameter.

import matplotlib.pyplot as plt
import torch

import steppers
from steppers.ops import lerp, where, zeros
from steppers.train.plots import COLOURS

BETAS = (0.5, 0.7, 0.9, 0.99)


def average(g, mean=zeros, *, momentum):
    mean = lerp(mean, g, 1 - momentum)  # momentum * mean + (1 - momentum) * g
    return dict(mean=mean, u=mean)


def show(u):
    return dict(p=u)


def follow(rules, values):
    """For each momentum the path of the average, one optimizer with a group for each."""
    points = [torch.zeros(()) for _ in BETAS]
    groups = [{"params": [p], "momentum": beta} for p, beta in zip(points, BETAS, strict=True)]
    optimizer = steppers.Optimizer(groups, steps=[*rules, show])
    paths = []
    for value in values:
        for p in points:
            p.grad = value
        optimizer.step()
        paths.append(torch.stack(points))
    return torch.stack(paths).T


torch.manual_seed(0)
x = torch.linspace(-4, 4, 200)
curve = 1 - (x / 3) ** 2
values = curve + 0.1 * torch.randn(200)
values[0] = 0.5  # the first batch is misleading
paths = follow([average], values)


# %%
# The numbers are a curve with noise, and the first of them is far off. A ``momentum`` (β) of 0.9
# gives every new value a tenth of the say: the average remembers about ten values, 0.99 about a
# hundred.


def draw(paths, title):
    figure, panels = plt.subplots(2, 2, figsize=(9, 6), sharex=True, sharey=True)
    for axes, beta, path, colour in zip(panels.flat, BETAS, paths, COLOURS, strict=False):
        axes.plot(x, values, ".", color="0.8", markersize=3)
        axes.plot(x, curve, color="0.4", linewidth=1, linestyle="--", label="without noise")
        axes.plot(x, path, color=colour, linewidth=2, label=f"β = {beta}")
        axes.legend(frameon=False, loc="lower center", fontsize=9)
        axes.set_ylim(-1.1, 1.5)
        axes.grid(alpha=0.25)
    figure.suptitle(title)
    figure.supxlabel("position on the curve, in the order of the steps")
    figure.supylabel("value")
    return figure


figure = draw(paths, "A running average that starts at 0")
figure

# %%
# Two things are to be seen. The more is remembered, the smoother the line, and the later it
# comes: with β = 0.99 the average rises long after the curve has begun to fall. And all four
# start at 0, far above the first values here, because the average believes in zeros that it never
# saw.
#
# Debiasing
# ---------
#
# After ``t`` values the weights in the average sum to 1 − β\ :sup:`t`, not to 1. The rest is the
# weight of the zero at the start. Divide by that sum and the average is one of values that were
# there. That is all that debiasing is.


def debias(u, *, t, momentum):
    return dict(u=u / (1 - momentum**t))


figure = draw(
    follow([average, debias], values), "Debiased: the weights sum to 1 from the first step"
)
figure

# %%
# Now every line starts at the first value, outlier or not, and leaves it at once, because one
# value among few has little to say. Starting the average *at* the first value looks similar and
# is worse: this value then keeps the weight that the zeros had, β\ :sup:`t` of the average at
# step ``t``.


def from_first(g, mean=zeros, *, t, momentum):
    mean = lerp(where(t == 1, g, mean), g, 1 - momentum)
    return dict(mean=mean, u=mean)


first = 1 - BETAS[-1] ** 20
print(
    f"weight of 20 values in the average with β = 0.99: {first:.0%}; of the start: {1 - first:.0%}"
)

starts = {
    "from 0": follow([average], values),
    "from the first value": follow([from_first], values),
    "debiased": follow([average, debias], values),
}
figure, axes = plt.subplots(figsize=(9, 4))
axes.plot(range(1, 61), values[:60], ".", color="0.7", markersize=4, label="values")
for (name, path), colour in zip(starts.items(), COLOURS, strict=False):
    axes.plot(range(1, 61), path[2][:60], color=colour, linewidth=2, label=name)
axes.set(xlabel="step", ylabel="average with β = 0.9", title="Three ways to begin")
axes.legend(frameon=False, loc="lower right")
axes.grid(alpha=0.25)
figure

# %%
# Damped or not
# -------------
#
# SGD's momentum, in torch and in the paper of Polyak (1964), is not an average. The buffer is
# ``momentum * buffer + g``, with no ``1 - momentum``. In the long run it is an average times 1 /
# (1 − β): ten times the gradient for 0.9. So a rate that was right at β = 0.9 is ten times too
# large at 0.99. The rules are ``heavy_ball`` and ``average_momentum``.

from steppers.rules import average_momentum, heavy_ball

ones = torch.ones(60)
figure, axes = plt.subplots(figsize=(9, 4))
for rule, style in ((heavy_ball, "-"), (average_momentum, "--")):
    for beta, path, colour in zip(BETAS[:3], follow([rule], ones), COLOURS, strict=False):
        label = f"{rule.__name__}, β = {beta}"
        axes.plot(range(1, 61), path, style, color=colour, linewidth=2, label=label)
axes.set(xlabel="step", ylabel="direction", title="Every gradient is 1")
axes.set_yscale("log")
axes.set_yticks([0.1, 0.3, 1, 3, 10], ["0.1", "0.3", "1", "3", "10"])
axes.legend(frameon=False, ncols=2)
axes.grid(alpha=0.25)
figure

# %%
# On a slope
# ----------
#
# What is it good for? Let us go down a long valley: steep across, nearly flat along. Without
# momentum the steps across allow no larger rate, and along the valley nothing moves. With
# momentum the steps across cancel, and those along it add up.


def valley(p):
    return 0.5 * (p * torch.tensor([1.0, 25.0]) * p).sum()


def descend_from(start, **hypers):
    p = torch.nn.Parameter(torch.tensor(start))
    optimizer, path = steppers.SGD([p], **hypers), [start]
    for _ in range(40):
        optimizer.zero_grad()
        valley(p).backward()
        optimizer.step()
        path.append(p.tolist())
    return torch.tensor(path)


runs = {
    "SGD, lr 0.07": descend_from([-9.0, 1.5], lr=0.07),
    "momentum 0.8, lr 0.03": descend_from([-9.0, 1.5], lr=0.03, momentum=0.8),
}
across, along = torch.meshgrid(torch.linspace(-2, 2, 80), torch.linspace(-10, 3, 80), indexing="ij")
height = 0.5 * (along**2 + 25 * across**2)
figure, axes = plt.subplots(figsize=(9, 3.6))
axes.contour(along, across, height, levels=[0.3, 2, 7, 15, 30, 50, 80], colors="0.85", linewidths=1)
for (name, path), colour in zip(runs.items(), COLOURS, strict=False):
    axes.plot(*path.T, "o-", color=colour, markersize=3, linewidth=1.2, label=name)
axes.plot(0, 0, "*", color="black", markersize=10)
axes.set(xlabel="along the valley", ylabel="across", title="40 steps in a long valley")
axes.legend(frameon=False, loc="upper right")
figure

# %%
for name, path in runs.items():
    print(f"{name}: height {valley(path[-1]).item():.5f} after 40 steps")

# %%
# What to take away
# -----------------
#
# - β is a memory of about 1 / (1 − β) steps. More memory, less noise, later news.
# - An average that starts at 0 is too small in the beginning by 1 − β\ :sup:`t`. Debiasing
#   divides by it; Adam does it, SGD's momentum does not.
# - Undamped momentum multiplies the step by 1 / (1 − β). Change the one and the rate has to
#   follow.
#
# Next: :doc:`04_weight_decay`. ``examples/momentum.py`` is the long version of this lesson
# (:doc:`/examples`).
