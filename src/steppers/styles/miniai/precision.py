"""Training steps in half precision, by torch alone or by Hugging Face accelerate."""

from __future__ import annotations

from typing import Any

import torch

from ...train.callbacks.precision import DTYPES, Autocast
from .batches import DeviceCB
from .data import DataLoaders
from .trainers import TrainCB, differentiated


class MixedPrecision(TrainCB):
    """The operations with forward passes and the loss in float16, and a scaled loss behind them.

    Heirs find `scaler`, torch's GradScaler, new for each fit; gradients are scaled until its step.
    bfloat16 needs no scale, and its scaler does nothing. The first `n_inp` of a batch are the
    model's inputs. `init_scale` and `growth_interval` are GradScaler's.
    """

    order = DeviceCB.order + 10

    def __init__(
        self,
        n_inp: int = 1,
        dtype: str | torch.dtype = torch.float16,
        device: str | None = None,
        *,
        init_scale: float = 2.0**16,
        growth_interval: int = 2000,
    ) -> None:
        super().__init__(n_inp)
        self.dtype = DTYPES.get(str(dtype).removeprefix("torch."))
        if self.dtype is None:
            raise ValueError(f"MixedPrecision: dtype must be float16 or bfloat16, got {dtype!r}")
        if not init_scale > 0 or growth_interval < 1:
            raise ValueError(
                "MixedPrecision: init_scale must be > 0 and growth_interval >= 1, got "
                f"{init_scale} and {growth_interval}"
            )
        self.device = device
        self.init_scale, self.growth_interval = init_scale, growth_interval
        self.scaler: Any = None
        self._before: Autocast | None = None  # while a batch runs under ours

    def before_fit(self, learn: Any) -> None:
        self.scaler = torch.amp.GradScaler(
            self._kind(learn),
            init_scale=self.init_scale,
            growth_interval=self.growth_interval,
            enabled=self.dtype == torch.float16,
        )

    def before_batch(self, learn: Any) -> None:
        self._leave()  # if a Ctrl-C came before it was left
        kind = self._kind(learn)
        self._before = Autocast.now(kind)
        torch.autocast(kind, self.dtype).__enter__()

    def after_loss(self, learn: Any) -> None:
        self._leave()

    def backward(self, learn: Any) -> None:
        self.scaler.scale(differentiated(learn)).backward()

    def step(self, learn: Any) -> None:
        self.scaler.step(learn.opt)
        self.scaler.update()

    def cleanup_batch(self, learn: Any) -> None:
        self._leave()  # a batch that was cancelled has no after_loss

    def _kind(self, learn: Any) -> str:
        """The device's type."""
        return self.device or next(learn.model.parameters()).device.type

    def _leave(self) -> None:
        if self._before is not None:
            self._before.put_back()
            self._before = None


class AccelerateCB(TrainCB):
    """Model, optimizer and data prepared by Hugging Face accelerate, which does the backward pass.

    Raises ImportError without accelerate.
    """

    order = DeviceCB.order + 10

    def __init__(self, n_inp: int = 1, mixed_precision: str = "fp16") -> None:
        super().__init__(n_inp)
        try:
            from accelerate import (  # pyright: ignore[reportMissingImports]  # optional
                Accelerator,
            )
        except ImportError as error:
            raise ImportError("AccelerateCB needs accelerate: pip install accelerate") from error
        self.acc: Any = Accelerator(mixed_precision=mixed_precision)

    def before_fit(self, learn: Any) -> None:
        parts = (learn.model, learn.opt, learn.dls.train, learn.dls.valid)
        learn.model, learn.opt, *dls = self.acc.prepare(*parts)
        learn.dls = DataLoaders(*dls)

    def backward(self, learn: Any) -> None:
        self.acc.backward(differentiated(learn))
