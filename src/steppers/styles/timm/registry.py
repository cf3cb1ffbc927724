"""A registry of optimizers by name: what there is, what each takes, and how one is made."""

from __future__ import annotations

import difflib
import fnmatch
import inspect
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from .layer_decay import param_groups_layer_decay
from .lookahead import Lookahead
from .weight_decay import param_groups_weight_decay

PREFIX = "lookahead_"
COMMON = ("lr", "weight_decay", "momentum", "eps", "betas")  # what timm may give to any optimizer
log = logging.getLogger("steppers.styles.timm")


@dataclass(frozen=True)
class OptimInfo:
    """A name, the class that it stands for, and the arguments that go with the name.

    Whether it takes eps, momentum and betas is read from the class, where it is not stated.
    """

    name: str
    opt_class: Callable[..., torch.optim.Optimizer]
    description: str = ""
    has_eps: bool | None = None
    has_momentum: bool | None = None
    has_betas: bool | None = None
    num_betas: int = 2
    second_order: bool = False
    defaults: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not callable(self.opt_class):
            raise TypeError(f"OptimInfo: opt_class must be a class, got {self.opt_class!r}")
        for argument in ("eps", "momentum", "betas"):
            if getattr(self, f"has_{argument}") is None:
                object.__setattr__(self, f"has_{argument}", self._names(argument))

    def takes(self, argument: str) -> bool:
        """True if the class has that argument."""
        stated = getattr(self, f"has_{argument}", None)
        return self._names(argument) if stated is None else stated

    def _names(self, argument: str) -> bool:
        """Whether the signature names it, or its ** may take it (but momentum, which all get)."""
        arguments = inspect.signature(self.opt_class).parameters
        more = any(each.kind is each.VAR_KEYWORD for each in arguments.values())
        return argument in arguments or (more and argument != "momentum")


