"""Stochastic gradient descent."""

from ..optimizer import Optimizer
from ..rules import decay, descend, l2
from .speed import speed


class SGD(Optimizer):
    """SGD: the gradient, with momentum if asked for (Robbins & Monro 1951; Polyak 1964).

    Decay is coupled (L2) and the first buffer is the gradient itself, as torch's.
    """

    def steps(momentum=0.0, dampening=0.0, nesterov=False):
        """No momentum, no buffer. Nesterov's form needs momentum without dampening."""
        return (l2, *speed("SGD", momentum, nesterov, dampening), descend)

    defaults = dict(lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False)


class SGDW(Optimizer):
    """SGDW: SGD with decoupled weight decay (Loshchilov & Hutter 2017, arXiv:1711.05101).

    Decay is lr * weight_decay, as AdamW's; DecoupledSGDW has the paper's, by the schedule alone.
    """

    def steps(momentum=0.0, dampening=0.0, nesterov=False):
        """No momentum, no buffer. Nesterov's form needs momentum without dampening."""
        return (decay, *speed("SGDW", momentum, nesterov, dampening), descend)

    defaults = dict(lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=1e-2, nesterov=False)
