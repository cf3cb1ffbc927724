"""What layers put out in training, by forward hooks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from ...train.callbacks.activations import ActivationStats as OurStats
from ...train.callbacks.activations import Hook, Hooks
from ...train.events import Callback
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


def append_stats(hook: Any, mod: nn.Module, inp: Any, outp: Any) -> None:
    """A hook's function: add mean, deviation and histogram of the outputs to `hook.stats`.

    The histogram has 40 bins of |output| from 0 to 10.
    """
    if not hasattr(hook, "stats"):
        hook.stats = ([], [], [])
    acts = to_cpu(outp)
    for kept, value in zip(
        hook.stats, (acts.mean(), acts.std(), acts.abs().histc(40, 0, 10)), strict=True
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
        if not callable(hookfunc):
            raise TypeError(f"HooksCallback: hookfunc must be a function, got {hookfunc!r}")
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

    def cleanup_fit(self, learn: Any) -> None:
        self._on = False
        for hook in self.hooks:
            hook.remove()

    def _hookfunc(self, *args: Any) -> None:
        if self._on:
            self.hookfunc(*args)

    def __iter__(self) -> Iterator[Hook]:
        return iter(self.hooks)

    def __len__(self) -> int:
        return len(self.hooks)


class ActivationStats(OurStats):
    """Means, deviations and histograms of layers' outputs, with pictures of them.

    `color_dim`, `dead_chart` and `plot_stats` return matplotlib Figures. Iterating gives an object
    a layer whose `stats` are lists of means, deviations and histograms. `mod_filter` chooses the
    modules; without it all that have none inside.
    """

    def __init__(self, mod_filter: Callable[[nn.Module], Any] | None = None) -> None:
        super().__init__(mod_filter)

    def __iter__(self) -> Iterator[Any]:
        means, stds, hists = self.means, self.stds, self.hists
        return (SimpleNamespace(stats=(means[n], stds[n], hists[n])) for n in self.names)

    def __len__(self) -> int:
        return len(self.names)
