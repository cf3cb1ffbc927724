"""
7 · LAMB in five lines
======================

With large batches an optimizer takes few, large steps, and one rate no longer suits all layers.
LAMB (You et al. 2019) scales each tensor's step to the size of the tensor. The paper's algorithm
is half a page; the rule is five lines.
"""

# %%
# The five lines
# --------------
#
# Adam's direction with the decay in it, then the *trust ratio*: the norm of the weights over the
# norm of the direction. Where either norm is 0 the ratio is 1, and it is never above 10.

import matplotlib.pyplot as plt
import torch
from torch import nn

import steppers
from steppers.ops import lerp, minimum, norm, sqrt, square, where, zeros
from steppers.train.data import load_digits
from steppers.train.plots import COLOURS, smooth


def lamb(
    p, g, exp_avg=zeros, exp_avg_sq=zeros, *,
    t, lr, beta1=0.9, beta2=0.999, eps=1e-6, weight_decay=0.0,
):  # fmt: skip
    m = lerp(exp_avg, g, 1 - beta1)
    v = beta2 * exp_avg_sq + (1 - beta2) * square(g)
    u = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps) + weight_decay * p
    ratio = where((norm(p) > 0) & (norm(u) > 0), minimum(norm(p) / norm(u), 10.0), 1.0)
    return dict(p=p - lr * (ratio * u), exp_avg=m, exp_avg_sq=v)


class LAMB(steppers.Optimizer):
    """LAMB, as a reader of the paper writes it."""

    steps = (lamb,)
    defaults = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0)


# %%
# ``norm(p)`` is over the whole tensor, so this is no elementwise rule. A norm has to be known
# before the first element moves, which means two passes over memory. The library finds that out
# by itself.

print(LAMB([nn.Parameter(torch.randn(64, 64))]).explain(measure=False))

# %%
# The same from parts
# -------------------
#
# ``steppers.LAMB`` is the same optimizer as a list of rules. Two of them have nothing to do with
# Adam, and that is what makes parts useful: they go behind any direction.

print([rule.__name__ for rule in steppers.LAMB.steps])

from steppers.catalogue.sign import lion
from steppers.rules import decayed_direction, descend, trust_ratio


class LayerwiseLion(steppers.Optimizer):
    """Lion's direction under LAMB's trust ratio."""

    steps = lion, decayed_direction, trust_ratio, descend
    defaults = dict(lr=1e-3, betas=(0.9, 0.99), weight_decay=0.0, trust_clip=10.0)


# %%
# All three on the digits, with the whole training part in three batches.

torch.set_num_threads(1)  # for so small a network several only wait for each other
data = load_digits()


def train(make, lr, epochs=40, batch_size=512):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer, losses = make(model.parameters(), lr=lr, weight_decay=0.01), []
    loaders = data.loaders(batch_size, seed=0)
    for _ in range(epochs):
        for x, y in loaders.train:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    with torch.no_grad():
        right = torch.cat([model(x).argmax(1) == y for x, y in loaders.valid])
    return losses, right.double().mean().item(), model


runs = {
    "LAMB, five lines": (LAMB, 0.03),
    "steppers.LAMB": (steppers.LAMB, 0.03),
    "Lion with a trust ratio": (LayerwiseLion, 0.03),
    "AdamW": (steppers.AdamW, 0.01),
}
figure, axes = plt.subplots(figsize=(8, 4))
models = {}
for i, (name, (make, lr)) in enumerate(runs.items()):
    losses, accuracy, models[name] = train(make, lr)
    style = {"linewidth": 5, "alpha": 0.5} if i == 0 else {"linewidth": 1.8}
    axes.plot(smooth(losses, beta=0.7), color=COLOURS[i], label=name, **style)
    print(f"{name:24} lr {lr:<6g} held out: {accuracy:.1%}")
axes.set(yscale="log", xlabel="step", ylabel="cross-entropy, smoothed")
axes.set_title("The digits in batches of 512")
axes.grid(alpha=0.25)
axes.legend(frameon=False)
figure

# %%
# The five lines and the list of rules end at the same weights. The largest difference:

pairs = zip(*(models[name].parameters() for name in list(runs)[:2]), strict=True)
print(f"{max((a - b).abs().max().item() for a, b in pairs):.0e}")

# %%
# What the ratio does
# -------------------
#
# LAMB's rate says by which *share of its length* a tensor may move in a step. Under AdamW, each
# element moves by about the rate, whatever the tensor is.


def shares(make, lr):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
    with torch.no_grad():
        model[1].weight.mul_(20)  # a layer with weights twenty times as large
    optimizer = make(model.parameters(), lr=lr)
    x, y = next(iter(data.loaders(512, seed=0).train))
    nn.functional.cross_entropy(model(x), y).backward()
    before = [p.detach().clone() for p in model.parameters()]
    optimizer.step()
    moved = [
        (p - old).norm() / old.norm() for p, old in zip(model.parameters(), before, strict=True)
    ]
    return [share.item() for share in moved]


names = ["first weight\n(20 times as large)", "first bias", "second weight", "second bias"]
places = torch.arange(4)
figure, axes = plt.subplots(figsize=(8, 3.6))
axes.bar(places - 0.2, shares(steppers.LAMB, 0.01), 0.4, color=COLOURS[0], label="LAMB, lr 0.01")
axes.bar(
    places + 0.2, shares(steppers.AdamW, 0.001), 0.4, color=COLOURS[1], label="AdamW, lr 0.001"
)
axes.axhline(0.01, color="black", linewidth=1, linestyle=":")
axes.set_xticks(places, names)
axes.set(
    yscale="log", ylabel="|step| / |weights|", title="How far the first step moves each tensor"
)
axes.legend(frameon=False, loc="upper left")
figure

# %%
# What to take away
# -----------------
#
# - A rule may use norms, over a tensor (``norm``) or over all of them (``global_norm``). The
#   library cuts it into passes over memory.
# - LAMB is Adam's direction, the decay in it, and a trust ratio. Each of these is a rule of its
#   own.
# - Under a trust ratio the rate is the share by which a tensor moves.
#
# Next: :doc:`08_explain`, how to read what ``explain()`` has just said.
