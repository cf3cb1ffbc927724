"""
2 · Parameter groups and state
==============================

An optimizer holds two kinds of things: *hyper-parameters*, one set for each group of parameters,
and *state*, some tensors for each parameter. This lesson shows where they are and how to change,
freeze and save them.
"""

# %%
# Groups
# ------
#
# ``param_groups`` is a list of dicts, as in torch. Each has its parameters and one key for every
# hyper-parameter.

import torch
from torch import nn

import steppers

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 2))
optimizer = steppers.AdamW(model.parameters(), lr=1e-3)

(group,) = optimizer.param_groups
print({name: value for name, value in group.items() if name != "params"})

# %%
# Why have several? The most common reason: weight decay is meant for matrices. Pulling biases and
# the scales of norms towards 0 helps nobody. ``steppers.groups`` makes such lists, and
# ``describe`` shows what they hold.

groups = steppers.groups.no_decay(model, weight_decay=0.1, named=True)
print(steppers.groups.describe(groups))

# %%
# The list is in torch's own form, so torch's optimizers take it too. Another reason is a rate for
# each layer: small at the input, where a trained network knows edges and words already, and
# larger at the output.

layers = steppers.groups.discriminative(model, lr=slice(1e-4, 1e-2), named=True)
print(steppers.groups.describe(layers))

# %%
# ``slice(low, high)`` spreads values geometrically over the groups: each is the same multiple of
# the one before. ``layer_decay`` says the same by that factor. On a deeper network:

import matplotlib.pyplot as plt

from steppers.train.plots import COLOURS

deep = nn.Sequential(*(nn.Linear(8, 8) for _ in range(8)))
ways = {
    "discriminative, lr=slice(1e-4, 1e-2)": steppers.groups.discriminative(
        deep, lr=slice(1e-4, 1e-2)
    ),
    "layer_decay, lr=1e-2, decay=0.8": steppers.groups.layer_decay(deep, lr=1e-2, decay=0.8),
}
figure, axes = plt.subplots(figsize=(8, 3.6))
for (name, made), colour, marker in zip(ways.items(), COLOURS, "os", strict=False):
    rates = sorted({group["lr"] for group in made})
    axes.plot(range(1, 9), rates, marker + "-", color=colour, label=name)
axes.set(xlabel="layer, from the input", ylabel="lr", yscale="log", title="A rate for each layer")
axes.grid(alpha=0.25)
axes.legend(frameon=False)
figure

# %%
# Hyper-parameters are live
# -------------------------
#
# Write into a group at any time; the next step uses it. ``set_hyper`` writes into all groups,
# takes the same slices and lists, and checks names and ranges.

optimizer = steppers.AdamW(groups, lr=1e-3)
optimizer.param_groups[0]["lr"] = 5e-4  # as in torch
optimizer.set_hyper("beta1", 0.85)  # one element of torch's betas
print([group["betas"] for group in optimizer.param_groups])

try:
    optimizer.set_hyper("weigth_decay", 0.2)
except TypeError as error:
    print(error)

# %%
# ``optimizer.hypers`` is a view of each group without its parameters, in which ``beta1`` is a
# name of its own.

print(dict(optimizer.hypers[1]))

# %%
# State
# -----
#
# State is made at the first step, and it is as in torch: a dict for each parameter, a tensor for
# each slot, and ``step``, the number of steps that this parameter has taken.

print(f"before the first step: {len(optimizer.state)} parameters have state")

for _ in range(5):
    optimizer.zero_grad()
    model(torch.randn(4, 8)).square().mean().backward()
    optimizer.step()

for name, slot in optimizer.state[model[0].weight].items():
    print(f"{name:11}", tuple(slot.shape), slot.dtype, "" if slot.dim() else slot.item())

# %%
# What does that cost? Two tensors of 32-bit numbers are 8 bytes for each parameter, twice what
# the parameters take themselves. ``state_dtype`` and ``rounding`` store them in 16 bits.

half = steppers.AdamW(model.parameters(), state_dtype=torch.bfloat16, rounding="stochastic")
for kind, each in (("float32", optimizer), ("bfloat16", half)):
    (explained, *_) = each.explain(measure=False).groups
    print(f"{kind:9}{explained.state_bytes_per_parameter:.0f} bytes of state a parameter")

# %%
# Freezing
# --------
#
# A parameter that needs no gradient is left alone, and so is its state. ``freeze_to(n)`` trains
# the groups from the n-th on. To fine-tune, the last layer goes first.

optimizer = steppers.AdamW(layers, lr=1e-2)
optimizer.freeze_to(-1)
print([name for name, p in model.named_parameters() if p.requires_grad])
optimizer.unfreeze()
print([name for name, p in model.named_parameters() if p.requires_grad])

# %%
# Checkpoints
# -----------
#
# ``state_dict()`` is torch's format. State of ``torch.optim.AdamW`` loads into ours and back.

torchs = torch.optim.AdamW(model.parameters(), lr=1e-3)
model(torch.randn(4, 8)).square().mean().backward()
torchs.step()

ours = steppers.AdamW(model.parameters())
ours.load_state_dict(torchs.state_dict())
weight = model[0].weight
print(torch.equal(ours.state[weight]["exp_avg"], torchs.state[weight]["exp_avg"]))
print(ours.param_groups[0]["lr"])

# %%
# With names it can do more than torch: build it from ``model.named_parameters()``, and state is
# loaded *by name*. The order of the parameters may have changed, and if one is missing the
# message says which.

named = steppers.AdamW(model.named_parameters())
model(torch.randn(4, 8)).square().mean().backward()
named.step()
saved = named.state_dict()

backwards = steppers.AdamW(reversed(list(model.named_parameters())))
backwards.load_state_dict(saved)
print(torch.equal(backwards.state[weight]["exp_avg"], named.state[weight]["exp_avg"]))

smaller = steppers.AdamW(list(model.named_parameters())[:2])
try:
    smaller.load_state_dict(saved)
except ValueError as error:
    print(error)

# %%
# Several optimizers in one
# -------------------------
#
# A group may even have rules of its own. Muon is for hidden matrices and AdamW for the rest; here
# they are one object, with one scheduler and one checkpoint.

both = steppers.create("muon", model, lr=0.02, adamw=dict(lr=3e-4))
for group in both.param_groups:
    print(f"{group['chain']:6} lr {group['lr']:g}: {', '.join(group['param_names'])}")

# %%
# What to take away
# -----------------
#
# - Hyper-parameters are keys of the groups, and live. ``set_hyper`` sets them by name.
# - State is one tensor for each slot and parameter; its names are those of the rules.
# - ``steppers.groups`` makes groups for any torch optimizer: without decay, by layer, by pattern.
# - Named parameters make checkpoints that do not depend on any order.
#
# Next: :doc:`03_momentum`, what a slot that averages gradients does. All functions for groups are
# in :doc:`/api/groups`.
