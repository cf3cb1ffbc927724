"""Layer groups: which layers an optimizer's parameter groups belong to, and which of them decay."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from .. import groups, hypers
from ..spread import spread

# Layer groups of a model, first layers first: lists of parameters, modules, or lists of modules.
Splitter = Callable[[nn.Module], Sequence[Any]]


@dataclass(frozen=True)
class Layers:
    """An optimizer and, for each of its parameter groups, its layer group and whether it decays."""

    opt: torch.optim.Optimizer
    of_group: tuple[int, ...]
    decays: tuple[bool, ...]
    count: int

    def by_group(self, value: object, name: str) -> list[Any]:
        """A value for each parameter group, from one for each layer group (see `spread`)."""
        values: list[Any] = spread(value, self.count, name)
        return [values[layer] for layer in self.of_group]

    def freeze_to(self, n: object, keep: Iterable[Tensor] = ()) -> None:
        """Train the layer groups from n on; of those before only the parameters in `keep`.

        Raises ValueError for an n beyond the last group, TypeError for what is no whole number.
        """
        if isinstance(n, bool) or not isinstance(n, int):
            raise TypeError(f"freeze_to: n must be a whole number, got {n!r}")
        if not -self.count <= n <= self.count:
            raise ValueError(f"freeze_to: got {n}, but there are {self.count} layer groups")
        first, kept = n % self.count if n < 0 else n, {id(p) for p in keep}
        for layer, group in zip(self.of_group, self.opt.param_groups, strict=True):
            for p in group["params"]:
                p.requires_grad_(layer >= first or id(p) in kept)


def taken(opt: torch.optim.Optimizer, model: nn.Module) -> Layers:
    """A built optimizer, each of its groups a layer group.

    Raises ValueError where it holds none of the model's parameters.
    """
    own = {id(p) for p in model.parameters()}
    if not any(id(p) in own for group in opt.param_groups for p in group["params"]):
        raise ValueError(
            f"the {type(opt).__name__} holds no parameter of this {type(model).__name__}: "
            "build it from model.parameters()"
        )
    count = len(opt.param_groups)
    return Layers(opt, tuple(range(count)), (True,) * count, count)


@contextmanager
def thawed(layers: Layers | None) -> Generator[None, None, None]:
    """Have frozen parameters trainable while the block runs: a new optimizer takes these alone.

    The old one, which may be the user's and stay, forgets its state.
    """
    groups = [] if layers is None else layers.opt.param_groups
    frozen = [p for group in groups for p in group["params"] if not p.requires_grad]
    try:
        for p in frozen:
            p.requires_grad_(True)
        yield
    finally:
        for p in frozen:
            p.requires_grad_(False)
    if layers is not None:
        layers.opt.state.clear()


def made(
    model: nn.Module,
    opt_func: Callable[..., torch.optim.Optimizer],
    splitter: Splitter | None,
    lr: object,
    wd_bn_bias: bool,
) -> Layers:
    """Make an optimizer for the layer groups of a model; norms and biases in groups of their own.

    Raises ValueError for a model without trainable parameters, for a parameter in two layer groups
    and for one in none; TypeError for what is no model and what makes no optimizer.
    """
    _check_makers(model, opt_func)
    parts = layer_groups(model, splitter)
    undecayed = set[Tensor]() if wd_bn_bias else {*groups.norms(model), *groups.biases(model)}
    names = {id(p): name for name, p in model.named_parameters()}
    found: list[tuple[int, bool, list[Tensor]]] = []
    for layer, part in enumerate(parts):
        for decays in (True, False):
            members = [p for p in part if (p not in undecayed) == decays]
            found += [(layer, decays, members)] if members else []
    params = [{"params": ps, "param_names": [names[id(p)] for p in ps]} for _, _, ps in found]
    rates = spread(lr, len(parts), "lr")
    opt = opt_func(params, lr=rates[-1])
    if not isinstance(cast("object", opt), torch.optim.Optimizer):
        raise TypeError(f"Learner: opt_func must return an optimizer, got {opt!r}")
    layers = Layers(opt, tuple(f[0] for f in found), tuple(f[1] for f in found), len(parts))
    hypers.put(opt, "lr", layers.by_group(lr, "lr"))
    for group, on in zip(opt.param_groups, layers.decays, strict=True):
        if not on and "weight_decay" in group:
            group["weight_decay"] = 0.0
    return layers


def bound_rate(opt_func: object, lr: Any) -> Any:
    """The rate that a partial binds, which would be lost otherwise; else the one given."""
    return opt_func.keywords.get("lr", lr) if isinstance(opt_func, partial) else lr


def _check_makers(model: object, opt_func: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"Learner: model must be a torch.nn.Module, got {model!r}")
    if not callable(opt_func):
        raise TypeError(
            "Learner: opt_func must make an optimizer from parameter groups and lr=, got "
            f"{opt_func!r}; of a name functools.partial(steppers.create, name) makes such a one"
        )


def layer_groups(model: nn.Module, splitter: Splitter | None) -> list[list[Tensor]]:
    """The trainable parameters of each layer group, each in one and none left out."""
    trainable: list[Tensor] = [p for p in model.parameters() if p.requires_grad]
    if not trainable:
        raise ValueError(f"{type(model).__name__} has no trainable parameter")
    if splitter is None:
        return [trainable]
    wanted = {id(p) for p in trainable}
    parts = [[p for p in _parameters(part) if id(p) in wanted] for part in splitter(model)]
    counts: dict[int, int] = {}
    for part in parts:
        for p in part:
            counts[id(p)] = counts.get(id(p), 0) + 1
    names = {id(p): name for name, p in model.named_parameters()}
    if twice := [names[key] for key, n in counts.items() if n > 1]:
        raise ValueError(f"the splitter has {twice[0]!r} twice: each parameter in one layer group")
    if left := [names[id(p)] for p in trainable if id(p) not in counts]:
        raise ValueError(f"the splitter leaves out {left[0]!r} and {len(left) - 1} more parameters")
    return parts


def _parameters(part: Any) -> list[Tensor]:
    """The parameters of a layer group, given as a module or as a list of modules and parameters."""
    if isinstance(part, nn.Module):
        return list(part.parameters())
    if isinstance(part, Tensor):
        return [part]
    return [p for each in part for p in _parameters(each)]
