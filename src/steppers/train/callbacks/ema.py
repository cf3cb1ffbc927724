"""Evaluation with averaged weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.hooks import RemovableHandle

from ..events import Callback
from .schedule import on_step

if TYPE_CHECKING:
    from ..learner import Learner


class EMA(Callback):
    """Validate with an exponential moving average of the weights, for any optimizer.

    After each step average = decay * average + (1 - decay) * weight, from the weights before the
    first step. The average stands in the model during each validation pass, that of `validate` and
    `get_preds` too, and the weights come back however the pass ends. Floating-point buffers, like
    BatchNorm's statistics, are averaged alike; other buffers are left as they are. Weights of less
    than 32 bits are averaged in float32.

    The average goes on from fit to fit; `copy_to(model)` puts it into a model for good. With an
    optimizer of steppers the rule `ema` does the same within the step, without a pass of its own.

    Raises ValueError for a decay outside [0, 1).
    """

    order = 30
    observes = True

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"EMA: decay must be in [0, 1), got {decay}")
        self.decay = decay
        self.average: dict[str, Tensor] = {}
        self._raw: dict[str, Tensor] | None = None  # the weights, while the average is in
        self._handle: RemovableHandle | None = None

    def before_fit(self, learn: Learner) -> None:
        self._recover(learn.model)
        now = _floating(learn.model)
        if not _alike(now, self.average):
            self.average = {name: _wide(value).clone() for name, value in now.items()}
        self.average = {name: self.average[name].to(now[name].device) for name in now}
        self._handle = on_step(learn.opt, lambda: self._update(learn.model))

    @torch.no_grad()
    def _update(self, model: nn.Module) -> None:
        now = _floating(model)
        averages = list(self.average.values())
        same = [now[name].to(value.dtype) for name, value in self.average.items()]
        get_ema_multi_avg_fn(self.decay)(averages, same, 0)

    def before_epoch(self, learn: Learner) -> None:
        self._recover(learn.model)
        if not learn.training and self.average:
            now = _floating(learn.model)
            self._raw = {name: value.detach().clone() for name, value in now.items()}
            _put(learn.model, self.average)

    def cleanup_epoch(self, learn: Learner) -> None:
        interrupt: KeyboardInterrupt | None = None
        while self._raw is not None:
            try:
                _put(learn.model, self._raw)
                self._raw = None
            except KeyboardInterrupt as raised:  # heard when the weights are back
                interrupt = raised
        if interrupt is not None:
            raise interrupt

    def _recover(self, model: nn.Module) -> None:
        """Put back what a second Ctrl-C kept in: where the average is still in its place."""
        raw, self._raw = self._raw, None
        if raw is not None:
            now = {name: _wide(value) for name, value in _floating(model).items()}
            in_place = [n for n in raw if n in now and torch.equal(now[n], self.average[n])]
            _put(model, {name: raw[name] for name in in_place})

    def cleanup_fit(self, learn: Learner) -> None:
        self.cleanup_epoch(learn)
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def copy_to(self, model: nn.Module) -> None:
        """Put the average into a model of the same kind, in place.

        Raises ValueError where there is no average yet, or the model has other weights.
        """
        if not self.average:
            raise ValueError("EMA: there is no average before the first fit")
        if not _alike(_floating(model), self.average):
            raise ValueError(f"EMA: the average is not of this {type(model).__name__}'s weights")
        _put(model, self.average)

    def state_dict(self) -> dict[str, Any]:
        return {"average": dict(self.average)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over an average; tensors are copied.

        Raises ValueError where it is of other weights than those of the fit that has begun.
        """
        found = state["average"]
        if self.average and not _alike(self.average, found):
            raise ValueError("EMA: the state is of another model")
        devices = {name: value.device for name, value in self.average.items()}
        self.average = {
            n: v.detach().clone().to(devices.get(n, v.device)) for n, v in found.items()
        }


def _floating(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and buffers that hold floating-point numbers, by name."""
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {name: value for name, value in named.items() if value.is_floating_point()}


def _alike(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return {n: v.shape for n, v in a.items()} == {n: v.shape for n, v in b.items()}


def _wide(value: Tensor) -> Tensor:
    return value.detach().to(torch.promote_types(value.dtype, torch.float32))


@torch.no_grad()
def _put(model: nn.Module, values: dict[str, Tensor]) -> None:
    held = _floating(model)
    for name, value in values.items():
        held[name].copy_(value)
