"""How miniai's networks are made and started."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from ...train import init
from ...train.callbacks.device import best_device
from ...train.init import set_seed

__all__ = ["GeneralRelu", "conv", "get_model", "init_weights", "lsuv_init", "set_seed"]


class GeneralRelu(init.GeneralRelu):
    """A leaky ReLU, minus `sub`, clamped at `maxv`: each only where it is given."""

    def __init__(
        self, leak: float | None = None, sub: float | None = None, maxv: float | None = None
    ) -> None:
        super().__init__(leak, sub, maxv)


def init_weights(m: nn.Module, leaky: float = 0.0) -> None:
    """For `model.apply`: Kaiming normal weights of a convolution, for leaky ReLUs of that slope."""
    if isinstance(m, init.CONVS):
        nn.init.kaiming_normal_(m.weight, a=leaky)


def lsuv_init(model: nn.Module, m: nn.Module, m_in: nn.Module, xb: Tensor) -> None:
    """Scale the layer `m_in` until the outputs of `m` on a batch have mean 0 and deviation 1."""
    init.lsuv_init(model, xb, [(m_in, m)])


def conv(
    ni: int,
    nf: int,
    ks: int = 3,
    stride: int = 2,
    act: Callable[[], nn.Module] | None = nn.ReLU,
    norm: Callable[[int], nn.Module] | None = None,
    bias: bool | None = None,
) -> nn.Sequential:
    """A convolution, then its norm, then its activation; with a bias unless that is False."""
    layers: list[nn.Module] = [nn.Conv2d(ni, nf, ks, stride, ks // 2, bias=bias is not False)]
    layers += [norm(nf)] if norm else []
    return nn.Sequential(*layers, *([act()] if act else []))


def get_model(
    act: Callable[[], nn.Module] = nn.ReLU,
    nfs: Sequence[int] | None = None,
    norm: Callable[[int], nn.Module] | None = None,
    **kwargs: Any,
) -> nn.Sequential:
    """Convolutions of stride 2 with the widths `nfs`, a last one to 10 outputs, flattened.

    The model is on the accelerator, where there is one.
    """
    widths = [1, 8, 16, 32, 64] if nfs is None else list(nfs)
    layers = [conv(ni, nf, act=act, norm=norm, **kwargs) for ni, nf in pairwise(widths)]
    last = conv(widths[-1], 10, act=None, norm=None)
    return nn.Sequential(*layers, last, nn.Flatten()).to(best_device())
