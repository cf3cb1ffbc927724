"""The optimizers of fast.ai's course v3: p moves first and decays after, but in plain SGD."""

from ...optimizer import Optimizer
from ...rules import (
    adam,
    average_grad,
    average_square,
    decay,
    decayed_direction,
    descend,
    heavy_ball,
    trust_ratio,
)


class SGD(Optimizer):
    """`sgd_opt`: decay, then the step."""

    steps = decay, descend
    defaults = dict(lr=1e-3, weight_decay=0.0)


class Momentum(Optimizer):
    """`sgd_mom_opt`: undampened momentum, and decay after the step."""

    steps = heavy_ball, descend, decay
    defaults = dict(lr=1e-3, momentum=0.9, weight_decay=0.01)


class Adam(Optimizer):
    """`adam_opt()`: Adam, and decay after the step."""

    steps = average_grad, average_square, adam, descend, decay
    defaults = dict(lr=1e-3, betas=(0.9, 0.99), eps=1e-5, weight_decay=0.0)


class LAMB(Optimizer):
    """The course's LAMB: decay inside the ratio, which is at most 10, and 1 on a zero norm."""

    steps = average_grad, average_square, adam, decayed_direction, trust_ratio, descend
    defaults = dict(lr=1e-3, betas=(0.9, 0.99), eps=1e-6, weight_decay=0.0, trust_clip=10.0)
