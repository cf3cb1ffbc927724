"""Optimizers that scale each tensor's update to its norm."""

from ..optimizer import Optimizer
from ..rules import (
    adam,
    average_grad,
    average_square,
    cap_at_lr,
    decayed_direction,
    descend,
    lars_ratio,
    scaled_gradient,
    trust_ratio,
)
from .speed import speed


class LAMB(Optimizer):
    """LAMB: Adam's direction scaled to each tensor's norm (You et al. 2019, arXiv:1904.00962).

    Decay is part of the direction, the ratio is capped and 1 on a zero norm. For large batches.
    """

    steps = average_grad, average_square, adam, decayed_direction, trust_ratio, descend
    defaults = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0, trust_clip=10.0)


class LARS(Optimizer):
    """LARS: SGD with a rate for each tensor, by its norms (You et al. 2017, arXiv:1708.03888).

    The ratio scales the gradient and its decay before the momentum, and is 1 on a zero norm.
    """

    def steps(momentum=0.9, dampening=0.0, nesterov=False):
        """No momentum, no buffer. Nesterov's form needs momentum without dampening."""
        moving = speed("LARS", momentum, nesterov, dampening)
        return (lars_ratio, scaled_gradient, *moving, descend)

    defaults = dict(
        lr=1.0, momentum=0.9, dampening=0.0, weight_decay=0.0, nesterov=False,
        trust_coefficient=1e-3, eps=1e-8,
    )  # fmt: skip


class LARC(Optimizer):
    """LARC: LARS whose rates are at most lr (You et al. 2017, arXiv:1708.03888; apex).

    A tensor's own rate, trust_coefficient times the ratio of its norms, is used where it is below
    lr, which a schedule may so set as for SGD.
    """

    def steps(momentum=0.9, dampening=0.0, nesterov=False):
        """No momentum, no buffer. Nesterov's form needs momentum without dampening."""
        moving = speed("LARC", momentum, nesterov, dampening)
        return (lars_ratio, cap_at_lr, scaled_gradient, *moving, descend)

    defaults = dict(
        lr=0.1, momentum=0.9, dampening=0.0, weight_decay=0.0, nesterov=False,
        trust_coefficient=0.02, eps=1e-8,
    )  # fmt: skip
