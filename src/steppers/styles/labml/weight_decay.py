"""Weight decay as an object that an optimizer calls with the parameter, gradient and group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from ... import names


class Decay(Protocol):
    """What decays: it may change the parameter in place, and returns the gradient to use."""

    def defaults(self) -> dict[str, Any]:
        """Hyper-parameters that each group gets."""
        ...

    def __call__(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> Tensor:
        """Decay, and return the gradient that the statistics see."""
        ...


class WeightDecay:
    """L2 decay: decoupled by lr, decoupled and absolute, or added to the gradient.

    Decoupled decay goes by the group's lr, whatever rate the optimizer makes of it. While lr is 0
    absolute decay waits. Added to the gradient, it makes a new tensor: `p.grad` stays.

    >>> import torch
    >>> p, g = torch.ones(1), torch.ones(1)
    >>> decay = WeightDecay(0.1, weight_decouple=False)
    >>> decay(p, g, dict(lr=0.5, **decay.defaults())), p, g
    (tensor([1.1000]), tensor([1.]), tensor([1.]))
    """

    def __init__(
        self, weight_decay: float = 0.0, weight_decouple: bool = True, absolute: bool = False
    ) -> None:
        self.weight_decay = _checked("WeightDecay", weight_decay)
        self.weight_decouple, self.absolute = weight_decouple, absolute

    def defaults(self) -> dict[str, Any]:
        """The decay, a hyper-parameter of each group."""
        return dict(weight_decay=self.weight_decay)

    def __call__(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> Tensor:
        """Decay the parameter, or return the gradient of the decay too."""
        decay, lr = group["weight_decay"], group["lr"]
        if decay == 0:
            return grad
        if not self.weight_decouple:
            return grad.add(param, alpha=float(decay))
        param.mul_(1 - decay * (lr > 0 if self.absolute else lr))
        return grad


class L1Decay:
    """L1 decay, decoupled: every element moves to 0 by lr * weight_decay and stays there.

    >>> import torch
    >>> p = torch.tensor([1.0, -1.0, 0.01])
    >>> decay = L1Decay(0.1)
    >>> _ = decay(p, torch.zeros(3), dict(lr=0.5, **decay.defaults())); p
    tensor([ 0.9500, -0.9500,  0.0000])
    """

    def __init__(self, weight_decay: float = 0.0) -> None:
        self.weight_decay = _checked("L1Decay", weight_decay)

    def defaults(self) -> dict[str, Any]:
        """The decay, a hyper-parameter of each group."""
        return dict(weight_decay=self.weight_decay)

    def __call__(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> Tensor:
        """Shrink the parameter; the gradient stays."""
        step = group["lr"] * group["weight_decay"]
        param.sub_(param.clamp(-step, step))
        return grad


def defaults_of(owner: str, decay: Decay) -> Mapping[str, Any]:
    """The hyper-parameters of a decay object; TypeError for what is none."""
    known = callable(decay) and callable(getattr(decay, "defaults", None))
    if not known or isinstance(decay, type):
        raise TypeError(
            f"{owner}: weight_decay must be an object with defaults() that is called with "
            f"(param, grad, group), such as WeightDecay(0.01), got {decay!r}"
        )
    found = decay.defaults()
    if not isinstance(found, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]  # a user's
        kind = type(decay).__name__
        raise TypeError(f"{owner}: {kind}.defaults() must return a dict, got {found!r}")
    return found


def decayed(decay: Decay, param: Tensor, grad: Tensor, group: dict[str, Any]) -> Tensor:
    """Decay, and the gradient to use; TypeError where the object does not return one."""
    found = decay(param, grad, group)
    if not isinstance(found, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]  # a user's
        kind = type(decay).__name__
        raise TypeError(f"{kind} must return the gradient to use, got {found!r}")
    return found


def _checked(owner: str, weight_decay: float) -> float:
    names.check_value(owner, "weight_decay", ("weight_decay", None), names.plain(weight_decay))
    return weight_decay
