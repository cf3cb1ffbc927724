"""
5 · Schedules and one-cycle
===========================

The best rate for the first steps is seldom the best for the last. A *schedule* is a function of the
position in the run, from 0 at its beginning to 1 at its end. This lesson builds some, looks at them
before any training, and drives several hyper-parameters of an optimizer at once.
"""

# %%
# A function of the position
# --------------------------
#
# Annealers go from a start to an end.

import torch

import steppers
from steppers import schedules
from steppers.schedules import Scheduler, combine, cos, exp, lin, no, one_cycle, poly

falling = cos(1.0, 0.0)
print([round(falling(position), 3) for position in (0, 0.25, 0.5, 0.75, 1)])

# %%
# All of them take the position and give a value, so ``plot`` can draw any of them, and so can you
# write your own: a function of one number is enough.

figure = schedules.plot([lin(1, 0.01), cos(1, 0.01), exp(1, 0.01), poly(1, 0.01, power=2), no(1)])
figure

# %%
# ``combine`` puts schedules one behind another. The first argument says what share of the run
# each has.

warm_flat_decay = combine([0.1, 0.6, 0.3], [lin(0, 1e-3), no(1e-3), cos(1e-3, 0)])
figure = schedules.plot({"lr": warm_flat_decay})
figure

# %%
# One cycle
# ---------
#
# Most shapes are ready-made (:doc:`/schedules` has the table). The one to know is *one-cycle*
# (Smith 2018). It goes up to a rate that would be too high to stay at, while momentum goes down,
# and then the other way round. The high rate in the middle keeps the weights out of narrow
# valleys; the low rate at the end lets them settle.

plan = {"lr": one_cycle(1e-2), "beta1": schedules.one_cycle_momentum()}
figure = schedules.plot(plan, steps=300)
figure

# %%
# The scheduler
# -------------
#
# A schedule knows no optimizer. ``Scheduler`` sets any hyper-parameter of any torch optimizer by
# it. It is one of torch's schedulers, so it is used like one: make it, and call ``step()`` after
# each ``optimizer.step()``.

torch.manual_seed(0)
model = torch.nn.Linear(10, 2)
optimizer = steppers.AdamW(model.parameters())
plan = {**plan, "weight_decay": lin(0.1, 0.0)}
scheduler = Scheduler(optimizer, plan, total_steps=300)

for _ in range(150):
    optimizer.zero_grad()
    model(torch.randn(16, 10)).square().mean().backward()
    optimizer.step()
    scheduler.step()

group = optimizer.param_groups[0]
print({name: group[name] for name in ("lr", "betas", "weight_decay")})

# %%
# Position 0 is set when the scheduler is made, and its state is a few numbers: a run that was
# broken off goes on from there.

print(scheduler.state_dict())

# %%
# Where groups differ, give a row of values. The plan is drawn with a line for each group, and a
# run of it costs no step: ``dry_run`` works on a copy.

layers = torch.nn.Sequential(torch.nn.Linear(10, 10), torch.nn.ReLU(), torch.nn.Linear(10, 2))
groups = steppers.groups.discriminative(layers, lr=[1e-3, 1e-2], named=True)
optimizer = steppers.SGD(groups, momentum=0.9)
scheduler = Scheduler(optimizer, {"lr": one_cycle([1e-3, 1e-2])}, total_steps=300)
figure = schedules.plot(scheduler)
figure

# %%
# torch's schedulers
# ------------------
#
# They drive our optimizers as they drive torch's, and ``plot`` draws them as well. That is a
# quick way to see whether two of them are the same. torch's ``OneCycleLR`` has another end and
# turns a bit later than fastai's shape, which is ours.

from torch.optim.lr_scheduler import CosineAnnealingLR, OneCycleLR

optimizer = steppers.AdamW(model.parameters(), lr=1e-2)
figure = schedules.plot(
    [
        OneCycleLR(steppers.AdamW(model.parameters()), 1e-2, total_steps=300),
        {"lr": one_cycle(1e-2)},
        {"lr": one_cycle(1e-2, pct_start=0.3, div_final=25e4)},
    ],
    steps=299,
    hypers=["lr"],
)
figure

# %%
# A picture would also have shown this one: the cosine climbs again if the run is longer than the
# scheduler was told.

figure = schedules.plot(CosineAnnealingLR(optimizer, T_max=100), steps=200)
figure

# %%
# What to take away
# -----------------
#
# - A schedule is a function of the position from 0 to 1. ``combine`` puts several in a row.
# - ``Scheduler`` drives any hyper-parameter of any torch optimizer, a value for each group if
#   wanted.
# - Look before you train: ``schedules.plot`` draws functions, plans and torch's schedulers.
#
# Next: :doc:`06_learning_rate`, how high the peak should be.
