"""The course's Runner and Learner, on our loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from ...train.init import CONVS, init_weights
from .lists import listify
from .model import get_cnn_model
from .optimizers import sgd_opt
from .run import Run


class Runner(Run):
    """Callbacks that fit a `Learner`: model, optimizer, loss and data are the learner's."""

    @property
    def model(self) -> nn.Module:
        return self.learn.model

    @property
    def opt(self) -> torch.optim.Optimizer:
        return self.learn.opt

    @property
    def loss_func(self) -> Any:
        return self.learn.loss_func

    @property
    def data(self) -> Any:
        return self.learn.data

    def fit(self, epochs: int, learn: Any) -> None:
        """Train for so many epochs, each a pass over the training and one over the other data."""
        self.train(epochs, learn)


def param_getter(model: nn.Module) -> Any:
    """All parameters: one group."""
    return model.parameters()


class Learner(Run):
    """Model, data, loss and optimizer, in both of the course's forms.

    `Learner(model, opt, loss_func, data)` holds them for a Runner. `Learner(model, data, loss_func,
    opt_func, lr, splitter, cbs, cb_funcs)`, the later one, makes the optimizer itself, when it is
    first fitted, and keeps it from fit to fit.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Any = None,
        loss_func: Any = None,
        opt_func: Any = None,
        lr: Any = 1e-2,
        splitter: Callable[[nn.Module], Any] = param_getter,
        cbs: Any = None,
        cb_funcs: Any = None,
        *,
        opt: torch.optim.Optimizer | None = None,
    ) -> None:
        if isinstance(data, torch.optim.Optimizer):
            data, opt, opt_func = opt_func, data, None
        if loss_func is None:
            raise TypeError("Learner: loss_func is missing")
        if hasattr(data, "step") and hasattr(data, "zero_grad"):
            raise TypeError(
                f"Learner: {type(data).__name__} is no torch.optim.Optimizer: derive it from "
                "course.Optimizer or course.StatefulOptimizer"
            )
        self.model, self.data, self.loss_func = model, data, loss_func
        self.opt_func, self.lr, self.splitter = opt_func or sgd_opt, lr, splitter
        self.opt: Any = opt
        super().__init__(cbs, cb_funcs)

    def fit(self, epochs: int, cbs: Any = None, reset_opt: bool = False) -> None:
        """Train for so many epochs; `cbs` are there for this fit, their attributes stay."""
        self.add_cbs(added := listify(cbs))
        try:
            if reset_opt or self.opt is None:
                self.opt = self.opt_func(self.splitter(self.model), lr=self.lr)
            self.train(epochs, self)
        finally:
            self.remove_cbs(added)


def get_runner(
    model: nn.Module,
    data: Any,
    lr: Any = 0.6,
    cbs: Any = None,
    opt_func: Any = None,
    loss_func: Any = nn.functional.cross_entropy,
) -> tuple[Learner, Runner]:
    """A learner and the runner that fits it; without `opt_func` with torch's SGD."""
    opt = (opt_func or torch.optim.SGD)(model.parameters(), lr=lr)
    return Learner(model, opt, loss_func, data), Runner(cb_funcs=cbs)


def init_cnn(model: nn.Module, uniform: bool = False) -> None:
    """Kaiming weights of all convolutions for a leaky ReLU of slope 0.1, and biases of 0.

    They are normal, or with `uniform` evenly spread.
    """
    for module in model.modules():
        if isinstance(module, CONVS):
            init_weights(module, leak=0.1)
            if uniform:
                nn.init.kaiming_uniform_(module.weight, a=0.1)


def get_learn_run(
    nfs: Any,
    data: Any,
    lr: Any,
    layer: Callable[..., nn.Module],
    cbs: Any = None,
    opt_func: Any = None,
    uniform: bool = False,
    **kwargs: Any,
) -> tuple[Learner, Runner]:
    """`get_runner` of a new network with the widths `nfs`, each layer made by `layer`."""
    model = _new_cnn(data, nfs, layer, uniform, kwargs)
    return get_runner(model, data, lr=lr, cbs=cbs, opt_func=opt_func)


def get_learner(
    nfs: Any,
    data: Any,
    lr: Any,
    layer: Callable[..., nn.Module],
    loss_func: Any = nn.functional.cross_entropy,
    cb_funcs: Any = None,
    opt_func: Any = sgd_opt,
    **kwargs: Any,
) -> Learner:
    """The later form: a Learner of such a network, which makes its optimizer itself."""
    model = _new_cnn(data, nfs, layer, False, kwargs)
    return Learner(model, data, loss_func, opt_func, lr, cb_funcs=cb_funcs)


def _new_cnn(
    data: Any, nfs: Any, layer: Callable[..., nn.Module], uniform: bool, options: dict[str, Any]
) -> nn.Module:
    model = get_cnn_model(data, nfs, layer, **options)
    init_cnn(model, uniform)
    return model
