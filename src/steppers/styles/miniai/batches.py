"""Callbacks around a batch: its device, a transform, one batch and no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ...train.callbacks.device import Device, best_device, mapped
from ...train.callbacks.device import to_device as moved
from ...train.events import Callback
from .learner import CancelFitException


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
    """Move the model and each batch to a device, the accelerator unless one is named.

    The state of torch's optimizers goes along; others keep theirs where they like.
    """

    def _place(self, learn: Any) -> None:
        opt = learn.layers.opt if learn.layers else None
        if isinstance(opt, torch.optim.Optimizer):
            return super()._place(learn)
        for part in (learn.model, learn.loss_func):
            if isinstance(part, nn.Module):
                part.to(self.device)
        return None


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
            if learn.batch is None:
                raise TypeError(
                    "BatchTransformCB: tfm must return the batch, got None; miniai.inplace makes "
                    "such a one of a function that changes its batch"
                )


class SingleBatchCB(Callback):
    """End the fit after its first batch."""

    order = 1

    def after_batch(self, learn: Any) -> None:
        raise CancelFitException
