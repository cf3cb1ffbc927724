"""Small networks for the data sets here."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from .init import GeneralRelu, init_weights

COURSE_WIDTHS = (32, 64, 128, 256)


def small_conv_net(channels: int = 16, classes: int = 10) -> nn.Sequential:
    """Three convolutions with BatchNorm, the mean over the image, one linear layer: 24,058 weights.

    For one-channel images of any size. It has no dropout: training draws no random numbers.
    """
    return nn.Sequential(
        *convolution(1, channels, stride=1),
        *convolution(channels, 2 * channels, stride=2),
        *convolution(2 * channels, 4 * channels, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * channels, classes),
    )


def convolution(inputs: int, outputs: int, *, stride: int) -> list[nn.Module]:
    """A 3x3 convolution, BatchNorm and ReLU. BatchNorm has the bias."""
    conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


def mnist_net(classes: int = 10) -> nn.Sequential:
    """Two convolutions of 5x5, each pooled, and two linear layers: 431,080 weights.

    For images (1, 28, 28): labml.ai's network for MNIST.
    """
    return nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(50 * 4 * 4, 500),
        nn.ReLU(),
        nn.Linear(500, classes),
    )


def miniai_net(widths: Sequence[int] = (1, 8, 16, 32, 64), classes: int = 10) -> nn.Sequential:
    """Five 3x3 convolutions of stride 2 with biases, BatchNorm between them: 30,394 weights.

    For images (1, 28, 28): the network of fast.ai's course 22 part 2, notebook 12. The activation
    is a leaky ReLU of slope 0.1, minus 0.4.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        layers += [conv, nn.BatchNorm2d(outputs), GeneralRelu(leak=0.1, sub=0.4)]
    last = nn.Conv2d(widths[-1], classes, 3, stride=2, padding=1)
    net = nn.Sequential(*layers, last, nn.Flatten())
    init_weights(net, leak=0.1)
    return net


def course_net(widths: Sequence[int] = COURSE_WIDTHS, classes: int = 10) -> nn.Sequential:
    """Seven 3x3 convolutions, each with ReLU and BatchNorm, and a mean: 432,730 weights.

    For images (3, height, width) from about 64 pixels on: the network of fast.ai's course v3,
    notebooks 08 to 09c. Convolutions begin Kaiming normal for a slope of 0.1, though their ReLU has
    none below 0; the linear layer begins as torch has it.
    """
    chain, layers = (3, 16, 32, 64, *widths), list[nn.Module]()
    for number, (inputs, outputs) in enumerate(pairwise(chain)):
        stride = 2 if number else 1
        conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, a=0.1)
        layers += [conv, nn.ReLU(), nn.BatchNorm2d(outputs)]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(chain[-1], classes)]
    return nn.Sequential(*layers, *head)
