"""What objects hold, remembered, to be put back in place: the same tensors and containers."""

from __future__ import annotations

import random
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from operator import is_
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader, Sampler

# Objects with state that training changes; others are left as they are.
OWNERS = (nn.Module, torch.optim.Optimizer, LRScheduler, torch.amp.GradScaler, Sampler)
# Of torch's wrappers around a model only what is registered: their reducers are not Python's.
WRAPPERS = ("torch.nn.parallel.", "torch.distributed.", "torch._dynamo.")
REGISTERED = ("_parameters", "_buffers", "_modules")
ATOMS = (int, float, str, bytes, type(None))  # cannot change: nothing to remember
DATA = ("dataset", "data_source")  # never copied


class Held(Protocol):
    """One thing that can be put back."""

    def put_back(self) -> None:
        """Make it what it was."""
        ...


class Memento:
    """What some objects hold now: tensors, containers, attributes and generators, at any depth.

    Each tensor's numbers are copied once, wherever it is held.
    """

    def __init__(self) -> None:
        self.held: list[Held] = []
        self.generators: list[torch.Generator] = []
        self._seen: dict[int, Any] = {}  # by id; the object too, so that the id stays its own

    def add(self, *roots: object) -> None:
        """Remember objects and what they hold; any object with attributes is taken."""
        waiting = [part for root in roots for part in self._attributes(root)]
        while waiting:
            thing = waiting.pop()
            if id(thing) not in self._seen and not isinstance(thing, ATOMS):
                self._seen[id(thing)] = thing
                waiting += self._one(thing)

    def add_loader(self, loader: object) -> None:
        """Remember a loader's attributes, samplers and generators, but no data."""
        if id(loader) in self._seen or not hasattr(loader, "__dict__"):
            return
        self._seen[id(loader)] = loader
        self.held.append(Pairs(vars(loader), dict(vars(loader))))
        for name, value in vars(loader).items():
            if isinstance(value, DataLoader):
                self.add_loader(value)
            elif name not in DATA and isinstance(value, (Sampler, torch.Generator, random.Random)):
                self.add(value)

    def put_back(self) -> None:
        """Make all of it what it was; may be called again if it was interrupted.

        Raises RuntimeError, when the rest is back, for what could not be put back.
        """
        failed: Exception | None = None
        for held in self.held:
            try:
                held.put_back()
            except Exception as error:
                failed = failed or error
        if failed is not None:
            raise RuntimeError(f"not everything could be put back: {failed}") from failed

    def _attributes(self, root: object) -> Iterable[object]:
        """A root itself, or what it holds if it is of a kind that is not known."""
        known = (*OWNERS, Tensor, dict, list, tuple, set, deque, torch.Generator, random.Random)
        if isinstance(root, DataLoader):
            self.add_loader(root)
            return ()
        return (root,) if isinstance(root, known) else self._owner(root)

    def _one(self, thing: Any) -> Iterable[object]:
        """Remember one thing; gives what else it holds."""
        if isinstance(thing, Tensor):
            self.held.append(TensorHeld.of(thing))
            return (thing.grad,) if thing.is_leaf and thing.grad is not None else ()
        if isinstance(thing, dict):
            self.held.append(Pairs(thing, dict(thing)))
            return thing.values()
        if isinstance(thing, (list, deque)):
            self.held.append(Row(thing, list(thing)))
            return thing
        if isinstance(thing, set):
            self.held.append(Members(thing, set(thing)))
        elif isinstance(thing, torch.Generator):
            self.generators.append(thing)
        elif (drawn := _drawn(thing)) is not None:
            self.held.append(drawn)
        elif isinstance(thing, tuple):
            return cast("tuple[object, ...]", thing)
        elif isinstance(thing, OWNERS):
            return self._owner(thing)
        elif isinstance(thing, DataLoader):
            self.add_loader(thing)
        return ()

    def _owner(self, owner: Any) -> Iterable[object]:
        if isinstance(owner, torch.jit.ScriptModule):
            self.held += [Mode(module, module.training) for module in owner.modules()]
            return [*owner.parameters(), *owner.buffers()]
        own = vars(owner)
        if isinstance(owner, nn.Module) and type(owner).__module__.startswith(WRAPPERS):
            self.held.append(Mode(owner, owner.training))
            return [own[name] for name in REGISTERED if name in own]
        self.held.append(Pairs(own, dict(own)))
        return [value for name, value in own.items() if name not in DATA]


