"""Composer's two optimizers: the catalogue's, with Composer's defaults, warning and metrics."""

# A rule's convention is its type, as in steppers.rules and steppers.catalogue:
# pyright: reportMissingParameterType=false, reportOperatorIssue=false
# pyright: reportIncompatibleVariableOverride=false, reportSelfClsParameterName=false

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ... import catalogue
from ...ops import where
from ...optimizer import Optimizer
from ...rules import decay_by_schedule
from . import functional, metrics

HIGH = 1e-3
log = logging.getLogger("steppers.styles.composer")


def decay_from_zero(p, *, lr, initial_lr, weight_decay=0.0):
    """`decay_by_schedule`, but by all of weight_decay at each step where the rate began at 0."""
    reached = where(initial_lr > 0, lr / initial_lr, 1.0)
    return dict(p=p * (1 - reached * weight_decay))


def as_composer(rules: tuple[Any, ...]) -> tuple[Any, ...]:
    """The catalogue's rules with Composer's decay for ours, which leaves p alone at a rate of 0."""
    return tuple(decay_from_zero if rule is decay_by_schedule else rule for rule in rules)


class Reporting(Optimizer):
    """What both have: metrics as Composer's monitors ask for them, and Composer's checkpoints."""

    def report_per_parameter_metrics(
        self, param: Tensor, name: str, optimizer_metrics: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        """Add one parameter's norms to a dict, under `l2_norm/moment/NAME` and so on."""
        return metrics.report(self, param, name, optimizer_metrics)

    def pre_reduce_metrics(self, optimizer_metrics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The squares of the norms: what the ranks add."""
        return metrics.pre_reduce_metrics(optimizer_metrics)

    def dist_reduce_metrics(self, optimizer_metrics: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Norms of whole tensors from the squares on each rank."""
        return metrics.dist_reduce_metrics(optimizer_metrics)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load torch's format, with norms or without: those that are not there begin at 0.

        Checkpoints of Composer's classes, of torch's SGD and AdamW and of the catalogue's classes
        have none. A group saved without `initial_lr` began at the lr it was saved with. Raises as
        `steppers.Optimizer.load_state_dict` does.
        """
        keeps = {bool(group["metrics"]) for group in self.param_groups}
        fits = len(keeps) == 1 and _is_whole(state_dict)
        super().load_state_dict(_with_norms(state_dict, keeps.pop()) if fits else state_dict)

    def _run(self, which: str, counting: bool, within: Any = None) -> None:
        for group in self.param_groups:
            if "initial_lr" not in group:  # taken out, or another optimizer's groups
                group["initial_lr"] = _copy(group["lr"])
        super()._run(which, counting, within)


def _is_whole(given: Any) -> bool:
    """True for what has the form of a state dict; what has not is refused by the optimizer."""
    if not (isinstance(given, dict) and isinstance(given.get("state"), dict)):
        return False
    states, groups = given["state"].values(), given.get("param_groups")
    if not isinstance(groups, list) or not all(isinstance(group, dict) for group in groups):
        return False
    return all(isinstance(state, dict | None) for state in states)


def _with_norms(given: dict[str, Any], keeps: bool) -> dict[str, Any]:
    """A state dict whose states have the norms that the chain keeps, or none if it keeps none."""
    return {
        **given,
        "state": {i: _normed(state, keeps) for i, state in given["state"].items()},
        "param_groups": [_begun(group) for group in given["param_groups"]],
    }


def _begun(group: dict[str, Any]) -> dict[str, Any]:
    """A saved group with the rate that it began at; whether it kept norms does not matter."""
    began = {"initial_lr": _copy(group["lr"])} if "lr" in group else {}
    return {**began, **{name: value for name, value in group.items() if name != "metrics"}}


def _copy(lr: Any) -> Any:
    return lr.clone() if isinstance(lr, Tensor) else lr


def _normed(state: Any, keeps: bool) -> Any:
    if not state:
        return state
    slots = set(metrics.METRICS.values())
    if not keeps:
        return {name: value for name, value in state.items() if name not in slots}
    if not any(state.get(name) is not None for name in ("momentum_buffer", "exp_avg")):
        slots.remove("moment_norm")
    return {**{name: torch.zeros(()) for name in sorted(slots)}, **state}


class DecoupledSGDW(Reporting, catalogue.DecoupledSGDW):
    """`steppers.DecoupledSGDW` as Composer has it: lr is needed, metrics are kept.

    A decay of 1e-3 or more is logged as high: it is not multiplied by lr. Where lr began at 0,
    all of weight_decay applies.
    """

    sgdw = staticmethod(functional.sgdw)

    def steps(momentum=0.0, dampening=0.0, nesterov=False, metrics=False):
        """The catalogue's, with Composer's decay."""
        return as_composer(catalogue.DecoupledSGDW.steps(momentum, dampening, nesterov, metrics))

    def __init__(
        self,
        params: Any,
        lr: float,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        metrics: bool = True,
        **more: Any,
    ) -> None:
        super().__init__(params, lr, momentum, dampening, weight_decay, nesterov, metrics, **more)
        _warn_of_high(type(self).__name__, self.defaults)


class DecoupledAdamW(Reporting, catalogue.DecoupledAdamW):
    """`steppers.DecoupledAdamW` as Composer has it: metrics are kept.

    A decay of 1e-3 or more is logged as high: it is not multiplied by lr. Where lr began at 0,
    all of weight_decay applies. A parameter that requires no gradient is left alone, also where it
    still has one.
    """

    adamw = staticmethod(functional.adamw)

    def steps(amsgrad=False, metrics=False):
        """The catalogue's, with Composer's decay."""
        return as_composer(catalogue.DecoupledAdamW.steps(amsgrad, metrics))

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 1e-5,
        amsgrad: bool = False,
        *,
        metrics: bool = True,
        **more: Any,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, metrics, **more)
        _warn_of_high(type(self).__name__, self.defaults)

    def _run(self, which: str, counting: bool, within: Any = None) -> None:
        with _frozen_aside(p for group in self.param_groups for p in group["params"]):
            super()._run(which, counting, within)


@contextmanager
def _frozen_aside(params: Iterable[Tensor]) -> Generator[None]:
    """Gradients of parameters that require none are not there for the length of a with-block."""
    held = [(p, p.grad) for p in params if p.grad is not None and not p.requires_grad]
    for p, _ in held:
        p.grad = None
    try:
        yield
    finally:
        for p, grad in held:
            p.grad = grad


def _warn_of_high(owner: str, hypers: Mapping[str, Any]) -> None:
    decay = float(hypers["weight_decay"])
    if decay >= HIGH:
        log.warning(
            "%s: weight_decay=%g is a high weight decay where lr does not multiply it: each step "
            "keeps %g of every weight. AdamW's and SGDW's %g would be %g here (times lr)",
            owner, decay, 1 - decay, decay, decay * float(hypers["lr"]),
        )  # fmt: skip
