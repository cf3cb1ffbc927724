"""The model, the optimizer's state and every batch on one device."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from ..events import Callback

if TYPE_CHECKING:
    from ..learner import Learner


class Device(Callback):
    """Move the model and each batch to a device; without one, to the accelerator if there is one.

    The optimizer's state and a loss function that is a module go along. Batches may nest tuples,
    lists and dicts; whatever has a method `to` is moved, the rest is left as it is.

    Raises RuntimeError where torch cannot move the parameters but makes new ones (`meta`, XLA),
    which the optimizer would not know.
    """

    order = -5

    def __init__(self, device: str | torch.device | None = None) -> None:
        self.device = best_device() if device is None else torch.device(device)

    def before_fit(self, learn: Learner) -> None:
        self._place(learn)

    def before_epoch(self, learn: Learner) -> None:
        self._place(learn)

    def before_batch(self, learn: Learner) -> None:
        learn.batch = to_device(learn.batch, self.device)

    def _place(self, learn: Learner) -> None:
        if isinstance(learn.loss_func, nn.Module):
            learn.loss_func.to(self.device)
        params = [id(p) for p in learn.model.parameters()]
        learn.model.to(self.device)
        if params != [id(p) for p in learn.model.parameters()]:
            raise RuntimeError(
                f"Device: moving to {self.device} made new parameters, which the optimizer does "
                "not know: move the model before the Learner is built"
            )
        _place_state(learn.opt)


def best_device() -> torch.device:
    """The accelerator that torch finds, else the CPU."""
    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found or torch.device("cpu")


def _place_state(opt: torch.optim.Optimizer) -> None:
    """Bring the state to the parameters' devices, as loading it does, if some is elsewhere."""
    for p, state in opt.state.items():
        averages = [v for k, v in state.items() if isinstance(v, Tensor) and k != "step"]
        if any(v.device != p.device for v in averages):
            opt.load_state_dict(opt.state_dict())
            return


def to_device(batch: Any, device: torch.device) -> Any:
    """A batch with all that can be moved on a device."""
    # A copy to the CPU that does not block may be read before it is there.
    return mapped(partial(_to, device, device.type != "cpu"), batch)


def _to(device: torch.device, non_blocking: bool, x: Any) -> Any:
    return x.to(device, non_blocking=non_blocking) if isinstance(x, Tensor) else x.to(device)


def mapped(fn: Callable[[Any], Any], nest: Any) -> Any:
    """The same nest of tuples, lists and dicts with `fn` of whatever in it has a method `to`."""
    if callable(getattr(nest, "to", None)):
        return fn(nest)
    if isinstance(nest, tuple) and hasattr(nest, "_fields"):
        return type(nest)(*(mapped(fn, each) for each in cast("tuple[Any, ...]", nest)))
    if isinstance(nest, tuple | list):
        inside = [mapped(fn, each) for each in cast("Sequence[Any]", nest)]
        return tuple(inside) if isinstance(nest, tuple) else inside
    if isinstance(nest, Mapping):
        items = cast("Mapping[Any, Any]", nest).items()
        same: Any = copy.copy(nest) if isinstance(nest, MutableMapping) else {}
        same.update({key: mapped(fn, each) for key, each in items})
        return same
    return nest


def tensors_in(nest: Any) -> Iterator[Tensor]:
    """The tensors of a nest, in order."""
    if isinstance(nest, Tensor):
        yield nest
    elif isinstance(nest, Mapping):
        for each in cast("Mapping[Any, Any]", nest).values():
            yield from tensors_in(each)
    elif isinstance(nest, tuple | list):
        for each in cast("Sequence[Any]", nest):
            yield from tensors_in(each)
