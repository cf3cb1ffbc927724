"""Decay by how far a schedule has brought the rate: the group's `initial_lr` is what it began at.

torch's schedulers keep `initial_lr` in each group (OneCycleLR writes its own, a 25th of its top);
every optimizer with one of these rules fills it in when a group is added.
"""

from ..ops import where


def decay_by_schedule(p, *, lr, initial_lr, weight_decay=0.0):
    """Decay by weight_decay * lr / initial_lr of p a step: of the schedule, not of the rate.

    By weight_decay while a rate that began at 0 is above it.
    """
    reached = where(initial_lr > 0, lr / initial_lr, 1.0 * (lr > 0))
    return dict(p=p * (1 - reached * weight_decay))


def decay_corrected(p, *, lr, initial_lr, weight_decay=0.0, max_lr=0.0):
    """Decay by weight_decay * lr**2 / max_lr of p a step (Defazio 2025, arXiv:2506.02285).

    A max_lr of 0 is `initial_lr`. torch's OneCycleLR and CyclicLR write both into the groups: what
    they begin at is not their top.
    """
    top = where(max_lr > 0, max_lr, initial_lr)
    return dict(p=p * (1 - where(top > 0, lr * lr / top, lr) * weight_decay))
