"""labml.ai's optimizers: eps before the debias unless `optimized_update=False`, three decays."""

from ...catalogue import AdaBelief, Sophia
from ...optimizer import Optimizer
from ...rules import (
    adam,
    adam_early_eps,
    average_grad,
    average_square,
    decay,
    decay_absolute,
    descend,
    descend_at,
    l2,
    largest_square,
    noam_rate,
    rectification,
    rectified,
    rectified_or_still,
    warmup_cosine_rate,
    warmup_rate,
)

__all__ = [
    "AMSGrad", "AdaBelief", "Adam", "AdamWarmup", "AdamWarmupCosineDecay", "Noam", "RAdam",
    "Sophia",
]  # fmt: skip


def start(weight_decouple, absolute, amsgrad):
    """Decay (by lr, by itself, or into the gradient) and the averages that all have."""
    decoupled = decay_absolute if absolute else decay
    second = (average_square, largest_square) if amsgrad else (average_square,)
    return (decoupled if weight_decouple else l2, average_grad, *second)


def direction(optimized_update):
    """Adam's, with eps on either side of the debias."""
    return adam_early_eps if optimized_update else adam


class Adam(Optimizer):
    """Adam, and AMSGrad with `amsgrad=True`."""

    def steps(amsgrad=False, optimized_update=True, weight_decouple=True, absolute=False):
        """Choose the second moment, the place of eps, and how to decay."""
        begun = start(weight_decouple, absolute, amsgrad)
        return (*begun, direction(optimized_update), descend)

    defaults = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-16, weight_decay=0.0, amsgrad=False)


class AMSGrad(Adam):
    """Adam over the largest second moment so far, not debiased."""

    defaults = dict(amsgrad=True)


class RAdam(Optimizer):
    """RAdam, rectified from rho = 5 on; with `degenerated_to_sgd=False` it stands till then."""

    def steps(
        amsgrad=False, degenerated_to_sgd=True, optimized_update=True, weight_decouple=True,
        absolute=False,
    ):  # fmt: skip
        """Choose what Adam's options are, and what to do while it waits."""
        begun = start(weight_decouple, absolute, amsgrad)
        waiting = rectified if degenerated_to_sgd else rectified_or_still
        return (*begun, direction(optimized_update), rectification, waiting, descend)

    defaults = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False)


class AdamWarmup(Optimizer):
    """Adam whose own rate rises to lr in `warmup_steps`."""

    def steps(amsgrad=False, optimized_update=True, weight_decouple=True, absolute=False):
        """Choose as for Adam."""
        begun = start(weight_decouple, absolute, amsgrad)
        return (*begun, direction(optimized_update), warmup_rate, descend_at)

    defaults = dict(
        lr=1e-3, betas=(0.9, 0.999), eps=1e-16, weight_decay=0.0, warmup_steps=0.0, amsgrad=False
    )


class AdamWarmupCosineDecay(Optimizer):
    """Adam whose own rate rises to lr, then falls by a cosine to a tenth of it."""

    def steps(amsgrad=False, optimized_update=True, weight_decouple=True, absolute=False):
        """Choose as for Adam."""
        begun = start(weight_decouple, absolute, amsgrad)
        return (*begun, direction(optimized_update), warmup_cosine_rate, descend_at)

    defaults = dict(
        lr=1e-3, betas=(0.9, 0.999), eps=1e-16, weight_decay=0.0, warmup_steps=0.0,
        total_steps=1e10, amsgrad=False,
    )  # fmt: skip


class Noam(Optimizer):
    """Adam at the transformer's rate: a linear warm-up, then 1 / sqrt(t)."""

    def steps(amsgrad=False, optimized_update=True, weight_decouple=True, absolute=False):
        """Choose as for Adam."""
        begun = start(weight_decouple, absolute, amsgrad)
        return (*begun, direction(optimized_update), noam_rate, descend_at)

    defaults = dict(
        lr=1e-3, betas=(0.9, 0.999), eps=1e-16, weight_decay=0.0, warmup_steps=0.0, d_model=512.0,
        amsgrad=False,
    )  # fmt: skip
