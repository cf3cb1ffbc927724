"""Optimizers by timm's names: what there is, what each takes, and `create_optimizer_v2`."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from ... import catalogue
from ...optimizer import Optimizer
from .layer_decay import param_groups_layer_decay
from .lookahead import Lookahead
from .optimizers import SGDW, Lamb, Lars
from .weight_decay import param_groups_weight_decay

PREFIX = "lookahead_"


@dataclass(frozen=True)
class OptimInfo:
    """A name, the class that it stands for, and the arguments that go with the name."""

    name: str
    opt_class: Callable[..., torch.optim.Optimizer]
    description: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def takes(self, argument: str) -> bool:
        """True if the class has that argument."""
        return argument in inspect.signature(self.opt_class).parameters

    @property
    def has_eps(self) -> bool:
        """True if the class takes eps."""
        return self.takes("eps")

    @property
    def has_betas(self) -> bool:
        """True if the class takes betas."""
        return self.takes("betas")

    @property
    def has_momentum(self) -> bool:
        """True if the class takes momentum."""
        return self.takes("momentum")


class OptimizerRegistry:
    """Optimizers by name; `default_registry` holds those below.

    Unknown names raise ValueError with the nearest.
    """

    def __init__(self) -> None:
        self._infos: dict[str, OptimInfo] = {}

    def register(self, info: OptimInfo) -> None:
        """Add an optimizer; its name must be free, and may not begin with 'lookahead_'."""
        name = info.name.lower()
        if name in self._infos:
            raise ValueError(f"an optimizer called {name!r} is registered already")
        if not name or name.startswith(PREFIX):
            raise ValueError(f"an optimizer's name has letters and no prefix, got {info.name!r}")
        self._infos[name] = info

    def register_alias(self, alias: str, target: str) -> None:
        """Add another name for a registered optimizer."""
        info = self.get_optimizer_info(target)
        self.register(OptimInfo(alias, info.opt_class, info.description, info.defaults))

    def list_optimizers(
        self,
        filter: str | Sequence[str] = "",
        exclude_filters: Sequence[str] | None = None,
        with_description: bool = False,
    ) -> list[Any]:
        """Names that match one pattern of `filter` and none of the others; pairs if described."""
        wanted = [filter] if isinstance(filter, str) else list(filter)
        wanted = [pattern for pattern in wanted if pattern] or ["*"]
        names = [
            name
            for name in sorted(self._infos)
            if _like(name, wanted) and not _like(name, exclude_filters or ())
        ]
        return [(n, self._infos[n].description) for n in names] if with_description else names

    def get_optimizer_info(self, name: str) -> OptimInfo:
        """What is known of a name."""
        if name.lower() not in self._infos:
            near = difflib.get_close_matches(name.lower(), self._infos, 1)
            hint = (
                f"; did you mean {near[0]!r}?" if near else f" (there are {', '.join(self._infos)})"
            )
            raise ValueError(f"no optimizer is called {name!r}{hint}")
        return self._infos[name.lower()]

    def get_optimizer_class(
        self, name: str, bind_defaults: bool = True
    ) -> Callable[..., torch.optim.Optimizer]:
        """The class of a name, with the name's own arguments bound where there are some."""
        info = self.get_optimizer_info(name)
        bound = bind_defaults and info.defaults
        return partial(info.opt_class, **info.defaults) if bound else info.opt_class

    def create_optimizer(
        self,
        model_or_params: Any,
        opt: str = "sgd",
        *,
        lr: float | None = None,
        weight_decay: float = 0.0,
        momentum: float | None = 0.9,
        **kwargs: Any,
    ) -> torch.optim.Optimizer:
        """The optimizer of a name on parameters or groups: see `create_optimizer_v2`."""
        wrapped, _, inner = opt.lower().rpartition("_")
        if wrapped and wrapped != PREFIX[:-1]:
            raise ValueError(f"the one prefix of a name is {PREFIX!r}, got {opt!r}")
        info = self.get_optimizer_info(inner)
        given: dict[str, Any] = {"weight_decay": weight_decay, **kwargs}
        given |= {} if lr is None else {"lr": lr}
        given |= {} if momentum is None else {"momentum": momentum}
        optional = ("momentum", "eps", "betas", "weight_decay")
        given = {n: v for n, v in given.items() if n not in optional or info.takes(n)}
        given = {n: v for n, v in given.items() if v is not None or n not in optional}
        made = info.opt_class(model_or_params, **{**info.defaults, **given})
        return Lookahead(made) if wrapped else made


