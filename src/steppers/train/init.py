"""How training starts: seeds, weights from a distribution, weights fitted to a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .. import rng
from .callbacks.device import tensors_in
from .summary import run_once

CONVS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class GeneralRelu(nn.Module):
    """A ReLU with a slope below 0, moved down by `sub` and cut off at `maxv`.

    With leak 0.1 and sub 0.4 its outputs have a mean near 0 where its inputs do, which a plain ReLU
    cannot give.

    >>> GeneralRelu(0.1, 0.4)(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.5000, -0.4000,  0.6000])
    """

    def __init__(
        self, leak: float | None = 0.1, sub: float | None = 0.4, maxv: float | None = None
    ) -> None:
        super().__init__()
        self.leak, self.sub, self.maxv = leak or 0.0, sub or 0.0, maxv

    def forward(self, x: Tensor) -> Tensor:
        x = functional.leaky_relu(x, self.leak) if self.leak else functional.relu(x)
        x = x - self.sub if self.sub else x
        return x if self.maxv is None else x.clamp(max=self.maxv)

    def extra_repr(self) -> str:
        cap = "" if self.maxv is None else f", maxv={self.maxv}"
        return f"leak={self.leak}, sub={self.sub}{cap}"


def set_seed(seed: int, deterministic: bool = False) -> None:
    """Seed Python, torch and NumPy; with `deterministic`, let torch use no other algorithms.

    Then an operation that has only others raises RuntimeError as it is used; on CUDA torch also
    wants the variable CUBLAS_WORKSPACE_CONFIG. Without it what torch uses stays as it is.
    """
    rng.seed_all(seed)
    if deterministic:
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False


def init_weights(model: nn.Module, leak: float = 0.0) -> None:
    """Kaiming normal weights for all convolutions and linear layers, and biases of 0.

    He et al. 2015, arXiv:1502.01852: the deviation is sqrt(2 / ((1 + leak^2) fan_in)), which keeps
    the size of signals through leaky ReLUs of that slope. Other modules are left alone, transposed
    convolutions too.
    """
    for module in model.modules():
        if isinstance(module, (*CONVS, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, a=leak)
            if (bias := cast("Tensor | None", module.bias)) is not None:
                nn.init.zeros_(bias)


@dataclass(frozen=True)
class Pair:
    """A layer, and the module after which its signal is measured: itself, or its activation."""

    name: str
    layer: Any
    measured: nn.Module


@torch.no_grad()
def lsuv_init(
    model: nn.Module,
    batch: Any,
    layers: Sequence[tuple[nn.Module, nn.Module]] | None = None,
    *,
    tol: float = 1e-3,
    max_iter: int = 100,
) -> dict[str, tuple[float, float]]:
    """Scale each layer until its outputs on a batch have mean 0 and deviation 1 within `tol`.

    Layer-sequential unit variance (Mishkin & Matas 2015, arXiv:1511.06422), in the order in which
    the layers run. The paper begins with orthogonal weights and fits the variance alone; this
    begins with the weights that are there and moves the bias too, where there is one.

    The signal is measured after the layer itself, or after the GeneralRelu that follows it. To have
    it elsewhere, give `layers`: pairs of a layer and the activation to measure. Behind a ReLU no
    mean can be 0 and this raises.

    The batch runs with dropout off and with the batch's own statistics in BatchNorm; modes, buffers
    and random numbers are as before. `batch` is as in `summary`.

    Returns mean and deviation of each layer by name. Raises RuntimeError for a layer that is not
    reached, whose signal is constant or not finite, or that does not get there in `max_iter`
    passes; weights are as before then.
    """
    pairs = _given(model, layers) if layers is not None else _found(model, batch)
    held = [(p, p.clone()) for pair in pairs for p in pair.layer.parameters(recurse=False)]
    try:
        return {pair.name: _fit(model, batch, pair, tol, max_iter) for pair in pairs}
    except BaseException:
        for p, values in held:
            p.copy_(values)
        raise


def _fit(
    model: nn.Module, batch: Any, pair: Pair, tol: float, max_iter: int
) -> tuple[float, float]:
    layer, mean, std = pair.layer, math.nan, math.nan
    for _ in range(max_iter):
        mean, std = _measure(model, batch, pair)
        if not math.isfinite(mean + std) or std < 1e-8:
            wrong = "constant" if math.isfinite(mean + std) else "not finite"
            raise RuntimeError(
                f"lsuv_init: the signal after {pair.name!r} is {wrong} on this batch: check its "
                "weights and its inputs, or leave it out of layers="
            )
        if abs(std - 1) < tol and (layer.bias is None or abs(mean) < tol):
            return mean, std
        layer.weight.div_(std)
        if layer.bias is not None:
            layer.bias.sub_(mean).div_(std)
    raise RuntimeError(
        f"lsuv_init: after {max_iter} passes {pair.name!r} has mean {mean:.3g} and deviation "
        f"{std:.3g}, not 0 and 1 within {tol:g}; behind an activation without both signs "
        "it cannot get there"
    )


def _measure(model: nn.Module, batch: Any, pair: Pair) -> tuple[float, float]:
    """Mean and deviation of the signal when a batch runs through the model."""
    signals = list[Tensor]()

    def note(_module: object, _inputs: object, output: Any) -> None:
        signals.append(next(tensors_in(output)))

    run_once(model, batch, [(pair.measured, note)], train=NORMS)
    if not signals:
        raise RuntimeError(f"lsuv_init: the batch does not reach {pair.name!r}")
    signal = torch.cat([x.flatten() for x in signals]).double()
    same = all(len(x) > 1 and bool((x == x[:1]).all()) for x in signals)  # for every sample
    return signal.mean().item(), 0.0 if same else signal.std(correction=0).item()


def _found(model: nn.Module, batch: Any) -> list[Pair]:
    """Layers in the order in which they run, each with the GeneralRelu that comes next, if any."""
    names = {module: name for name, module in model.named_modules()}
    leaves = [module for module in model.modules() if not any(module.children())]
    ran = list[nn.Module]()

    def note(module: nn.Module, *_: object) -> None:
        ran.append(module)

    run_once(model, batch, [(leaf, note) for leaf in leaves], train=NORMS)
    pairs: dict[nn.Module, Pair] = {}
    for module, after in zip(ran, [*ran[1:], None], strict=True):
        if isinstance(module, (*CONVS, nn.Linear)) and module not in pairs:
            measured = after if isinstance(after, GeneralRelu) else module
            pairs[module] = Pair(names[module] or type(model).__name__, module, measured)
    if not pairs:
        raise RuntimeError(f"lsuv_init: the batch reaches no layer of {type(model).__name__}")
    return list(pairs.values())


def _given(model: nn.Module, layers: Sequence[tuple[nn.Module, nn.Module]]) -> list[Pair]:
    names = {module: name for name, module in model.named_modules()}
    for module in (each for pair in layers for each in pair):
        if module not in names:
            raise ValueError(f"lsuv_init: {module} is not in this {type(model).__name__}")
    for layer, _ in layers:
        if not isinstance(layer, (*CONVS, nn.Linear)):
            kind = type(layer).__name__
            raise TypeError(f"lsuv_init: {kind} {names[layer]!r} is no convolution or linear layer")
    return [Pair(names[layer], layer, measured) for layer, measured in layers]
