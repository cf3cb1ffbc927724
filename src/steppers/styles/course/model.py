"""The course's network for images: convolutions of the widths that are given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from torch import nn

from ...train.init import GeneralRelu as OurRelu


class GeneralRelu(OurRelu):
    """A ReLU with a slope below 0, moved down and cut off, each only where it is given."""

    def __init__(
        self, leak: float | None = None, sub: float | None = None, maxv: float | None = None
    ) -> None:
        super().__init__(leak, sub, maxv)


def conv_layer(
    ni: int, nf: int, ks: int = 3, stride: int = 2, bn: bool = True, **kwargs: Any
) -> nn.Sequential:
    """A convolution, GeneralRelu(**kwargs), and BatchNorm, which then has the bias."""
    conv = nn.Conv2d(ni, nf, ks, padding=ks // 2, stride=stride, bias=not bn)
    layers: list[nn.Module] = [conv, GeneralRelu(**kwargs)]
    return nn.Sequential(*layers, *([nn.BatchNorm2d(nf, eps=1e-5, momentum=0.1)] if bn else []))


def get_cnn_layers(
    data: Any, nfs: Sequence[int], layer: Callable[..., nn.Module], **kwargs: Any
) -> list[nn.Module]:
    """Three layers that widen from the power of 2 below 9 * data.c_in, those of `nfs`, and a head.

    The first has stride 1, the others 2. The head is a mean over the image and a linear layer to
    data.c_out classes.
    """
    first = 1 << ((9 * data.c_in).bit_length() - 1)
    widths = [data.c_in, first, 2 * first, 4 * first, *nfs]
    layers = [
        layer(ni, nf, 3, stride=2 if number else 1, **kwargs)
        for number, (ni, nf) in enumerate(pairwise(widths))
    ]
    head = nn.Linear(widths[-1], data.c_out)
    return [*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head]


def get_cnn_model(
    data: Any, nfs: Sequence[int], layer: Callable[..., nn.Module], **kwargs: Any
) -> nn.Sequential:
    """The layers of `get_cnn_layers`, one after another."""
    return nn.Sequential(*get_cnn_layers(data, nfs, layer, **kwargs))


NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def bn_splitter(model: nn.Sequential) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Two groups: the first part of a model without its norms; the norms, with all that follows."""
    body, rest = model[0], list(model)[1:]
    norms = [m for m in body.modules() if isinstance(m, NORMS)]
    held = [p for m in norms for p in m.parameters()]
    known = {id(p) for p in held}
    others = [p for p in body.parameters() if id(p) not in known]
    return others, [*held, *(p for m in rest for p in m.parameters())]


def set_grad(m: nn.Module, b: bool) -> None:
    """For `model.apply`: whether a module is trained; linear layers and norms stay as they are."""
    if isinstance(m, (nn.Linear, *NORMS)):
        return
    for p in m.parameters(recurse=False):
        p.requires_grad_(b)