@dataclass(frozen=True)
class TensorHeld:
    """A tensor: its memory, the numbers there, and what autograd knows of it."""

    tensor: Tensor
    alias: Tensor  # shares the memory that the tensor has now
    numbers: Tensor
    grad: Tensor | None
    requires_grad: bool

    @classmethod
    def of(cls, tensor: Tensor) -> TensorHeld:
        """Copy a tensor's numbers."""
        alias = tensor.detach()
        grad = tensor.grad if tensor.is_leaf else None
        numbers = _distinct(alias).clone()
        return cls(tensor, alias, numbers, grad, tensor.requires_grad)

    def put_back(self) -> None:
        """Copy the numbers back, into the memory that it had."""
        with torch.no_grad():
            if not _same_memory(self.tensor, self.alias):
                self.tensor.data = self.alias
            _distinct(self.tensor).copy_(self.numbers)
        if self.tensor.is_leaf:
            if self.tensor.requires_grad != self.requires_grad:
                self.tensor.requires_grad_(self.requires_grad)
            self.tensor.grad = self.grad


@dataclass(frozen=True)
class Pairs:
    """A dict, of any kind."""

    held: dict[Any, Any]
    items: dict[Any, Any]

    def put_back(self) -> None:
        """Give it the keys and values that it had, in their order."""
        now, then = self.held, self.items
        if not (_same(now, then) and _same(now.values(), then.values())):
            now.clear()
            now.update(then)


@dataclass(frozen=True)
class Row:
    """A list or deque."""

    held: Any
    items: list[Any]

    def put_back(self) -> None:
        """Give it the members that it had."""
        if not _same(self.held, self.items):
            self.held.clear()
            self.held.extend(self.items)


@dataclass(frozen=True)
class Members:
    """A set."""

    held: set[Any]
    items: set[Any]

    def put_back(self) -> None:
        """Give it the members that it had."""
        self.held.clear()
        self.held.update(self.items)


@dataclass(frozen=True)
class Mode:
    """Whether a module is training."""

    module: nn.Module
    training: bool

    def put_back(self) -> None:
        """Set it, for this module alone."""
        self.module.training = self.training


@dataclass(frozen=True)
class Drawn:
    """A generator of Python's or NumPy's that some object has for itself."""

    put: Callable[[Any], None]
    state: Any

    def put_back(self) -> None:
        """Let it draw the same numbers again."""
        self.put(self.state)


def _drawn(thing: Any) -> Drawn | None:
    if isinstance(thing, random.Random):
        return Drawn(thing.setstate, thing.getstate())
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(thing, numpy.random.Generator):
        bits = thing.bit_generator
        return Drawn(lambda state: setattr(bits, "state", state), bits.state)
    return None


def _distinct(tensor: Tensor) -> Tensor:
    """The tensor without the repeats of an expanded one, which cannot be written to."""
    if tensor.layout is torch.strided:
        for dim, (stride, size) in enumerate(zip(tensor.stride(), tensor.shape, strict=True)):
            if stride == 0 and size > 1:
                tensor = tensor.narrow(dim, 0, 1)
    return tensor


def _same_memory(tensor: Tensor, alias: Tensor) -> bool:
    """False if `.data` of the tensor was set since; subclasses that wrap others cannot tell."""
    if type(tensor) not in (Tensor, nn.Parameter) or tensor.layout is not torch.strided:
        return True
    return (
        tensor.data_ptr() == alias.data_ptr()
        and tensor.dtype == alias.dtype
        and tensor.shape == alias.shape
        and tensor.stride() == alias.stride()
        and tensor.device == alias.device
    )


def _same(a: Iterable[Any], b: Iterable[Any]) -> bool:
    """True if both hold the same objects in the same order."""
    a, b = list(a), list(b)
    return len(a) == len(b) and all(map(is_, a, b))
