"""Rates that the optimizer makes of lr and its own step count; decay keeps to lr itself.

Each hands on a `rate` for `descend_at` to end the chain with. A schedule of lr
(`steppers.schedules`) drives decay too and counts batches, not a parameter's steps.
"""

from math import pi

from ..ops import cos, maximum, minimum, where


def noam_rate(*, t, lr, warmup_steps=0.0, d_model=512.0):
    """The transformer's rate: linear warm-up, then 1 / sqrt(t) (Vaswani et al. 2017)."""
    return dict(rate=lr * d_model**-0.5 * minimum(t**-0.5, t * warmup_steps**-1.5))


def warmup_rate(*, t, lr, warmup_steps=0.0):
    """From about 0 to lr in warmup_steps, then lr."""
    return dict(rate=where(t < warmup_steps, warming(t, lr, warmup_steps), lr))


def warmup_cosine_rate(*, t, lr, warmup_steps=0.0, total_steps=1e10):
    """From about 0 to lr, then by a cosine to a tenth of it at total_steps, where it stays."""
    done = minimum((t - warmup_steps) / maximum(total_steps - warmup_steps, 1.0), 1.0)
    falling = lr * maximum(0.1, 0.5 * (1 + cos(pi * done)))
    return dict(rate=where(t < warmup_steps, warming(t, lr, warmup_steps), falling))


def warming(t, lr, warmup_steps):
    """The rate of a warm-up at step t; 1e-8 above its line, and 0 where lr is 0."""
    return 1e-8 * (lr > 0) + t * lr / warmup_steps


def descend_at(p, u, rate):
    """Move against the direction by a rate of the chain's own."""
    return dict(p=p - rate * u)
