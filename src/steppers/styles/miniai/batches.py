"""Callbacks around a batch: its device, a transform, half precision, one batch and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...train.callbacks.device import Device, best_device, mapped
from ...train.callbacks.device import to_device as moved
from ...train.callbacks.precision import MixedPrecision as OurMixedPrecision
from ...train.events import Callback
from .learner import CancelFitException, TrainCB


def to_device(x: Any, device: str | torch.device | None = None) -> Any:
    """Tensors, in nests of tuples, lists and dicts, on a device."""
    return moved(x, best_device() if device is None else torch.device(device))


def to_cpu(x: Any) -> Any:
    """Tensors, in nests of tuples, lists and dicts, without gradients on the CPU, in float32."""
    return mapped(_read, x)


def _read(x: Tensor) -> Tensor:
    found = x.detach().cpu()
    return found.float() if found.dtype in (torch.float16, torch.bfloat16) else found


class DeviceCB(Device):
    """Move the model and each batch to a device, the accelerator unless one is named."""


class BatchTransformCB(Callback):
    """Replace each batch by `tfm(batch)`, in the passes that are wanted."""

    order = DeviceCB.order + 1

    def __init__(
        self, tfm: Callable[[Any], Any], on_train: bool = True, on_val: bool = True
    ) -> None:
        if not callable(tfm):
            raise TypeError(f"BatchTransformCB: wants a function of a batch, got {tfm!r}")
        self.tfm, self.on_train, self.on_val = tfm, on_train, on_val

    def before_batch(self, learn: Any) -> None:
        if self.on_train if learn.training else self.on_val:
            learn.batch = self.tfm(learn.batch)


class SingleBatchCB(Callback):
    """End the fit after its first batch."""

    order = 1

    def after_batch(self, learn: Any) -> None:
        raise CancelFitException


class MixedPrecision(OurMixedPrecision):
    """Forward passes and the loss in float16, with a scaled loss, unless told otherwise.

    bfloat16 needs no scale. The first `n_inp` of a batch are the model's inputs.
    """

    def __init__(
        self,
        n_inp: int = 1,
        dtype: str | torch.dtype = torch.float16,
        device: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(dtype, device, **options)
        self._whole = TrainCB(n_inp)

    def predict(self, learn: Any) -> None:
        self._whole.predict(learn)

    def get_loss(self, learn: Any) -> None:
        self._whole.get_loss(learn)


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
        learn.model, learn.opt, learn.dls.train, learn.dls.valid = self.acc.prepare(*parts)

    def backward(self, learn: Any) -> None:
        self.acc.backward(learn.loss)
