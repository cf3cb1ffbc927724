"""The networks of the originals' runs, beside those that are tasks': an MLP, convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from ...init import init_weights
from ...nets import course_net, miniai_net, mnist_net
from .experiment import Net

DEPTHS = (3, 4, 6, 3)  # blocks a stage, of 34 layers
WIDTHS = (64, 128, 256, 512)


def mlp(classes: int = 10) -> nn.Sequential:
    """Images of 28x28 pixels, 50 hidden units with a ReLU, ten classes: 39,760 weights."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 50), nn.ReLU(), nn.Linear(50, classes))


def normed(
    inputs: int, outputs: int, size: int = 3, *, stride: int = 1, act: bool = True
) -> nn.Sequential:
    """A convolution without bias, BatchNorm, and a ReLU if wanted."""
    conv = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), *([nn.ReLU()] if act else []))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al. 2015, arXiv:1512.03385).

    Where the shape changes, the shortcut is a 1x1 convolution with BatchNorm; with `pooled` that
    has stride 1 after an average pool (He et al. 2018, arXiv:1812.01187).
    """

    def __init__(self, inputs: int, outputs: int, stride: int, *, pooled: bool) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            normed(inputs, outputs, stride=stride), normed(outputs, outputs, act=False)
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            pool = [nn.AvgPool2d(2, ceil_mode=True)] if pooled and stride != 1 else []
            step = 1 if pooled else stride
            self.shortcut = nn.Sequential(*pool, normed(inputs, outputs, 1, stride=step, act=False))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.convs(x) + self.shortcut(x))


def stages(*, pooled: bool) -> list[nn.Module]:
    """The four stages of a residual network of 34 layers."""
    blocks, inputs = list[nn.Module](), WIDTHS[0]
    for number, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
        for place in range(depth):
            stride = 2 if number and not place else 1
            blocks.append(Block(inputs, width, stride, pooled=pooled))
            inputs = width
    return blocks


def xresnet34(stem: Sequence[int] = (3, 32, 64, 64), classes: int = 10) -> nn.Sequential:
    """The course's xresnet34: three small convolutions first, blocks that begin as their shortcuts.

    Each block's last BatchNorm begins at 0 (Goyal et al. 2017, arXiv:1706.02677).
    """
    first = [normed(stem[i], stem[i + 1], stride=1 if i else 2) for i in range(len(stem) - 1)]
    body = stages(pooled=True)
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTHS[-1], classes)]
    net = nn.Sequential(*first, nn.MaxPool2d(3, stride=2, padding=1), *body, *head)
    init_weights(net)
    for block in body:
        nn.init.zeros_(block.get_parameter("convs.1.1.weight"))
    return net


class BothPools(nn.Module):
    """The largest and the mean of each channel, one after the other."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x.amax((2, 3)), x.mean((2, 3))], 1)


def book_resnet34(classes: int = 10) -> nn.Sequential:
    """ResNet-34 with the head that fastai puts on it.

    The convolutions begin Kaiming normal by their outputs, as torchvision's do, the head by its
    inputs.
    """
    stem = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
    width = 2 * WIDTHS[-1]
    head: list[nn.Module] = [
        *(BothPools(), nn.BatchNorm1d(width), nn.Dropout(0.25)),
        *(nn.Linear(width, 512, bias=False), nn.ReLU()),
        *(nn.BatchNorm1d(512), nn.Dropout(0.5), nn.Linear(512, classes, bias=False)),
    ]
    first = [stem, nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)]
    net = nn.Sequential(*first, *stages(pooled=False), *head)
    init_weights(net)
    for conv in (module for module in net.modules() if isinstance(module, nn.Conv2d)):
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return net


MLP = Net("MLP 784-50-10", mlp, (1, 28, 28), 39_760, 28)
MINIAI = Net("miniai's 5 convolutions", miniai_net, (1, 28, 28), 30_394, 28)
LABML = Net("labml.ai's 2 convolutions", mnist_net, (1, 28, 28), 431_080, 28)
COURSE = Net("7 convolutions, 32 … 256", course_net, (3, 128, 128), 432_730, 64)
COURSE_WIDE = Net(
    "7 convolutions, 64 … 256", partial(course_net, (64, 64, 128, 256)), (3, 128, 128), 469_658, 64
)
COURSE_32 = Net("7 convolutions, 32 × 4", partial(course_net, (32,) * 4), (3, 128, 128), 70_362, 64)
XRESNET = Net("xresnet34", xresnet34, (3, 128, 128), 21_336_746, 32)
BOOK = Net("ResNet-34, fastai's head", book_resnet34, (3, 128, 128), 21_817_152, 32)
