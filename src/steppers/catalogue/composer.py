"""Optimizers whose decay follows the schedule of the rate, not the rate (MosaicML's Composer)."""

from ..ops import norm, where, zero
from ..optimizer import Optimizer
from ..rules import (
    adam,
    average_grad,
    average_square,
    decay_by_schedule,
    descend,
    largest_square,
)
from .speed import speed


def before_step(p):
    """The parameter as it was, for the length of the update."""
    return dict(before=p)


def norms_of_step(p, g, before, param_norm=zero, grad_norm=zero, update_norm=zero):
    """Norms that the pass over a parameter finds on its way; last in a chain."""
    # They are for people, but a slot has to be read: the old ones choose between p and p
    read = param_norm + grad_norm + update_norm >= 0
    return dict(
        p=where(read, p, p), param_norm=norm(p), grad_norm=norm(g), update_norm=norm(p - before)
    )


def norm_of_buffer(p, momentum_buffer, moment_norm=zero):
    """The norm of momentum's buffer."""
    return dict(p=where(moment_norm >= 0, p, p), moment_norm=norm(momentum_buffer))


def norm_of_average(p, exp_avg, moment_norm=zero):
    """The norm of the gradient's average."""
    return dict(p=where(moment_norm >= 0, p, p), moment_norm=norm(exp_avg))


class DecoupledSGDW(Optimizer):
    """SGD whose decay is weight_decay * lr / initial_lr (Loshchilov & Hutter 2017, 1711.05101).

    The rate does not scale decay: a weight_decay here is one of SGDW's times lr. `metrics=True`
    keeps the norms of each parameter's last step in its state.
    """

    def steps(momentum=0.0, dampening=0.0, nesterov=False, metrics=False):
        """No momentum, no buffer. The first buffer is the gradient, undampened."""
        moving = speed("DecoupledSGDW", momentum, nesterov, dampening)
        rules = (*moving, decay_by_schedule, descend)
        buffer = (norm_of_buffer,) if moving else ()
        return (before_step, *rules, *buffer, norms_of_step) if metrics else rules

    defaults = dict(
        lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, metrics=False
    )


class DecoupledAdamW(Optimizer):
    """AdamW whose decay is weight_decay * lr / initial_lr (Loshchilov & Hutter 2017, 1711.05101).

    The rate does not scale decay: a weight_decay here is one of AdamW's times lr. `metrics=True`
    keeps the norms of each parameter's last step in its state.
    """

    def steps(amsgrad=False, metrics=False):
        """AMSGrad adds the largest second moment so far."""
        second = (average_square, largest_square) if amsgrad else (average_square,)
        rules = (decay_by_schedule, average_grad, *second, adam, descend)
        return (before_step, *rules, norm_of_average, norms_of_step) if metrics else rules

    defaults = dict(
        lr=1e-3, betas=(0.9, 0.95), eps=1e-8, weight_decay=1e-5, amsgrad=False, metrics=False
    )
