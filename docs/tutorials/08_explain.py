"""
8 · Reading explain() and source()
==================================

An optimizer here can say what it is: its formulas, its hyper-parameters, what it keeps, what a step
costs, and the program that was generated for it. This lesson goes through it line by line.
"""

# %%
# The formulas
# ------------

import torch

import steppers
from steppers.rules import adam, average_grad, average_square, clip_by_global_norm, decay, descend

weights = [torch.nn.Parameter(torch.randn(256, 128)), torch.nn.Parameter(torch.randn(256))]
optimizer = steppers.AdamW(weights, lr=1e-3)
print(optimizer.explain())

# %%
# From the top:
#
# - **steps**: the update as it was understood. A prime marks a new value: ``p'`` is the parameter
#   after ``decay``, ``p''`` the one after ``descend``. Behind the ``#`` stands the rule from
#   which the line comes.
# - **hyper-parameters**: as the group has them now. They are inputs of the program, so a schedule
#   that changes them builds nothing anew.
# - **state**: bytes for each parameter, and how each slot starts.
# - **passes over memory**: how often the step walks over the tensors, and what it reads and
#   stores. Here everything is done in one walk: it reads four tensors and writes three, each of 4
#   bytes, 28 in all.
# - **that takes**: an estimate for *this* machine. ``x.add_(y)`` on large tensors is measured,
#   and a step that does nothing but move its bytes would take this long. No optimizer of these
#   rules can be faster.
# - **engine**: who runs it, and why.
#
# What a reduction costs
# ----------------------
#
# Clipping by the global norm needs the norm of *all* gradients before the first weight may move.
# So there are two passes, and the first reads the gradients alone.

clipped = steppers.Optimizer(
    weights,
    steps=[clip_by_global_norm, decay, average_grad, average_square, adam, descend],
    lr=1e-3,
    weight_decay=0.01,
)
print(clipped.explain(measure=False))

# %%
# Four bytes more for each parameter, 32 in place of 28. A call of ``clip_grad_norm_`` before the
# step would read the gradients, read them again and write them.
#
# As data
# -------
#
# For a program it is a dict. A table of the catalogue takes a few lines.

rows = {}
print(f"{'':18} state  passes  bytes a step  engine")
for name in steppers.list_optimizers():
    matrix = [torch.nn.Parameter(torch.randn(64, 64))]
    (found,) = steppers.create(name, matrix).explain(measure=False).as_dict()["groups"]
    state, moved = found["state_bytes_per_parameter"], found["bytes_per_parameter"] or 0.0
    rows[name] = state, moved
    print(f"{name:18} {state:5.3g}  {found['passes']:6}  {moved:12.4g}  {found['engine']}")

# %%
# The same as a picture. What a step takes is nearly what it moves.

import matplotlib.pyplot as plt

from steppers.train.plots import COLOURS

figure, axes = plt.subplots(figsize=(8, 1 + 0.24 * len(rows)))
names = sorted(rows, key=lambda name: rows[name][1], reverse=True)
places = torch.arange(len(names))
axes.barh(places - 0.2, [rows[n][1] for n in names], 0.4, color=COLOURS[0], label="moved in a step")
axes.barh(places + 0.2, [rows[n][0] for n in names], 0.4, color=COLOURS[1], label="kept as state")
axes.set_yticks(places, names)
axes.set(xlabel="bytes for each element of a matrix, in 32 bits", title="What an optimizer costs")
axes.grid(alpha=0.25, axis="x")
axes.legend(frameon=False, loc="upper right")
figure

# %%
# State and bytes are for each element of a 64 by 64 matrix. Adafactor keeps rows and columns in
# place of a second moment; Muon's matrix products run between two passes.
#
# The source
# ----------
#
# ``source()`` gives what was generated: LLVM's language on a CPU, Triton on a GPU. Rules and
# values keep their names.

source = steppers.Lion([torch.nn.Parameter(torch.randn(256, 128))]).source()
lines = source.splitlines()
print(f"{len(lines)} lines; the first 60:\n")
print("\n".join(line[:90] for line in lines[:60]))

# %%
# It is not made for reading in bed. But when you ask whether two rules really became one loop, or
# where a rounding happens, the answer is in there.
#
# When rules stay out
# -------------------
#
# A rule that uses something other than the words of ``steppers.ops`` cannot be traced. It runs in
# the loop engine, one tensor at a time, and you are told once, by name.

import warnings


def median_sign(g):
    return dict(u=torch.sign(g - g.median()))


with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    slow = steppers.Optimizer(weights, steps=[median_sign, descend], lr=1e-3)
print(told[0].message)
print(slow.explain(measure=False))

# %%
# How a step compares
# -------------------
#
# An estimate wants to be checked. The command ``steppers bench`` does that with care
# (:doc:`/bench`); a look is quickly taken.

import time


def milliseconds(optimizer, steps=15):
    seen = []
    for _ in range(steps):
        start = time.perf_counter()
        optimizer.step()
        seen.append(time.perf_counter() - start)
    return 1000 * min(seen)


big = [torch.nn.Parameter(torch.randn(1024, 1024)) for _ in range(8)]
for p in big:
    p.grad = torch.randn_like(p)

makers = {
    "torch.optim.AdamW": lambda: torch.optim.AdamW(big),
    "torch.optim.AdamW(fused=True)": lambda: torch.optim.AdamW(big, fused=True),
    "steppers.AdamW": lambda: steppers.AdamW(big),
}
for name, make in makers.items():
    print(f"{name:30} {milliseconds(make()):6.1f} ms a step")

(found,) = steppers.AdamW(big).explain().groups
print(f"{'moving the bytes':30} {1000 * found.seconds:6.1f} ms")

# %%
# Such figures are of one machine at one moment, and this page was built on one that may have had
# other things to do. Compare within a column, not between pages.
#
# What to take away
# -----------------
#
# - ``print(optimizer.explain())`` after building a new list of rules: are the formulas those you
#   meant, and is the number of passes the one you expected?
# - Elementwise rules cost nothing beside the memory that they touch. A norm costs a pass.
# - ``optimizer.engine`` says who runs it and why; a rule outside the words says so when it is
#   built.
#
# Next: :doc:`09_learner`, a whole training.
