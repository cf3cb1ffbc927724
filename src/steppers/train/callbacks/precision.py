"""Mixed precision: forward passes in half precision, weights in float32."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..events import Callback
from .device import mapped

if TYPE_CHECKING:
    from ..learner import Learner

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class MixedPrecision(Callback):
    """Run the model and the loss under autocast (Micikevicius et al. 2018, arXiv:1710.03740).

    Outputs go to the loss and to the metrics in float32. With float16 the loss that is
    differentiated is multiplied by a scale that torch's GradScaler adapts: the gradients are
    divided by it before clipping, and a step whose gradients overflow is left out. Such steps are
    expected at the beginning, while the scale is being found. bfloat16 needs none of this.

    Args:
        dtype: "bfloat16", "float16", or torch's names of them.
        device: the device's type, like "cuda"; None: that of the model's first parameter.
        init_scale: the scale of the first batch, a power of 2.
        growth_interval: steps without overflow after which the scale doubles.

    Raises ValueError for another dtype or scale, RuntimeError where the device has no autocast.
    """

    order = 10  # after GradientAccumulation, before ClipGradients

    def __init__(
        self,
        dtype: str | torch.dtype = "bfloat16",
        device: str | None = None,
        *,
        init_scale: float = 2.0**16,
        growth_interval: int = 2000,
    ) -> None:
        self.dtype = _dtype(dtype)
        if init_scale <= 0 or growth_interval < 1:
            raise ValueError(
                "MixedPrecision: init_scale must be > 0 and growth_interval >= 1, got "
                f"{init_scale} and {growth_interval}"
            )
        self.device, self._options = device, (init_scale, growth_interval)
        if device is not None:
            _check_device(device)
        self.scaler: torch.amp.GradScaler | None = None
        self._before: Autocast | None = None  # while a batch runs under ours
        self._unscaled = False
        self._type = ""
        if self.dtype == torch.float16:
            self.step = self._scaled_step  # bfloat16 leaves the operation to others

    def before_fit(self, learn: Learner) -> None:
        self._resolve(learn)
        if self.dtype == torch.float16 and self.scaler is None:
            scale, interval = self._options
            self.scaler = torch.amp.GradScaler(
                self._type, init_scale=scale, growth_interval=interval
            )

    def before_epoch(self, learn: Learner) -> None:
        self._resolve(learn)

    def before_batch(self, learn: Learner) -> None:
        self._close()
        self._before = Autocast.now(self._type)
        torch.autocast(self._type, self.dtype).__enter__()

    def after_predict(self, learn: Learner) -> None:
        learn.preds = mapped(self._float, learn.preds)

    def after_loss(self, learn: Learner) -> None:
        self._close()
        if self.scaler is not None and learn.training:
            learn.loss_grad = self.scaler.scale(learn.loss_grad)

    def before_step(self, learn: Learner) -> None:
        if self.scaler is not None and _gradients(learn):
            self.scaler.unscale_(learn.opt)
            self._unscaled = True

    def _scaled_step(self, learn: Learner) -> None:
        if self.scaler is None or not self._unscaled:
            learn.opt.step()
        else:
            self.scaler.step(learn.opt)
            self.scaler.update()
            self._unscaled = False

    def cleanup_batch(self, learn: Learner) -> None:
        self._close()
        if self.scaler is not None and self._unscaled:  # the step was cancelled
            self._unscaled = False
            self.scaler.update()
            scale = self.scaler.get_scale()
            for gradient in _gradients(learn):  # they stay, and those to come have the scale too
                gradient.mul_(scale)

    def cleanup_epoch(self, learn: Learner) -> None:
        self._close()  # if a Ctrl-C interrupted that

    def cleanup_fit(self, learn: Learner) -> None:
        self.cleanup_batch(learn)

    def _close(self) -> None:
        if self._before is not None:
            self._before.put_back()
            self._before = None

    def state_dict(self) -> dict[str, Any]:
        return {} if self.scaler is None else {"scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, in a fit that has begun."""
        if state and self.scaler is None:
            raise RuntimeError("MixedPrecision: a fit must have begun, to load a scaler's state")
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state["scaler"])

    def _resolve(self, learn: Learner) -> None:
        """Find the device's type."""
        self._type = self.device or next(learn.model.parameters()).device.type
        _check_device(self._type)

    def _float(self, output: Any) -> Any:
        half = isinstance(output, Tensor) and output.dtype == self.dtype
        return output.float() if half else output


@dataclass(frozen=True)
class Autocast:
    """What autocast was. It can be put back again where a Ctrl-C interrupted that."""

    device: str
    enabled: bool
    dtype: torch.dtype
    cached: bool
    depth: int  # of autocast blocks: where the outermost ends, torch drops the weights it has cast

    @classmethod
    def now(cls, device: str) -> Autocast:
        """The present state for a device's type."""
        enabled, dtype = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
        return cls(device, enabled, dtype, torch.is_autocast_cache_enabled(), _depth())

    def put_back(self) -> None:
        """Leave the blocks that were entered since."""
        while _depth() > self.depth:
            torch.autocast_decrement_nesting()
        if self.depth == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled(self.device, self.enabled)
        torch.set_autocast_dtype(self.device, self.dtype)
        torch.set_autocast_cache_enabled(self.cached)


def _depth() -> int:
    try:
        torch.autocast_increment_nesting()
    finally:
        depth = torch.autocast_decrement_nesting()
    return depth


def _dtype(given: str | torch.dtype) -> torch.dtype:
    for name, dtype in DTYPES.items():
        if given in (name, dtype):
            return dtype
    raise ValueError(f"MixedPrecision: dtype must be bfloat16 or float16, got {given!r}")


def _check_device(kind: str) -> None:
    known = torch.amp.is_autocast_available(kind)
    if not known or (kind == "cuda" and not torch.cuda.is_available()):
        raise RuntimeError(
            f"MixedPrecision: there is no autocast for device {kind!r} here; leave the callback out"
        )


def _gradients(learn: Learner) -> list[Tensor]:
    groups = learn.opt.param_groups
    return [p.grad for group in groups for p in group["params"] if p.grad is not None]
