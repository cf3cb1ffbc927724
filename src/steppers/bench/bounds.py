"""How fast a step can be: the bytes that it must move, at the bandwidth of `x.add_(y)`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from torch import Tensor

from ..optimizer import Optimizer

# Below this a step's tensors may lie in a processor's last cache, and memory does not bound it.
LEAST = 100 << 20


def bytes_per_step(optimizer: Optimizer) -> int:
    """Bytes that a step of all groups reads and writes, at least; it must have taken one."""
    groups = cast("Iterable[object]", optimizer.explain(measure=False).groups)
    stated = [getattr(group, "bytes_per_step", None) for group in groups]
    known = [float(each) for each in stated if each is not None]
    return round(sum(known)) if len(known) == len(stated) else counted(optimizer)


def counted(optimizer: Optimizer) -> int:
    """Each parameter and slot read and written once, each gradient read once."""
    params: list[Tensor] = [p for group in optimizer.param_groups for p in group["params"]]
    twice = sum(map(size, params)) + sum(size(x) for p in params for x in slots(optimizer, p))
    return 2 * twice + sum(size(p.grad) for p in params if p.grad is not None)


def slots(optimizer: Optimizer, p: Tensor) -> list[Tensor]:
    """A parameter's state, the step count left out."""
    state = cast("dict[str, Any]", optimizer.state[p])
    return [x for name, x in state.items() if name != "step" and isinstance(x, Tensor)]


def size(x: Tensor) -> int:
    """Bytes of a tensor."""
    return x.numel() * x.element_size()


def bound(moved: int, bandwidth: float) -> float | None:
    """Seconds that moving these bytes takes; None where the cache may hold them."""
    return moved / bandwidth if moved >= LEAST else None