def _like(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _registry() -> OptimizerRegistry:
    registry = OptimizerRegistry()
    for name, cls, description, defaults in ROWS:
        registry.register(OptimInfo(name, cls, description, defaults))
    return registry


NESTEROV = {"nesterov": True}
# fmt: off
ROWS: tuple[tuple[str, type[Optimizer], str, dict[str, Any]], ...] = (
    ("sgd",      catalogue.SGD, "SGD with Nesterov momentum", NESTEROV),
    ("momentum", catalogue.SGD, "SGD with momentum", {"nesterov": False}),
    ("sgdw",     SGDW, "SGD with Nesterov momentum and decoupled decay", NESTEROV),
    ("momentumw", SGDW, "SGD with momentum and decoupled decay", {"nesterov": False}),
    ("csgdw",    SGDW, "cautious SGD with Nesterov momentum and decoupled decay",
     {**NESTEROV, "caution": True}),
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
    ("lars",     Lars, "each tensor's rate by its norms, before momentum", {}),
    ("larc",     Lars, "the same with rates of at most lr", {"trust_clip": True}),
    ("nlars",    Lars, "LARS with Nesterov momentum", NESTEROV),
    ("nlarc",    Lars, "LARC with Nesterov momentum", {**NESTEROV, "trust_clip": True}),
    ("lion",     catalogue.Lion, "the sign of a momentum", {}),
)
# fmt: on
default_registry = _registry()
"""The names below, and what a program registers itself."""
list_optimizers = default_registry.list_optimizers
get_optimizer_info = default_registry.get_optimizer_info
get_optimizer_class = default_registry.get_optimizer_class
register_optimizer = default_registry.register
register_alias = default_registry.register_alias


def create_optimizer_v2(
    model_or_params: Any,
    opt: str = "sgd",
    lr: float | None = None,
    weight_decay: float = 0.0,
    momentum: float | None = 0.9,
    foreach: bool | None = None,
    filter_bias_and_bn: bool = True,
    layer_decay: float | None = None,
    layer_decay_min_scale: float = 0.0,
    layer_decay_no_opt_scale: float | None = None,
    param_group_fn: Callable[[nn.Module], Any] | None = None,
    **kwargs: Any,
) -> torch.optim.Optimizer:
    """The optimizer of one of timm's names on a model's groups, or on parameters as they come.

    A model is split by `param_group_fn`, else by `layer_decay`, else with `filter_bias_and_bn` and
    a decay by what decays; `model.no_weight_decay()` is spared. 'lookahead_' before a name wraps.
    'sgd' is Nesterov's form, 'momentum' the plain one. lr None is the class's own; momentum, eps,
    betas and weight_decay that the class does not take are dropped, and None is not passed on.

    Raises ValueError for an unknown name, and what the class raises.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))
    >>> optimizer = create_optimizer_v2(model, "adamw", lr=1e-3, weight_decay=0.05)
    >>> [group["weight_decay"] for group in optimizer.param_groups]
    [0.0, 0.05]
    """
    if not isinstance(model_or_params, nn.Module):
        params = model_or_params
    else:
        params, weight_decay = _groups_of(
            model_or_params, weight_decay, filter_bias_and_bn, layer_decay,
            layer_decay_min_scale, layer_decay_no_opt_scale, param_group_fn,
        )  # fmt: skip
    more = {} if foreach is None else {"foreach": foreach}
    return default_registry.create_optimizer(
        params, opt, lr=lr, weight_decay=weight_decay, momentum=momentum, **more, **kwargs
    )


def _groups_of(
    model: nn.Module,
    weight_decay: float,
    filtered: bool,
    layer_decay: float | None,
    min_scale: float,
    no_opt_scale: float | None,
    group_fn: Callable[[nn.Module], Any] | None,
) -> tuple[Any, float]:
    """The parameters of a model, and the decay that is left to the optimizer itself."""
    said = getattr(model, "no_weight_decay", None)
    spared = cast("Iterable[str]", said()) if callable(said) else ()
    if group_fn is not None:
        return group_fn(model), weight_decay
    if layer_decay is not None:
        groups = param_groups_layer_decay(
            model, weight_decay, no_weight_decay_list=spared, layer_decay=layer_decay,
            weight_decay_exclude_1d=filtered, min_scale=min_scale, no_opt_scale=no_opt_scale,
        )  # fmt: skip
        return groups, 0.0
    if filtered and weight_decay:
        return param_groups_weight_decay(model, weight_decay, no_weight_decay_list=spared), 0.0
    return model.parameters(), weight_decay


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
