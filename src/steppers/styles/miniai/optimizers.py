"""miniai's optimizers: `reg_step(p)` and `opt_step(p)`, with hyper-parameters as attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ... import names
from ..base import PerParameter, State
from ..groups import check_value

# Hyper-parameters that a group holds within one of torch's tuples, and where.
ELEMENTS = {name: (key, i) for key, all in names.TUPLES.items() for i, name in enumerate(all)}


class SGD(PerParameter):
    """Decay by lr * wd, then a step against the gradient: the base of miniai's optimizers.

    A subclass states its step as `opt_step(p)`, which moves p in place, and if it wants to its
    decay as `reg_step(p)`. Both read hyper-parameters as attributes: `self.lr` is that of the
    group whose parameter is moved, so that schedulers and groups reach it; outside a step it is
    the first group's, and setting it sets all groups'. `self.i` counts the steps, from 0.

    What a step leaves on the parameter (`p.grad_avg = …`) is there in the next one too, and is kept
    in `opt.state[p]`, so that it is saved and loaded and a new optimizer starts without it. With
    `on_parameter=True` it stays on the parameter, as in miniai: it outlives the optimizer, and no
    checkpoint has it.

    Args:
        params: parameters or groups, in any form.
        lr, wd: rate, and decay of lr * wd of p a step.
        hypers: further hyper-parameters of a subclass, for `self.mom` to be live and per group.
        strict: refuse values out of their range, and keys of groups that are nearly a known name.

    >>> class Halves(SGD):
    ...     def opt_step(self, p):
    ...         p.mul_(0.5)
    >>> w = torch.ones(2, requires_grad=True); w.sum().backward()
    >>> opt = Halves([w], lr=0.1); opt.step(); w.tolist()
    [0.5, 0.5]
    """

    def __init__(
        self,
        params: Any,
        lr: float,
        wd: float = 0.0,
        *,
        hypers: Mapping[str, Any] | None = None,
        on_parameter: bool = False,
        strict: bool = True,
    ) -> None:
        self.on_parameter, self.i = on_parameter, 0
        self._group: dict[str, Any] | None = None
        self._given: set[str] = set()  # what groups were made with beyond the defaults
        super().__init__(params, dict(lr=lr, wd=wd, **(hypers or {})), strict=strict)
        for name in self.defaults.keys() & vars(self).keys():
            del vars(self)[name]  # set by a subclass before this: it would hide the groups'

    @torch.no_grad()
    def reg_step(self, p: Tensor) -> None:
        """Shrink the parameter by lr * wd, where there is decay."""
        if self.wd != 0:
            p.mul_(1 - self.lr * self.wd)

    @torch.no_grad()
    def opt_step(self, p: Tensor) -> None:
        """Move the parameter, in place, by its gradient."""
        p.sub_(self.lr * p.grad)

    @property
    def params(self) -> list[Tensor]:
        """All parameters. Setting them replaces those of the one group there is."""
        return [p for group in self.param_groups for p in group["params"]]

    @params.setter
    def params(self, value: Any) -> None:
        found, groups = list(value), vars(self).get("param_groups") or []
        if not all(isinstance(p, Tensor) for p in found):
            raise TypeError(f"{type(self).__name__}: params must be tensors, got {found!r}")
        if len(groups) > 1 and {*map(id, found)} != {*map(id, self.params)}:
            raise ValueError(
                f"{type(self).__name__}: there are {len(groups)} groups; set their own lists, by "
                "param_lists"
            )
        if len(groups) == 1:  # before there is one, they are given to __init__
            groups[0]["params"] = found

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Fill the gradients with zeros, or drop them."""
        super().zero_grad(set_to_none)

    # --- a step ----------------------------------------------------------------------------------

    def update_parameter(self, p: Tensor, state: State, group: dict[str, Any]) -> None:
        self._group = group
        try:
            if self.on_parameter:
                self._move(p)
                if not state:
                    del self.state[p]  # the base made it
            else:
                self._lend(p, state)
        finally:
            self._group = None

    def _move(self, p: Tensor) -> None:
        self.reg_step(p)
        self.opt_step(p)

    def _lend(self, p: Tensor, state: State) -> None:
        """Put a parameter's state on it for its step, and take away what the step left there."""
        own, lent = vars(p), dict(state)
        before = dict(own)
        own.update(lent)
        try:
            self._move(p)
        finally:
            left = {key: value for key, value in own.items() if key in lent or key not in before}
            for key in lent.keys() - left.keys():
                state.pop(key, None)
            # what the step wrote into opt.state[p] itself stays
            state.update({k: v for k, v in left.items() if k not in lent or v is not lent[k]})
            for key in left:
                del own[key]
            own.update({key: before[key] for key in left if key in before})

    def after_step(self) -> None:
        self.i += 1
        self._given.clear()

    # --- hyper-parameters in groups and as attributes --------------------------------------------

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with their own hyper-parameters; `beta1` is written into `betas`."""
        group = param_group
        if isinstance(param_group, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            group = self._with_tuples(param_group)
            self._given |= group.keys() - self.defaults.keys()
        super().add_param_group(group)

    def _with_tuples(self, param_group: Mapping[str, Any]) -> dict[str, Any]:
        """A group whose `beta1` is in its `betas`, which are as many as the optimizer's."""
        group, owner = dict(param_group), type(self).__name__
        for name in group.keys() & ELEMENTS.keys():
            key = ELEMENTS[name][0]
            if key in self.defaults:
                group.setdefault(key, self.defaults[key])
                names.put(group, ELEMENTS[name], group.pop(name))
        for key, members in names.TUPLES.items():
            if self.strict and isinstance(self.defaults.get(key), tuple):
                size, held = len(self.defaults[key]), group.get(key, self.defaults[key])
                if not isinstance(held, tuple | list) or len(held) != size:
                    raise ValueError(f"{owner}: {key} must be {size} numbers, got {held!r}")
                for name, value in zip(members, held, strict=False):
                    names.check_value(owner, name, (name, None), value)
        return group

    def __dir__(self) -> list[str]:
        held = vars(self).get("param_groups") or [{}]
        return sorted({*super().__dir__(), *held[0]})

    def __getattr__(self, name: str) -> Any:
        groups = vars(self).get("param_groups")
        if groups:
            group = vars(self).get("_group") or groups[0]
            if name in group and name not in ("params", "param_names"):
                return group[name]
            key, index = ELEMENTS.get(name, ("", 0))
            if isinstance(group.get(key), tuple | list) and index < len(group[key]):
                return group[key][index]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        groups: list[dict[str, Any]] = vars(self).get("param_groups") or []
        held = [group for group in groups if name in group and name != "params"]
        inside = ELEMENTS.get(name, ("", 0))
        tuples = [g for g in groups if isinstance(g.get(inside[0]), tuple | list)]
        if not held and not tuples:
            return super().__setattr__(name, value)
        if self.strict:
            check_value(type(self).__name__, name, value)
        if name in self._given:  # a subclass sets its own default: groups that have one keep it
            self._given.discard(name)
            held = [group for group in groups if name not in group]
        for group in held:
            group[name] = value
        for group in [] if name in groups[0] else tuples:
            names.put(group, inside, value)
        return None

    # --- checkpoints -----------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """torch's format; each group also has `i`, the steps that the optimizer has made."""
        saved = super().state_dict()
        return {**saved, "param_groups": [{**g, "i": self.i} for g in saved["param_groups"]]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        counts = [group.pop("i") for group in state["param_groups"] if "i" in group]
        super().__setstate__(state)
        if counts:
            self.i = int(max(counts))


class Momentum(SGD):
    """The gradients' average from 0, not debiased, in place of the gradient.

    The first steps are 1 - mom of those without momentum, so that the rate has to be higher than
    an undampened momentum's (`steppers.SGD`), by about 1 / (1 - mom).
    """

    def __init__(
        self, params: Any, lr: float, wd: float = 0.0, mom: float = 0.9, **options: Any
    ) -> None:
        super().__init__(params, lr, wd, hypers=dict(mom=mom), **options)

    @torch.no_grad()
    def opt_step(self, p: Tensor) -> None:
        kept = vars(p)
        if "grad_avg" not in kept:
            kept["grad_avg"] = torch.zeros_like(p)
        kept["grad_avg"].mul_(self.mom).add_(_grad(p), alpha=1 - self.mom)
        p.sub_(self.lr * kept["grad_avg"])


class RMSProp(SGD):
    """The gradient over the root of its averaged square, whose first value is the first square."""

    def __init__(
        self,
        params: Any,
        lr: float,
        wd: float = 0.0,
        sqr_mom: float = 0.99,
        eps: float = 1e-5,
        **options: Any,
    ) -> None:
        super().__init__(params, lr, wd, hypers=dict(sqr_mom=sqr_mom, eps=eps), **options)

    @torch.no_grad()
    def opt_step(self, p: Tensor) -> None:
        kept, g = vars(p), _real(_grad(p))
        if "sqr_avg" not in kept:
            kept["sqr_avg"] = g.square()
        kept["sqr_avg"].mul_(self.sqr_mom).addcmul_(g, g, value=1 - self.sqr_mom)
        _real(p).sub_(self.lr * g / kept["sqr_avg"].sqrt().add_(self.eps))


class Adam(SGD):
    """Adam with eps inside the root, debiased by the optimizer's own count of steps."""

    def __init__(
        self,
        params: Any,
        lr: float,
        wd: float = 0.0,
        beta1: float = 0.9,
        beta2: float = 0.99,
        eps: float = 1e-5,
        **options: Any,
    ) -> None:
        super().__init__(params, lr, wd, hypers=dict(betas=(beta1, beta2), eps=eps), **options)

    @torch.no_grad()
    def opt_step(self, p: Tensor) -> None:
        kept, g = vars(p), _real(_grad(p))
        if "avg" not in kept:
            kept["avg"], kept["sqr_avg"] = torch.zeros_like(g), torch.zeros_like(g)
        kept["avg"].mul_(self.beta1).add_(g, alpha=1 - self.beta1)
        kept["sqr_avg"].mul_(self.beta2).addcmul_(g, g, value=1 - self.beta2)
        mean = kept["avg"] / (1 - self.beta1 ** (self.i + 1))
        square = kept["sqr_avg"] / (1 - self.beta2 ** (self.i + 1))
        _real(p).sub_(self.lr * mean / square.add_(self.eps).sqrt_())


def _grad(p: Tensor) -> Tensor:
    assert p.grad is not None, "the base skips parameters without a gradient"
    return p.grad


def _real(x: Tensor) -> Tensor:
    """A complex tensor as its real and imaginary parts, which have squares of their own."""
    return torch.view_as_real(x) if x.is_complex() else x
