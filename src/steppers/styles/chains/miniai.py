"""miniai's optimizers: dampened momentum, a mean square from g², eps inside Adam's root."""

from ...optimizer import Optimizer
from ...rules import (
    adam_eps_inside,
    average_grad,
    average_momentum,
    average_square,
    decay,
    descend,
    mean_square_from_first,
    rms_scaled,
)


class SGD(Optimizer):
    """Decay, then the gradient."""

    steps = decay, descend
    defaults = dict(lr=1e-3, weight_decay=0.0)


class Momentum(Optimizer):
    """Momentum as an average from zero, not debiased: its rate is some ten times SGD's."""

    steps = decay, average_momentum, descend
    defaults = dict(lr=1e-3, weight_decay=0.0, momentum=0.9)


class RMSProp(Optimizer):
    """RMSProp whose mean square starts at the first g²."""

    steps = decay, mean_square_from_first, rms_scaled, descend
    defaults = dict(lr=1e-3, weight_decay=0.0, alpha=0.99, eps=1e-5)


class Adam(Optimizer):
    """Adam with eps inside the root."""

    steps = decay, average_grad, average_square, adam_eps_inside, descend
    defaults = dict(lr=1e-3, weight_decay=0.0, betas=(0.9, 0.99), eps=1e-5)
