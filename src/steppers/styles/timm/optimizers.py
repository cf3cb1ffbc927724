"""SGDW, LAMB and LARS with timm's options; the maths is a chain of rules as everywhere."""

# A rule's convention is its type, as in steppers.rules and steppers.catalogue:
# pyright: reportMissingParameterType=false, reportOperatorIssue=false
# pyright: reportIncompatibleVariableOverride=false, reportSelfClsParameterName=false

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any

from ...catalogue.speed import speed
from ...ops import global_norm, maximum, sqrt, where, zeros
from ...optimizer import Optimizer
from ...rules import (
    adam,
    average_grad,
    average_square,
    cap_at_lr,
    cautious,
    decay,
    decay_corrected,
    decayed_direction,
    descend,
    lars_ratio,
    scaled_gradient,
    trust_ratio,
)


class SGDW(Optimizer):
    """SGD with decoupled decay: by lr, or with `corrected_weight_decay` by lr**2 / max_lr.

    max_lr is the group's, where it states one (torch's OneCycleLR does), else the lr it began at.
    `caution` keeps the elements of momentum's direction that agree with the gradient in sign.
    """

    def steps(
        momentum=0.0, dampening=0.0, nesterov=False, caution=False,
        corrected_weight_decay=False,
    ):  # fmt: skip
        """No momentum, no buffer. Nesterov's form needs momentum without dampening."""
        return (
            *speed("SGDW", momentum, nesterov, dampening),
            *((cautious,) if caution and momentum else ()),
            decay_corrected if corrected_weight_decay else decay,
            descend,
        )

    defaults = dict(
        lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, caution=False,
        corrected_weight_decay=False,
    )  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load torch's format; timm's own has the top of the rate as `max_lr_snapshot`."""
        super().load_state_dict(_changed(state_dict, _with_top))


# --- LAMB --------------------------------------------------------------------------------------


def clip_to_norm(g, *, max_grad_norm=1.0):
    """Divide all gradients by how much their common norm is above max_grad_norm."""
    return dict(g=g / maximum(global_norm(g) / max_grad_norm, 1.0))


def sum_grad(g, exp_avg=zeros, *, beta1=0.9):
    """A decaying sum of the gradient: `grad_averaging=False`."""
    return dict(exp_avg=beta1 * exp_avg + g)


def count_in_group(*, group_step=0.0):
    """The steps of the group: its parameters share a count, those without a gradient as well."""
    return dict(group_step=group_step + 1, taken=group_step + 1)


def adam_of_group(exp_avg, second, taken, *, beta1=0.9, beta2=0.999, eps=1e-6):
    """Adam's direction, debiased by the group's count."""
    return adam(exp_avg, second, t=taken, beta1=beta1, beta2=beta2, eps=eps)


def adam_biased(exp_avg, second, *, eps=1e-6):
    """Adam's direction, not debiased: `bias_correction=False`."""
    return dict(u=exp_avg / (sqrt(second) + eps))


def trusted_if_decayed(p, u, *, weight_decay=0.0, cap=inf):
    """`trust_ratio`; what does not decay keeps its direction."""
    return dict(u=where(weight_decay > 0, trust_ratio(p, u, trust_clip=cap)["u"], u))


