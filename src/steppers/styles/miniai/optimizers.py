"""miniai's optimizers: `reg_step(p)` and `opt_step(p)`, with hyper-parameters as attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ... import names
from ..base import PerParameter, State

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
        super().__init__(params, dict(lr=lr, wd=wd, **(hypers or {})), strict=strict)

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
        """All parameters."""
        return [p for group in self.param_groups for p in group["params"]]

    def zero_grad(self, set_to_none: bool = False) -> None:
        """Fill the gradients with zeros, or drop them."""
        super().zero_grad(set_to_none)

    # --- a step ----------------------------------------------------------------------------------

    def update_parameter(self, p: Tensor, state: State, group: dict[str, Any]) -> None:
        self._group = group
        try:
            if self.on_parameter:
                self._move(p)
            else:
                self._lend(p, state)
        finally:
            self._group = None

    def _move(self, p: Tensor) -> None:
        self.reg_step(p)
        self.opt_step(p)

    def _lend(self, p: Tensor, state: State) -> None:
        """Put a parameter's state on it for its step, and take away what the step left there."""
        own = vars(p)
        before = dict(own)
        own.update(state)
        try:
            self._move(p)
        finally:
            left = {key: value for key, value in own.items() if key in state or key not in before}
            state.clear()
            state.update(left)
            for key in left:
                del own[key]
            own.update({key: before[key] for key in left if key in before})

    def after_step(self) -> None:
        self.i += 1
        if self.on_parameter:
            self.state.clear()  # the base made an empty one for each parameter

    # --- hyper-parameters as attributes ----------------------------------------------------------

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
        for group in held:
            group[name] = value
        for group in [] if held else tuples:
            names.put(group, inside, value)
        if not held and not tuples:
            super().__setattr__(name, value)

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
        kept, square = vars(p), _grad(p).square()
        if "sqr_avg" not in kept:
            kept["sqr_avg"] = square.clone()
        kept["sqr_avg"].mul_(self.sqr_mom).add_(square, alpha=1 - self.sqr_mom)
        p.addcdiv_(_grad(p), kept["sqr_avg"].sqrt().add_(self.eps), value=-self.lr)


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
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            names.check_value("Adam", name, (name, None), beta)
        super().__init__(params, lr, wd, hypers=dict(betas=(beta1, beta2), eps=eps), **options)

    @torch.no_grad()
    def opt_step(self, p: Tensor) -> None:
        kept, g = vars(p), _grad(p)
        if "avg" not in kept:
            kept["avg"], kept["sqr_avg"] = torch.zeros_like(p), torch.zeros_like(p)
        kept["avg"].mul_(self.beta1).add_(g, alpha=1 - self.beta1)
        kept["sqr_avg"].mul_(self.beta2).addcmul_(g, g, value=1 - self.beta2)
        mean = kept["avg"] / (1 - self.beta1 ** (self.i + 1))
        square = kept["sqr_avg"] / (1 - self.beta2 ** (self.i + 1))
        p.sub_(self.lr * mean / square.add_(self.eps).sqrt_())


def _grad(p: Tensor) -> Tensor:
    assert p.grad is not None, "the base skips parameters without a gradient"
    return p.grad
