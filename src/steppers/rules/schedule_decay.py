"""Decay by how far a schedule has brought the rate: the group's `initial_lr` is what it began at.

torch's schedulers keep `initial_lr` in each group; the optimizers that decay so fill it in when a
group is added, and with `steps=` it is given to the constructor.
"""

from ..ops import where


def decay_by_schedule(p, *, lr, initial_lr, weight_decay=0.0):
    """Decay by weight_decay * lr / initial_lr of p a step: of the schedule, not of the rate.

    By weight_decay while a rate that began at 0 is above it.
    """
    reached = where(initial_lr > 0, lr / initial_lr, 1.0 * (lr > 0))
    return dict(p=p * (1 - reached * weight_decay))


def decay_corrected(p, *, lr, initial_lr, weight_decay=0.0):
    """Decay by weight_decay * lr**2 / initial_lr of p a step (Defazio 2025, arXiv:2506.02285)."""
    return dict(p=p * (1 - where(initial_lr > 0, lr * lr / initial_lr, lr) * weight_decay))
