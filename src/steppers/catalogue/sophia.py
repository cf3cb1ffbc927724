"""Optimizers that estimate the curvature now and then."""

from ..ops import clamp, square, zeros
from ..optimizer import Optimizer
from ..rules import average_grad, decay, descend


def gauss_newton(g, hessian=zeros, *, beta2=0.95, batch_tokens=1.0):
    """Average of batch_tokens * g**2, g the mean gradient at labels drawn from the model."""
    return dict(hessian=beta2 * hessian + (1 - beta2) * batch_tokens * square(g))


def clipped_newton(exp_avg, hessian, *, eps=1e-12, rho=0.03):
    """The mean over the curvature, each element at most 1 in units of rho."""
    return dict(u=clamp(exp_avg / (hessian + eps), -rho, rho) / rho)


class Sophia(Optimizer):
    """Sophia: a clipped step by the diagonal of the Hessian (Liu et al. 2023, arXiv:2305.14342).

    Every k steps (10 in the paper), after a backward pass on labels drawn from the model's own
    output, call `optimizer.run("curvature")`, then `zero_grad()`. `batch_tokens` is the number of
    labels whose mean the loss is. Without curvature an element moves by lr.
    """

    steps = decay, average_grad, clipped_newton, descend
    further = dict(curvature=gauss_newton)
    ranges = dict(rho="> 0", batch_tokens=">= 0")
    defaults = dict(
        lr=1e-4, betas=(0.9, 0.95), eps=1e-12, rho=0.03, weight_decay=0.0, batch_tokens=1.0
    )
