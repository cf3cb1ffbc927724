"""How miniai's networks are made and started."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from ...train import init
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
    bias: bool = True,
) -> nn.Sequential:
    """A convolution, then its norm, then its activation."""
    layers: list[nn.Module] = [nn.Conv2d(ni, nf, ks, stride=stride, padding=ks // 2, bias=bias)]
    layers += [norm(nf)] if norm else []
    return nn.Sequential(*layers, *([act()] if act else []))


def get_model(
    act: Callable[[], nn.Module] = nn.ReLU,
    nfs: Sequence[int] | None = None,
    norm: Callable[[int], nn.Module] | None = None,
    **kwargs: Any,
) -> nn.Sequential:
    """Convolutions of stride 2 with the widths `nfs`, a last one to 10 outputs, flattened."""
    widths = [1, 8, 16, 32, 64] if nfs is None else list(nfs)
    layers = [conv(ni, nf, act=act, norm=norm, **kwargs) for ni, nf in pairwise(widths)]
    return nn.Sequential(*layers, conv(widths[-1], 10, act=None, norm=None), nn.Flatten())
