"""SGDW, LAMB and LARS with timm's options; the maths is a chain of rules as everywhere."""

# A rule's convention is its type, as in steppers.rules and steppers.catalogue:
# pyright: reportMissingParameterType=false, reportOperatorIssue=false
# pyright: reportIncompatibleVariableOverride=false, reportSelfClsParameterName=false

from __future__ import annotations

from math import inf
from typing import Any

from ...ops import global_norm, maximum, minimum, norm, sqrt, where, zeros
from ...optimizer import Optimizer
from ...rules import (
    adam,
    average_grad,
    average_square,
    cautious,
    decay,
    decay_corrected,
    decayed_direction,
    descend,
    heavy_ball,
)
from ...rules import nesterov as look_ahead


class SGDW(Optimizer):
    """SGD with decoupled decay: by lr, or with `corrected_weight_decay` by lr**2 / initial_lr.

    `caution` keeps the elements of the direction that agree with the gradient in sign.
    """

    def steps(
        momentum=0.0, dampening=0.0, nesterov=False, caution=False,
        corrected_weight_decay=False,
    ):  # fmt: skip
        """No momentum, no buffer. Nesterov's form needs momentum without dampening."""
        if nesterov and (not momentum or dampening):
            raise ValueError("SGDW: nesterov=True needs momentum > 0 and dampening = 0")
        speed = (heavy_ball, look_ahead) if nesterov else (heavy_ball,)
        return (
            *(speed if momentum else ()),
            *((cautious,) if caution else ()),
            decay_corrected if corrected_weight_decay else decay,
            descend,
        )

    defaults = dict(
        lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, caution=False,
        corrected_weight_decay=False,
    )  # fmt: skip


# --- LAMB --------------------------------------------------------------------------------------


def clip_to_norm(g, *, max_grad_norm=1.0):
    """Divide all gradients by how much their common norm is above max_grad_norm."""
    return dict(g=g / maximum(global_norm(g) / max_grad_norm, 1.0))


def sum_grad(g, exp_avg=zeros, *, beta1=0.9):
    """A decaying sum of the gradient: `grad_averaging=False`."""
    return dict(exp_avg=beta1 * exp_avg + g)


def adam_biased(exp_avg, second, *, eps=1e-6):
    """Adam's direction, not debiased: `bias_correction=False`."""
    return dict(u=exp_avg / (sqrt(second) + eps))


def trust_if_decayed(p, u, *, weight_decay=0.0, trust_cap=inf):
    """Scale u to the norm of p, at most trust_cap times; parameters without decay keep theirs."""
    return dict(u=where(weight_decay > 0, ratio_of(p, u, trust_cap), 1.0) * u)


def trust_always(p, u, *, trust_cap=inf):
    """Scale u to the norm of p, at most trust_cap times: `always_adapt`."""
    return dict(u=ratio_of(p, u, trust_cap) * u)


def ratio_of(p, u, cap):
    """The norm of p over that of u, at most `cap`; 1 where a norm is 0."""
    p_norm, u_norm = norm(p), norm(u)
    return minimum(where((p_norm > 0) & (u_norm > 0), p_norm / u_norm, 1.0), cap)


class Lamb(Optimizer):
    """LAMB as timm has it (You et al. 2019, arXiv:1904.00962): gradients clipped, ratio not.

    Beside `steppers.LAMB`: a common clip of the gradients to `max_grad_norm` (None or 0: none), no
    ratio where nothing decays unless `always_adapt`, `trust_clip=True` for ratios of at most 1,
    `decoupled_decay` for decay by lr outside the ratio.
    """

    def steps(
        bias_correction=True, grad_averaging=True, max_grad_norm=1.0,
        always_adapt=False, caution=False, decoupled_decay=False,
    ):  # fmt: skip
        """Each option is another rule."""
        return (
            *((clip_to_norm,) if max_grad_norm else ()),
            *((decay,) if decoupled_decay else ()),
            average_grad if grad_averaging else sum_grad,
            average_square,
            adam if bias_correction else adam_biased,
            *((cautious,) if caution else ()),
            *(() if decoupled_decay else (decayed_direction,)),
            trust_always if always_adapt else trust_if_decayed,
            descend,
        )

    ranges = dict(max_grad_norm=">= 0", trust_cap="> 0")
    defaults = dict(
        lr=1e-3, bias_correction=True, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01,
        grad_averaging=True, max_grad_norm=1.0, trust_cap=inf, always_adapt=False, caution=False,
        decoupled_decay=False,
    )  # fmt: skip

    def __init__(
        self, params: Any, lr: float = 1e-3, bias_correction: bool = True,
        betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6, weight_decay: float = 0.01,
        grad_averaging: bool = True, max_grad_norm: float | None = 1.0, trust_clip: bool = False,
        always_adapt: bool = False, caution: bool = False, decoupled_decay: bool = False,
        **more: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, bias_correction, betas, eps, weight_decay, grad_averaging,
            max_grad_norm or 0.0, 1.0 if trust_clip else inf, always_adapt, caution,
            decoupled_decay, **more,
        )  # fmt: skip


# --- LARS --------------------------------------------------------------------------------------


def lars_gradient(
    p, g, *, lr, weight_decay=0.0, trust_coeff=1e-3, eps=1e-8,
    always_adapt=0.0, rate_cap=inf,
):  # fmt: skip
    """The gradient with its decay, scaled by trust_coeff times the norms' ratio (You et al. 2017).

    1708.03888. By 1 where a norm is 0, and without decay unless always_adapt. A finite `rate_cap`
    keeps lr times the ratio at or below it (LARC).
    """
    p_norm, g_norm = norm(p), norm(g)
    ratio = trust_coeff * p_norm / (g_norm + p_norm * weight_decay + eps)
    ratio = where((p_norm > 0) & (g_norm > 0), ratio, 1.0)
    ratio = where(rate_cap < inf, minimum(ratio / lr, rate_cap), ratio)
    adapts = where(weight_decay > 0, 1.0, always_adapt)
    return dict(g=(g + weight_decay * p) * where(adapts > 0, ratio, 1.0))


class Lars(Optimizer):
    """LARS as timm has it (You et al. 2017, arXiv:1708.03888): the ratio before the momentum.

    `trust_clip=True` is LARC's: the ratio over lr, at most 1. Parameters without decay keep their
    gradients unless `always_adapt`.
    """

    def steps(momentum=0.0, dampening=0.0, nesterov=False):
        """No momentum, no buffer. Nesterov's form needs momentum without dampening."""
        if nesterov and (not momentum or dampening):
            raise ValueError("Lars: nesterov=True needs momentum > 0 and dampening = 0")
        speed = (heavy_ball, look_ahead) if nesterov else (heavy_ball,)
        return (lars_gradient, *(speed if momentum else ()), descend)

    ranges = dict(trust_coeff="> 0", rate_cap="> 0")
    defaults = dict(
        lr=1.0, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, trust_coeff=1e-3,
        eps=1e-8, rate_cap=inf, always_adapt=0.0,
    )  # fmt: skip

    def __init__(
        self, params: Any, lr: float = 1.0, momentum: float = 0.0, dampening: float = 0.0,
        weight_decay: float = 0.0, nesterov: bool = False, trust_coeff: float = 1e-3,
        eps: float = 1e-8, trust_clip: bool = False, always_adapt: bool = False, **more: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, momentum, dampening, weight_decay, nesterov, trust_coeff, eps,
            1.0 if trust_clip else inf, float(always_adapt), **more,
        )  # fmt: skip
