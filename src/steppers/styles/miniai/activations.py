"""What layers put out in training, by forward hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ...train.callbacks.activations import Hook, Hooks
from ...train.callbacks.device import tensors_in
from ...train.events import Callback
from . import activation_pictures as pictures
from .batches import to_cpu

__all__ = [
    "ActivationStats",
    "Hook",
    "Hooks",
    "HooksCallback",
    "append_stats",
    "get_hist",
    "get_min",
]

BINS, TOP = 40, 10


def append_stats(hook: Any, mod: nn.Module, inp: Any, outp: Any) -> None:
    """A hook's function: add mean, deviation and histogram of the outputs to `hook.stats`.

    The histogram has 40 bins of |output| from 0 to 10; what is above is in none. Of several outputs
    the first tensor of floating-point numbers counts.
    """
    if not hasattr(hook, "stats"):
        hook.stats = ([], [], [])
    floats = (x for x in tensors_in(outp) if x.is_floating_point() and x.numel())
    if (found := next(floats, None)) is None:
        return
    acts = to_cpu(found)
    std = acts.std(correction=min(1, acts.numel() - 1))  # of one number it is 0
    for kept, value in zip(
        hook.stats, (acts.mean(), std, acts.abs().histc(BINS, 0, TOP)), strict=True
    ):
        kept.append(value)


def get_hist(h: Any) -> Tensor:
    """log1p of a hook's histograms: bins downwards, batches to the right."""
    return torch.stack(h.stats[2]).t().float().log1p()


def get_min(h: Any) -> Tensor:
    """The share of outputs in the first bin, those near zero, for each batch."""
    counts = torch.stack(h.stats[2]).t().float()
    return counts[0] / counts.sum(0)


class HooksCallback(Callback):
    """Hook functions (hook, module, inputs, outputs) on a model's modules while a fit runs.

    `mod_filter` chooses them, or `mods` lists them. They are called in training passes, and with
    `on_valid` in the others. `cb.hooks` and iterating over the callback give the hooks.
    """

    def __init__(
        self,
        hookfunc: Callable[..., None],
        mod_filter: Callable[[nn.Module], Any] = lambda module: True,
        on_train: bool = True,
        on_valid: bool = False,
        mods: Any = None,
    ) -> None:
        for name, function in (("hookfunc", hookfunc), ("mod_filter", mod_filter)):
            if not callable(function):
                raise TypeError(
                    f"{type(self).__name__}: {name} must be a function, got {function!r}"
                )
        self.hookfunc, self.mod_filter, self.mods = hookfunc, mod_filter, mods
        self.on_train, self.on_valid = on_train, on_valid
        self.hooks: list[Hook] = []
        self._on = False

    def before_fit(self, learn: Any) -> None:
        mods = self.mods or [m for m in learn.model.modules() if self.mod_filter(m)]
        if not mods:
            raise ValueError(f"{type(self).__name__}: the filter leaves no module to look at")
        hooks = Hooks(mods, self._hookfunc)
        self.hooks = [hooks[i] for i in range(len(hooks))]

    def before_batch(self, learn: Any) -> None:
        self._on = self.on_train if learn.training else self.on_valid

    def cleanup_batch(self, learn: Any) -> None:
        self._on = False

    def cleanup_fit(self, learn: Any) -> None:
        for hook in self.hooks:
            hook.remove()

    def _hookfunc(self, *args: Any) -> None:
        if self._on:
            self.hookfunc(*args)

    def __iter__(self) -> Iterator[Hook]:
        return iter(self.hooks)

    def __len__(self) -> int:
        return len(self.hooks)

    def __bool__(self) -> bool:
        return True  # before a fit too, when there are no hooks


class ActivationStats(HooksCallback):
    """Means, deviations and histograms of layers' outputs, with pictures of them.

    Each hook's `stats` are lists of them, an entry a training batch; `mod_filter` chooses the
    modules, without one all that have none inside. `color_dim`, `dead_chart` and `plot_stats`
    return matplotlib Figures, of `figsize` inches where it is given.
    """

    def __init__(self, mod_filter: Callable[[nn.Module], Any] | None = None) -> None:
        super().__init__(append_stats, _is_leaf if mod_filter is None else mod_filter)

    def color_dim(self, figsize: tuple[float, float] | None = None) -> Any:
        """Each layer's `get_hist` as a picture: batches to the right, |output| upwards."""
        seen = self._seen()
        return pictures.images([(title, get_hist(h)) for title, h in seen], TOP, figsize)

    def dead_chart(self, figsize: tuple[float, float] | None = None) -> Any:
        """Each layer's `get_min`: the share of outputs near zero along the batches."""
        seen = self._seen()
        return pictures.shares([(title, get_min(h)) for title, h in seen], TOP / BINS, figsize)

    def plot_stats(self, figsize: tuple[float, float] | None = None) -> Any:
        """Means and deviations of all layers along the batches."""
        return pictures.lines([(title, h.stats) for title, h in self._seen()], figsize)

    def _seen(self) -> list[tuple[str, Any]]:
        """The hooks that have seen outputs, each with its place and its module's class."""
        hooks: list[Any] = self.hooks
        found = [
            (f"{number} {type(hook.module).__name__}", hook)
            for number, hook in enumerate(hooks)
            if getattr(hook, "stats", ([],))[0]
        ]
        if not found:
            raise RuntimeError(f"{type(self).__name__}: nothing to draw before a training batch")
        return found


def _is_leaf(module: nn.Module) -> bool:
    return not any(module.children())
