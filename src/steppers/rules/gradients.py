"""Rules that change the gradient before the statistics see it."""

from ..chain import by_shape
from ..ops import global_norm, maximum, mean, minimum, norm, where


def maximise(g):
    """Climb instead of descending."""
    return dict(g=-g)


def l2(p, g, *, weight_decay=0.0):
    """Coupled decay: the gradient of weight_decay/2 * sum(p**2), seen by all statistics."""
    return dict(g=g + weight_decay * p)


def clip_by_global_norm(g, *, max_norm=1.0):
    """Scale all gradients so that their common norm is at most max_norm (Pascanu et al. 2013)."""
    return dict(g=g * minimum(1.0, max_norm / (global_norm(g) + 1e-6)))


def clip_by_norm(g, *, max_norm=1.0):
    """Scale each tensor's gradient so that its norm is at most max_norm."""
    return dict(g=g * minimum(1.0, max_norm / (norm(g) + 1e-6)))


def clip_by_value(g, *, clip_value=1.0):
    """Keep each element of the gradient within [-clip_value, clip_value]."""
    return dict(g=minimum(maximum(g, -clip_value), clip_value))


def clip_units_adaptively(p, g, *, clip_factor=0.01, clip_eps=1e-3):
    """Scale each unit's gradient to at most clip_factor of its weights' norm (Brock et al. 2021).

    A unit is an index of the first axis. Weights of a norm below clip_eps count as that.
    arXiv:2102.06171, equation 3; the guard of 1e-6 is that of the paper's code.
    """
    limit = clip_factor * maximum(norm(p, over="rest"), clip_eps)
    size = norm(g, over="rest")
    return dict(g=where(size < limit, g, g * (limit / maximum(size, 1e-6))))


def clip_tensor_adaptively(p, g, *, clip_factor=0.01, clip_eps=1e-3):
    """Scale the whole tensor's gradient to at most clip_factor of the weights' norm."""
    limit = clip_factor * maximum(norm(p), clip_eps)
    size = norm(g)
    return dict(g=where(size < limit, g, g * (limit / maximum(size, 1e-6))))


clip_adaptively = by_shape(matrices=[clip_units_adaptively], others=[clip_tensor_adaptively])
"""Adaptive clipping for any model: by unit where there is more than one axis, as the paper has it.

First in a chain: behind `decay` it would see weights that have decayed.
"""


def centralise(g):
    """Subtract the mean over all but the first axis (Yong et al. 2020, arXiv:2004.01461)."""
    return dict(g=g - mean(g, over="rest"))


centralise_matrices = by_shape(matrices=[centralise], others=[])
"""Centralisation for any model: gradients of vectors and scalars stay as they are."""