class OptimizerRegistry:
    """Optimizers by name; `default_registry` holds those below.

    Unknown names raise ValueError with the nearest.
    """

    def __init__(self) -> None:
        self._infos: dict[str, OptimInfo] = {}

    def register(self, info: OptimInfo) -> None:
        """Add an optimizer; one of that name is replaced, and a warning of that is logged.

        A name may not begin with 'lookahead_'.
        """
        if not isinstance(info, OptimInfo):  # pyright: ignore[reportUnnecessaryIsInstance]  # input
            raise TypeError(f"register takes an OptimInfo(name, opt_class, …), got {info!r}")
        name = info.name.lower()
        if not name or name.startswith(PREFIX):
            raise ValueError(
                f"an optimizer's name has letters and does not begin with {PREFIX!r}, got "
                f"{info.name!r}"
            )
        if name in self._infos:
            log.warning("an optimizer called %r was registered already; it is replaced", name)
        self._infos[name] = info

    def register_alias(self, alias: str, target: str) -> None:
        """Add another name for a registered optimizer."""
        self.register(replace(self.get_optimizer_info(target), name=alias))

    def list_optimizers(
        self,
        filter: str | Sequence[str] | None = "",
        exclude_filters: Sequence[str] | None = None,
        with_description: bool = False,
    ) -> list[Any]:
        """Names that match one pattern of `filter` and none of the others; pairs if described."""
        wanted = [filter] if isinstance(filter, str) else list(filter or ())
        wanted = [pattern for pattern in wanted if pattern] or ["*"]
        barred = [exclude_filters] if isinstance(exclude_filters, str) else exclude_filters or ()
        names = [n for n in sorted(self._infos) if _like(n, wanted) and not _like(n, barred)]
        return [(n, self._infos[n].description) for n in names] if with_description else names

    def get_optimizer_info(self, name: str) -> OptimInfo:
        """What is known of a name."""
        if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # input
            raise TypeError(f"an optimizer's name is a string like 'adamw', got {name!r}")
        if name.lower() not in self._infos:
            near = difflib.get_close_matches(name.lower(), self._infos, 1)
            known = ", ".join(sorted(self._infos)) or "none"
            hint = f"; did you mean {near[0]!r}?" if near else f" (there are {known})"
            raise ValueError(f"no optimizer is called {name!r}{hint}")
        return self._infos[name.lower()]

    def get_optimizer_class(
        self, name_or_info: str | OptimInfo, bind_defaults: bool = True
    ) -> Callable[..., torch.optim.Optimizer]:
        """The class of a name, with the name's own arguments bound where there are some."""
        known = isinstance(name_or_info, OptimInfo)
        info = name_or_info if known else self.get_optimizer_info(name_or_info)
        bound = info.defaults if bind_defaults else None
        return partial(info.opt_class, **bound) if bound else info.opt_class

    def create_optimizer(
        self,
        model_or_params: Any,
        opt: str = "sgd",
        lr: float | None = None,
        weight_decay: float | None = 0.0,
        momentum: float | None = 0.9,
        foreach: bool | None = None,
        weight_decay_exclude_1d: bool = True,
        fallback_list: Iterable[str] = (),
        fallback_no_weight_decay: bool = False,
        layer_decay: float | None = None,
        layer_decay_min_scale: float | None = None,
        layer_decay_no_opt_scale: float | None = None,
        param_group_fn: Callable[[nn.Module], Any] | None = None,
        **kwargs: Any,
    ) -> torch.optim.Optimizer:
        """The optimizer of a name on a model, parameters or groups: see `create_optimizer_v2`."""
        info, wrapped = self._read(opt)
        params = model_or_params
        if isinstance(params, nn.Module):
            lists: dict[str, Any] = dict(
                fallback_list=fallback_list, fallback_no_weight_decay=fallback_no_weight_decay
            )
            scales: dict[str, Any] = dict(
                layer_decay=layer_decay, min_scale=layer_decay_min_scale or 0.0,
                no_opt_scale=layer_decay_no_opt_scale,
            )  # fmt: skip
            params, weight_decay = _groups_of(
                params, weight_decay, weight_decay_exclude_1d, param_group_fn, scales, lists
            )
        given = {"lr": lr, "weight_decay": weight_decay or 0.0, **kwargs}
        given |= {} if foreach is None else {"foreach": foreach}
        given = _stated({"momentum": momentum}) | dict(info.defaults or {}) | _stated(given)
        made = info.opt_class(params, **_taken(info, given))
        return Lookahead(made) if wrapped else made

    def _read(self, opt: str) -> tuple[OptimInfo, bool]:
        """What a name stands for, and whether Lookahead goes around it."""
        given: Any = opt
        name = given.lower() if isinstance(given, str) else given
        wrapped = name not in self._infos and str(name).startswith(PREFIX)
        return self.get_optimizer_info(name[len(PREFIX) :] if wrapped else opt), wrapped


def _like(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _stated(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments without those of timm's own that are None: the class has its default."""
    return {name: value for name, value in given.items() if value is not None or name not in COMMON}


def _taken(info: OptimInfo, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments without those of timm's own that the class lacks, but for a decay not 0."""
    wanted = {"lr"} | ({"weight_decay"} if given.get("weight_decay") else set())
    lacked = {n for n in COMMON if n not in wanted and not info.takes(n)}
    return {name: value for name, value in given.items() if name not in lacked}


def _groups_of(
    model: nn.Module,
    weight_decay: float | None,
    exclude_1d: bool,
    group_fn: Callable[[nn.Module], Any] | None,
    scales: Mapping[str, Any],
    lists: Mapping[str, Any],
) -> tuple[Any, float | None]:
    """The parameters of a model, and the decay that is left to the optimizer itself."""
    if group_fn is not None:
        return group_fn(model), weight_decay
    said = getattr(model, "no_weight_decay", None)
    spared = cast("Iterable[str]", said() if callable(said) else said or ())
    if scales["layer_decay"] is not None:
        groups = param_groups_layer_decay(
            model, weight_decay or 0.0, no_weight_decay_list=spared,
            weight_decay_exclude_1d=exclude_1d, **scales, **lists,
        )  # fmt: skip
        return groups, 0.0
    if exclude_1d and weight_decay:
        made = param_groups_weight_decay(model, weight_decay, no_weight_decay_list=spared, **lists)
        return made, 0.0
    return model.parameters(), weight_decay
