"""Whatever happens in a with-block, model, optimizer and random numbers are as before after it."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from .. import rng
from .memento import Memento


@contextmanager
def restored(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: object = None,
    scaler: object = None,
    others: Iterable[object] = (),
    *,
    loaders: Iterable[object] = (),
) -> Generator[None]:
    """Put everything back when the block ends: well, by an exception or by Ctrl-C.

    Parameters and buffers (bit for bit, in the memory they have), gradients, `requires_grad`, each
    module's mode and own attributes; the optimizer's state and groups; a scheduler; a GradScaler;
    the random numbers of Python, NumPy, torch and CUDA. `others` are further objects of yours: an
    average of the weights, a loss with parameters, a `torch.Generator`. Of `loaders` come back the
    generators, samplers and attributes, so that they give the batches that they would have given;
    data sets are not copied. Objects of other kinds that a module or optimizer holds are left
    alone, and workers that a loader has kept running keep their own random numbers.

    In the block memory holds one copy more of each tensor: of weights, buffers, gradients and
    optimizer state, on the device where it is.

    Raises TypeError for what cannot be restored, ValueError for parameters without a shape yet.

    >>> model = nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> before = model.weight.tolist()
    >>> with restored(model, optimizer):
    ...     _ = nn.init.zeros_(model.weight)
    >>> model.weight.tolist() == before
    True
    """
    _check(model, optimizer)
    extra = [each for each in (scheduler, scaler, *others) if each is not None]
    for each in extra:
        if not _holds(each):
            raise TypeError(
                f"restored: {type(each).__name__} has no attributes that could be put back; "
                "give modules, schedulers, torch.Generators or objects of your own classes"
            )
    memento = Memento()
    memento.add(model, optimizer, *extra)
    for loader in loaders:
        memento.add_loader(loader)
        memento.add(*rng.generators_of(loader))
    drawn = rng.snapshot(*memento.generators)
    try:
        yield
    finally:
        _put_back(memento, drawn)


def _put_back(memento: Memento, drawn: dict[str, object]) -> None:
    """Put all back; a Ctrl-C in the middle of it is heard when all is back."""
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            rng.restore(drawn, *memento.generators)
            memento.put_back()
            break
        except KeyboardInterrupt as raised:
            interrupt = raised
    if interrupt is not None:
        raise interrupt


def _holds(thing: object) -> bool:
    kinds = (torch.Tensor, torch.Generator, dict, list, set)
    return not isinstance(thing, type) and (isinstance(thing, kinds) or hasattr(thing, "__dict__"))


def _check(model: object, optimizer: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise TypeError(f"optimizer must be a torch optimizer, got {type(optimizer).__name__}")
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise ValueError(
                f"{name} has no shape yet and could not be put back; run the model on a batch first"
            )