class Lamb(Optimizer):
    """LAMB as timm has it (You et al. 2019, arXiv:1904.00962): gradients clipped, ratio not.

    Beside `steppers.LAMB`: a common clip of the gradients to `max_grad_norm` (None or 0: none), no
    ratio where nothing decays unless `always_adapt`, `trust_clip=True` for ratios of at most 1,
    `decoupled_decay` for decay by lr outside the ratio, or with `corrected_weight_decay` by
    lr**2 / max_lr as SGDW. Steps are counted by group, in its key `group_step`.
    """

    def steps(
        bias_correction=True, grad_averaging=True, max_grad_norm=1.0, trust_clip=False,
        always_adapt=False, caution=False, decoupled_decay=False, corrected_weight_decay=False,
    ):  # fmt: skip
        """Each option is another rule."""
        apart = decay_corrected if corrected_weight_decay else decay
        cap = 1.0 if trust_clip else inf
        return (
            *((clip_to_norm,) if max_grad_norm else ()),
            *((apart,) if decoupled_decay else ()),
            average_grad if grad_averaging else sum_grad,
            average_square,
            *((count_in_group, adam_of_group) if bias_correction else (adam_biased,)),
            *((cautious,) if caution else ()),
            *(() if decoupled_decay else (decayed_direction,)),
            partial(trust_ratio, trust_clip=cap)
            if always_adapt
            else partial(trusted_if_decayed, cap=cap),
            descend,
        )

    ranges = dict(max_grad_norm=">= 0")
    defaults = dict(
        lr=1e-3, bias_correction=True, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01,
        grad_averaging=True, max_grad_norm=1.0, trust_clip=False, always_adapt=False,
        caution=False, decoupled_decay=False, corrected_weight_decay=False,
    )  # fmt: skip

    def __init__(
        self, params: Any, lr: float = 1e-3, bias_correction: bool = True,
        betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6, weight_decay: float = 0.01,
        grad_averaging: bool = True, max_grad_norm: float | None = 1.0, trust_clip: bool = False,
        always_adapt: bool = False, caution: bool = False, decoupled_decay: bool = False,
        corrected_weight_decay: bool = False, **more: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, bias_correction, betas, eps, weight_decay, grad_averaging,
            0.0 if max_grad_norm is None else max_grad_norm, trust_clip, always_adapt, caution,
            decoupled_decay, corrected_weight_decay, **more,
        )  # fmt: skip

    def state_dict(self) -> dict[str, Any]:
        """Torch's format; groups hold their count as `step` too, where timm's class reads it."""
        return _changed(super().state_dict(), _with_step)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load torch's format; timm's own has the count of a group in its key `step`."""
        super().load_state_dict(_changed(state_dict, _with_count, _with_top))

    def _run(self, which: str, counting: bool, within: Any = None) -> None:
        """Count also where a kept scalar does not: at lr 0, undebiased, without any gradient."""
        before = [group.setdefault("group_step", 0.0) for group in self.param_groups]
        super()._run(which, counting, within)
        for group, old in zip(self.param_groups, before, strict=True):
            if counting and group["group_step"] == old and not group["skip_nonfinite"]:
                group["group_step"] = old + 1


def _with_step(group: dict[str, Any], states: dict[Any, Any]) -> dict[str, Any]:
    return {**group, "step": group["group_step"]} if "group_step" in group else group


def _with_count(group: dict[str, Any], states: dict[Any, Any]) -> dict[str, Any]:
    """The count under our name: timm's, ours, else that of the parameter that took most steps."""
    taken = [(states.get(i) or {}).get("step", 0) for i in group["params"]]
    count = group.get("group_step", max(map(float, taken), default=0.0))
    rest = {name: value for name, value in group.items() if name != "step"}
    found = {**rest, "group_step": float(group.get("step", count))}  # timm's goes on in `step`
    if "max_grad_norm" in found and found["max_grad_norm"] is None:  # timm's word for no clip
        found["max_grad_norm"] = 0.0
    return found


# --- checkpoints of timm's ----------------------------------------------------------------------


def _changed(saved: Any, *changes: Callable[..., dict[str, Any]]) -> Any:
    """A state dict with changed groups; what has not the form of one stays, to be refused."""
    try:
        groups, states = saved["param_groups"], saved["state"]
        for change in changes:
            groups = [change(group, states) for group in groups]
        return {**saved, "param_groups": groups}
    except (AttributeError, KeyError, TypeError):
        return saved


def _with_top(group: dict[str, Any], states: dict[Any, Any]) -> dict[str, Any]:
    """The top of a rate that decay is corrected by; a scheduler's notes say more than timm's."""
    noted = "initial_lr" in group or "max_lr" in group
    if noted or not group.get("corrected_weight_decay") or "max_lr_snapshot" not in group:
        return group
    return {**group, "initial_lr": max(float(group["max_lr_snapshot"]), float(group["lr"]))}


# --- LARS --------------------------------------------------------------------------------------


def own_ratio(p, g, *, weight_decay=0.0, trust_coeff=1e-3, eps=1e-8):
    """`lars_ratio`, with timm's name for its coefficient."""
    return lars_ratio(p, g, weight_decay=weight_decay, trust_coefficient=trust_coeff, eps=eps)


def scaled_where_decayed(p, g, ratio, *, weight_decay=0.0):
    """`scaled_gradient`; what does not decay keeps its gradient."""
    return scaled_gradient(p, g, where(weight_decay > 0, ratio, 1.0), weight_decay=weight_decay)


class Lars(Optimizer):
    """LARS as timm has it (You et al. 2017, arXiv:1708.03888): the ratio before the momentum.

    `trust_clip=True` is LARC's: the ratio over lr, at most 1. Parameters without decay keep their
    gradients unless `always_adapt`.
    """

    def steps(
        momentum=0.0, dampening=0.0, nesterov=False, trust_clip=False, always_adapt=False
    ):  # fmt: skip
        """No momentum, no buffer. Nesterov's form needs momentum without dampening."""
        return (
            own_ratio,
            *((cap_at_lr,) if trust_clip else ()),
            scaled_gradient if always_adapt else scaled_where_decayed,
            *speed("Lars", momentum, nesterov, dampening),
            descend,
        )

    defaults = dict(
        lr=1.0, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, trust_coeff=1e-3,
        eps=1e-8, trust_clip=False, always_adapt=False,
    )  # fmt: skip

    def __init__(
        self, params: Any, lr: float = 1.0, momentum: float = 0.0, dampening: float = 0.0,
        weight_decay: float = 0.0, nesterov: bool = False, trust_coeff: float = 1e-3,
        eps: float = 1e-8, trust_clip: bool = False, always_adapt: bool = False, **more: Any,
    ) -> None:  # fmt: skip
        super().__init__(
            params, lr, momentum, dampening, weight_decay, nesterov, trust_coeff, eps, trust_clip,
            always_adapt, **more,
        )  # fmt: skip
