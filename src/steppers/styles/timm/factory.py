"""Optimizers by timm's names, and the functions that make them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from ... import catalogue
from ...optimizer import Optimizer
from .optimizers import SGDW, Lamb, Lars
from .registry import OptimInfo, OptimizerRegistry

NESTEROV = {"nesterov": True}
# fmt: off
ROWS: tuple[tuple[str, type[Optimizer], str, dict[str, Any]], ...] = (
    ("sgd",      catalogue.SGD, "SGD with Nesterov momentum", NESTEROV),
    ("momentum", catalogue.SGD, "SGD with momentum", {"nesterov": False}),
    ("sgdw",     SGDW, "SGD with Nesterov momentum and decoupled decay", NESTEROV),
    ("momentumw", SGDW, "SGD with momentum and decoupled decay", {"nesterov": False}),
    ("csgdw",    SGDW, "cautious SGD with Nesterov momentum and decoupled decay",
     {**NESTEROV, "caution": True}),
    ("sgdc",     SGDW, "sgdw with corrected decay", {**NESTEROV, "corrected_weight_decay": True}),
    ("csgdc",    SGDW, "csgdw with corrected decay",
     {**NESTEROV, "caution": True, "corrected_weight_decay": True}),
    ("adam",     catalogue.Adam, "Adam, L2", {}),
    ("adamw",    catalogue.AdamW, "Adam with decoupled decay", {}),
    ("nadam",    catalogue.NAdam, "Adam with Nesterov momentum, L2", {}),
    ("nadamw",   catalogue.NAdam, "the same with decoupled decay",
     {"decoupled_weight_decay": True}),
    ("radam",    catalogue.RAdam, "Adam that waits for its variance, L2", {}),
    ("radamw",   catalogue.RAdam, "the same with decoupled decay",
     {"decoupled_weight_decay": True}),
    ("adamax",   catalogue.Adamax, "Adam with an infinity norm", {}),
    ("adabelief",  catalogue.AdaBelief, "AdaBelief", {"rectify": False}),
    ("radabelief", catalogue.AdaBelief, "AdaBelief, rectified", {"rectify": True}),
    ("adadelta", catalogue.Adadelta, "updates in the parameter's own units", {}),
    ("adagrad",  catalogue.Adagrad, "rates that shrink with all squares so far", {"eps": 1e-8}),
    ("adafactor", catalogue.Adafactor, "the second moment by rows and columns", {}),
    ("rmsprop",  catalogue.RMSprop, "the gradient over its recent size", {"alpha": 0.9}),
    ("lamb",     Lamb, "Adam's direction at each tensor's size", {}),
    ("lambc",    Lamb, "the same with ratios of at most 1", {"trust_clip": True}),
    ("lambw",    Lamb, "LAMB with decoupled decay", {"decoupled_decay": True}),
    ("lambcw",   Lamb, "lambc with decoupled decay",
     {"trust_clip": True, "decoupled_decay": True}),
    ("lambcd",   Lamb, "LAMB with corrected decoupled decay",
     {"decoupled_decay": True, "corrected_weight_decay": True}),
    ("clamb",    Lamb, "cautious LAMB", {"caution": True}),
    ("clambw",   Lamb, "cautious LAMB with decoupled decay",
     {"caution": True, "decoupled_decay": True}),
    ("lars",     Lars, "each tensor's rate by its norms, before momentum", {}),
    ("larc",     Lars, "the same with rates of at most lr", {"trust_clip": True}),
    ("nlars",    Lars, "LARS with Nesterov momentum", NESTEROV),
    ("nlarc",    Lars, "LARC with Nesterov momentum", {**NESTEROV, "trust_clip": True}),
    ("lion",     catalogue.Lion, "the sign of a momentum", {}),
)
# fmt: on
ALIASES = {"nesterov": "sgd", "nesterovw": "sgdw"}


def _filled() -> OptimizerRegistry:
    registry = OptimizerRegistry()
    for name, cls, description, defaults in ROWS:
        registry.register(OptimInfo(name, cls, description, defaults=defaults))
    for alias, target in ALIASES.items():
        registry.register_alias(alias, target)
    return registry


default_registry = _filled()
"""The names above, and what a program registers itself."""
list_optimizers = default_registry.list_optimizers
get_optimizer_info = default_registry.get_optimizer_info
get_optimizer_class = default_registry.get_optimizer_class
register_optimizer = default_registry.register
register_alias = default_registry.register_alias


def create_optimizer_v2(
    model_or_params: Any,
    opt: str = "sgd",
    lr: float | None = None,
    weight_decay: float | None = 0.0,
    momentum: float | None = 0.9,
    foreach: bool | None = None,
    filter_bias_and_bn: bool = True,
    layer_decay: float | None = None,
    layer_decay_min_scale: float = 0.0,
    layer_decay_no_opt_scale: float | None = None,
    param_group_fn: Callable[[nn.Module], Any] | None = None,
    *,
    fallback_list: Iterable[str] = (),
    fallback_no_weight_decay: bool = False,
    **kwargs: Any,
) -> torch.optim.Optimizer:
    """The optimizer of one of timm's names on a model's groups, or on parameters as they come.

    A model is split by `param_group_fn`, else by `layer_decay`, else with `filter_bias_and_bn` and
    a decay by what decays; `model.no_weight_decay()` is spared, and where the split has given the
    decay to groups, the optimizer's own is 0. 'lookahead_' before a name wraps. 'sgd' is Nesterov's
    form, 'momentum' the plain one. lr None is the class's own, weight_decay None is 0. Dropped are
    momentum, eps and betas that are None or that the class does not take, and a weight_decay of 0
    that it does not take. Parameters and groups are taken as they come: options of the split do
    nothing for them.

    Raises ValueError for an unknown name, and what the class raises.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    >>> optimizer = create_optimizer_v2(model, "adamw", lr=1e-3, weight_decay=0.05)
    >>> [group["weight_decay"] for group in optimizer.param_groups]
    [0.0, 0.05]
    """
    return default_registry.create_optimizer(
        model_or_params, opt, lr=lr, weight_decay=weight_decay, momentum=momentum, foreach=foreach,
        weight_decay_exclude_1d=filter_bias_and_bn, fallback_list=fallback_list,
        fallback_no_weight_decay=fallback_no_weight_decay, layer_decay=layer_decay,
        layer_decay_min_scale=layer_decay_min_scale,
        layer_decay_no_opt_scale=layer_decay_no_opt_scale, param_group_fn=param_group_fn, **kwargs,
    )  # fmt: skip


def optimizer_kwargs(cfg: Any) -> dict[str, Any]:
    """Arguments of `create_optimizer_v2` from a namespace of command-line arguments, timm's names.

    Read are opt, lr, weight_decay, momentum, and where set opt_eps, opt_betas, layer_decay,
    layer_decay_min_scale, layer_decay_no_opt_scale, opt_foreach and the dict opt_args.
    """
    found = {name: getattr(cfg, name) for name in ("opt", "lr", "weight_decay", "momentum")}
    renamed = {
        "eps": "opt_eps", "betas": "opt_betas", "layer_decay": "layer_decay",
        "layer_decay_min_scale": "layer_decay_min_scale",
        "layer_decay_no_opt_scale": "layer_decay_no_opt_scale", "foreach": "opt_foreach",
    }  # fmt: skip
    stated = {name: getattr(cfg, argument, None) for name, argument in renamed.items()}
    found.update({name: value for name, value in stated.items() if value is not None})
    return {**found, **(getattr(cfg, "opt_args", None) or {})}


def create_optimizer(
    args: Any, model: Any, filter_bias_and_bn: bool = True
) -> torch.optim.Optimizer:
    """`create_optimizer_v2` from a namespace of command-line arguments."""
    return create_optimizer_v2(
        model, **optimizer_kwargs(args), filter_bias_and_bn=filter_bias_and_bn
    )
