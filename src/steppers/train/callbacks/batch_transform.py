"""Functions on batches, on the device that trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from ..events import Callback

if TYPE_CHECKING:
    from ..learner import Learner


class BatchTransform(Callback):
    """Replace each batch by `fn(batch)`: a tuple whose last element is the target, as it was.

    Raises TypeError where the function is none, or returns something else than a tuple or a list.
    """

    order = 2  # after Device

    def __init__(self, fn: Callable[[Any], Any], *, train: bool = True, valid: bool = True) -> None:
        _check_callable("BatchTransform", fn)
        self.fn, self.train, self.valid = fn, train, valid

    def before_batch(self, learn: Learner) -> None:
        if self.train if learn.training else self.valid:
            learn.batch = _tuple(self.fn, self.fn(learn.batch))


class TransformInputs(Callback):
    """Replace the inputs of each batch by `fn(*inputs)`; the target stays.

    `fn` returns one tensor, or a tuple where the model takes several.

    >>> TransformInputs(lambda x: x.flatten(1)).train
    True
    """

    order = 2

    def __init__(self, fn: Callable[..., Any], *, train: bool = True, valid: bool = True) -> None:
        _check_callable("TransformInputs", fn)
        self.fn, self.train, self.valid = fn, train, valid

    def before_batch(self, learn: Learner) -> None:
        if self.train if learn.training else self.valid:
            found = self.fn(*learn.batch[:-1])
            inputs = cast("tuple[Any, ...]", found) if isinstance(found, tuple) else (found,)
            learn.batch = (*inputs, learn.batch[-1])


def _check_callable(owner: str, fn: object) -> None:
    if not callable(fn):
        raise TypeError(f"{owner}: wants a function, got {fn!r}")


def _tuple(fn: object, found: object) -> tuple[Any, ...]:
    if not isinstance(found, tuple | list):
        name, kind = getattr(fn, "__name__", type(fn).__name__), type(found).__name__
        raise TypeError(f"BatchTransform: {name} must return the batch as a tuple, got {kind}")
    return tuple(cast("tuple[Any, ...]", found))
