"""fastai's ready-made optimizers: a list of callbacks each, decay first.

Further options of each are those of `Optimizer`: `strict` and `keep_grads`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from ..groups import as_groups
from .callbacks import (
    Callback,
    adam_step,
    average_grad,
    average_sqr_grad,
    l2_reg,
    lamb_step,
    larc_layer_lr,
    larc_step,
    momentum_step,
    qhadam_step,
    radam_step,
    rms_prop_step,
    sgd_step,
    step_stat,
    weight_decay,
)
from .lookahead import Lookahead
from .optimizer import Optimizer


def _decay(decouple_wd: bool) -> Callback:
    return weight_decay if decouple_wd else l2_reg


# What Adam and its kin keep: debiased averages that start at zero, and a count
_AVERAGES = (partial(average_grad, dampening=True), average_sqr_grad, step_stat)


def SGD(
    params: Any,
    lr: Any,
    mom: Any = 0.0,
    wd: Any = 0.0,
    decouple_wd: bool = True,
    **options: Any,
) -> Optimizer:
    """SGD with undampened momentum if `mom` is not 0; raising it later does not add any."""
    params = as_groups("SGD", params)
    averages = [average_grad, momentum_step] if has_momentum(mom, params) else [sgd_step]
    return Optimizer(params, [_decay(decouple_wd), *averages], lr=lr, mom=mom, wd=wd, **options)


def RMSProp(
    params: Any,
    lr: Any,
    mom: Any = 0.0,
    sqr_mom: Any = 0.99,
    eps: Any = 1e-8,
    wd: Any = 0.0,
    decouple_wd: bool = True,
    **options: Any,
) -> Optimizer:
    """RMSProp, not debiased: a first step is about 10 lr; momentum averages the raw gradient."""
    params = as_groups("RMSProp", params)
    cbs = [_decay(decouple_wd), *([average_grad] if has_momentum(mom, params) else [])]
    cbs += [average_sqr_grad, rms_prop_step]
    hypers = dict(lr=lr, mom=mom, sqr_mom=sqr_mom, eps=eps, wd=wd)
    return Optimizer(params, cbs, **hypers, **options)


def Adam(
    params: Any,
    lr: Any,
    mom: Any = 0.9,
    sqr_mom: Any = 0.99,
    eps: Any = 1e-5,
    wd: Any = 0.01,
    decouple_wd: bool = True,
    **options: Any,
) -> Optimizer:
    """Adam (Kingma & Ba 2014), with decoupled decay of 0.01."""
    cbs = [_decay(decouple_wd), *_AVERAGES, adam_step]
    hypers = dict(lr=lr, mom=mom, sqr_mom=sqr_mom, eps=eps, wd=wd)
    return Optimizer(params, cbs, **hypers, **options)


def RAdam(
    params: Any,
    lr: Any,
    mom: Any = 0.9,
    sqr_mom: Any = 0.99,
    eps: Any = 1e-5,
    wd: Any = 0.0,
    beta: Any = 0.0,
    decouple_wd: bool = True,
    **options: Any,
) -> Optimizer:
    """Rectified Adam; with `beta` also SAdam's softplus over the denominator."""
    if isinstance(beta, float | int) and not beta >= 0:
        raise ValueError(f"RAdam: beta must be >= 0, got {beta!r}")
    cbs = [_decay(decouple_wd), *_AVERAGES, radam_step]
    hypers = dict(lr=lr, mom=mom, sqr_mom=sqr_mom, eps=eps, wd=wd, beta=beta)
    return Optimizer(params, cbs, **hypers, **options)


def QHAdam(
    params: Any,
    lr: Any,
    mom: Any = 0.999,
    sqr_mom: Any = 0.999,
    nu_1: Any = 0.7,
    nu_2: Any = 1.0,
    eps: Any = 1e-8,
    wd: Any = 0.0,
    decouple_wd: bool = True,
    **options: Any,
) -> Optimizer:
    """Quasi-hyperbolic Adam. nu_1 = nu_2 = 1 is Adam; nu_1 = 0, nu_2 = 1 a debiased RMSProp."""
    cbs = [_decay(decouple_wd), *_AVERAGES, qhadam_step]
    hypers = dict(lr=lr, mom=mom, sqr_mom=sqr_mom, nu_1=nu_1, nu_2=nu_2, eps=eps, wd=wd)
    return Optimizer(params, cbs, **hypers, **options)


def Larc(
    params: Any,
    lr: Any,
    mom: Any = 0.9,
    clip: bool = True,
    trust_coeff: Any = 0.02,
    eps: Any = 1e-8,
    wd: Any = 0.0,
    decouple_wd: bool = True,
    *,
    guard: bool = True,
    **options: Any,
) -> Optimizer:
    """LARC, and LARS with clip=False (You et al. 2017, arXiv:1708.03888).

    The layer's rate sees p as decayed. Where a norm is 0 it is lr; `guard=False`: the original's 0,
    with which a tensor of zeros never moves.
    """
    params = as_groups("Larc", params)
    cbs = [_decay(decouple_wd), *([average_grad] if has_momentum(mom, params) else [])]
    cbs += [partial(larc_layer_lr, clip=clip, guard=guard), larc_step]
    hypers = dict(lr=lr, mom=mom, trust_coeff=trust_coeff, eps=eps, wd=wd)
    return Optimizer(params, cbs, **hypers, **options)


def Lamb(
    params: Any,
    lr: Any,
    mom: Any = 0.9,
    sqr_mom: Any = 0.99,
    eps: Any = 1e-5,
    wd: Any = 0.0,
    decouple_wd: bool = True,
    **options: Any,
) -> Optimizer:
    """LAMB (You et al. 2019) with decay outside the trust ratio."""
    cbs = [_decay(decouple_wd), *_AVERAGES, lamb_step]
    hypers = dict(lr=lr, mom=mom, sqr_mom=sqr_mom, eps=eps, wd=wd)
    return Optimizer(params, cbs, **hypers, **options)


def ranger(
    params: Any,
    lr: Any,
    mom: Any = 0.95,
    wd: Any = 0.01,
    eps: Any = 1e-6,
    k: int = 6,
    alpha: float = 0.5,
    **options: Any,
) -> Lookahead:
    """Lookahead around RAdam; options are RAdam's."""
    return Lookahead(RAdam(params, lr=lr, mom=mom, wd=wd, eps=eps, **options), k=k, alpha=alpha)


def has_momentum(mom: Any, groups: Iterable[Mapping[str, Any]] = ()) -> bool:
    """Whether any group is to have momentum, by `mom` or by its own."""
    values = mom.tolist() if hasattr(mom, "tolist") else mom  # a tensor or an array
    if isinstance(values, slice):
        values = [values.stop]
    given = values if isinstance(values, list | tuple) else [values]
    return any([*given, *(group.get("mom", group.get("momentum")) for group in groups)])
