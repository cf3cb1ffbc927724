"""What the layers put out while a model trains: means, deviations, histograms, dead units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from .. import plots
from ..events import Callback
from .device import tensors_in

if TYPE_CHECKING:
    from types import TracebackType

    from ..learner import Learner

BINS, TOP = 40, 10.0
# Called with its hook and what torch gives forward hooks: module, inputs, outputs.
HookFunction = Callable[["Hook", nn.Module, Any, Any], None]


class Hook:
    """A forward hook `fn(hook, module, inputs, outputs)`, until `remove` or the end of a block.

    >>> with Hook(nn.Linear(2, 3), lambda hook, m, x, y: print(y.shape)) as hook:
    ...     _ = hook.module(torch.ones(5, 2))
    torch.Size([5, 3])
    """

    def __init__(self, module: nn.Module, fn: HookFunction) -> None:
        self.module = module
        self._handle: RemovableHandle = module.register_forward_hook(partial(fn, self))

    def remove(self) -> None:
        self._handle.remove()

    def __enter__(self) -> Hook:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.remove()


class Hooks:
    """The same forward hook on several modules; a sequence of Hook, to use like one of them."""

    def __init__(self, modules: Iterable[nn.Module], fn: HookFunction) -> None:
        self._hooks: list[Hook] = []
        try:
            for module in modules:
                self._hooks.append(Hook(module, fn))
        except BaseException:
            self.remove()
            raise

    def __len__(self) -> int:
        return len(self._hooks)

    def __getitem__(self, index: int) -> Hook:
        return self._hooks[index]

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def __enter__(self) -> Hooks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.remove()


class ActivationStats(Callback):
    """Note mean, deviation and histogram of each layer's outputs on every training batch.

    A histogram has 40 bins of |output| from 0 to 10; what is above counts in the last, NaN in none.
    Units in the first bin, below 0.25, are near zero: the share of those is `dead`.

    All are lists by layer name, one entry a batch: `means`, `stds`, `dead` of numbers, `hists` of
    tensors of 40 counts. They begin anew with each fit, and stay on the device until they are read.

    Args:
        filter: which modules, by a function of the module; None: those without modules inside.

    Raises ValueError, before the fit begins, where no module is left.
    """

    order = 0
    observes = True

    def __init__(self, filter: Callable[[nn.Module], bool] | None = None) -> None:
        if filter is not None and not callable(cast("object", filter)):
            raise TypeError(
                f"ActivationStats: filter must be a function of a module, got {filter!r}"
            )
        self.filter = filter or _is_leaf
        self.names: list[str] = []
        self._labels: dict[str, str] = {}  # name and class, for pictures
        self._seen: dict[str, list[tuple[Tensor, Tensor]]] = {}
        self._hooks: Hooks | None = None
        self._on = False

    def before_fit(self, learn: Learner) -> None:
        chosen = {m: name for name, m in learn.model.named_modules() if self.filter(m)}
        if not chosen:
            raise ValueError("ActivationStats: the filter leaves no module to look at")
        names = {m: name or "(model)" for m, name in chosen.items()}
        self.names = list(names.values())
        self._seen = {name: [] for name in self.names}
        self._labels = {name: f"{name} {type(m).__name__}" for m, name in names.items()}
        self._hooks = Hooks(chosen, lambda hook, module, x, out: self._note(names[module], out))

    def before_batch(self, learn: Learner) -> None:
        self._on = learn.training

    def cleanup_batch(self, learn: Learner) -> None:
        self._on = False

    def cleanup_fit(self, learn: Learner) -> None:
        self._on = False
        if self._hooks is not None:
            self._hooks.remove()
            self._hooks = None

    @torch.no_grad()
    def _note(self, name: str, output: Any) -> None:
        found = next((x for x in tensors_in(output) if x.is_floating_point()), None)
        if self._on and found is not None and found.numel():
            x = found.detach().float()
            size = torch.nan_to_num(x.abs(), nan=-1.0).clamp(max=TOP)  # below the first bin
            counts = torch.histc(size, BINS, 0, TOP)
            moments = torch.stack([x.mean(), x.std(correction=0), counts[0] / x.numel()])
            self._seen[name].append((moments, counts))

    @property
    def means(self) -> dict[str, list[float]]:
        return self._moments(0)

    @property
    def stds(self) -> dict[str, list[float]]:
        return self._moments(1)

    @property
    def dead(self) -> dict[str, list[float]]:
        return self._moments(2)

    @property
    def hists(self) -> dict[str, list[Tensor]]:
        return {n: [counts.cpu() for _, counts in seen] for n, seen in self._seen.items()}

    def _moments(self, index: int) -> dict[str, list[float]]:
        return {
            name: torch.stack([moments[index] for moments, _ in seen]).tolist() if seen else []
            for name, seen in self._seen.items()
        }

    # --- pictures: each returns a matplotlib Figure ---------------------------------------------

    def plot_stats(self) -> Any:
        """Means and deviations of all layers along the batches."""
        self._check_seen()
        figure = plots.new_figure(11, 4.2)
        panels = figure.subplots(1, 2)
        for axes, title, values in zip(
            panels, ("Mean of outputs", "Standard deviation"), (self.means, self.stds), strict=True
        ):
            for number, (name, row) in enumerate(values.items()):
                axes.plot(range(len(row)), row, label=self._labels[name], **_line(number))
            axes.set(xlabel="training batch", ylabel="output")
            axes.set_title(title, fontsize=10)
            axes.grid(alpha=0.25)
        handles, labels = panels[0].get_legend_handles_labels()
        fitting = max(1, 120 // (8 + max(map(len, labels))))
        figure.legend(handles, labels, loc="outside lower center", ncols=fitting, frameon=False)
        return figure

    def color_dim(self) -> Any:
        """Each layer's histograms as a picture: batches to the right, |output| upwards."""
        figure, panels = self._grid()
        hists, image = self.hists, None
        for axes, name in zip(panels, self.names, strict=True):
            if columns := hists[name]:
                picture = torch.stack(columns, 1)
                shares = picture / picture.sum(0).clamp(min=1)  # layers of all sizes compare
                image = axes.imshow(
                    torch.log1p(1000 * shares).numpy(),
                    origin="lower",
                    aspect="auto",
                    extent=(0, len(columns), 0, TOP),
                    vmin=0,
                    vmax=math.log1p(1000),
                )
            axes.set_title(self._labels[name], fontsize=9)
        self._name_axes(figure, panels, "How large outputs are", "|output|")
        if image is not None:
            bar = figure.colorbar(image, ax=panels, shrink=0.8)
            ticks = [0, 0.01, 0.1, 1]
            bar.set_ticks([math.log1p(1000 * t) for t in ticks], labels=[f"{t:g}" for t in ticks])
            bar.set_label("share of a batch", fontsize=9)
        return figure

    def dead_chart(self) -> Any:
        """The share of near-zero outputs of each layer along the batches."""
        figure, panels = self._grid()
        for axes, (name, row) in zip(panels, self.dead.items(), strict=True):
            axes.plot(range(len(row)), [100 * share for share in row], color=plots.COLOURS[0])
            axes.set_ylim(0, 100)
            axes.set_title(self._labels[name], fontsize=9)
            axes.grid(alpha=0.25)
        below = f"|output| < {TOP / BINS:g}"
        self._name_axes(figure, panels, f"Share of outputs near zero: {below}", "share, %")
        return figure

    def _grid(self) -> tuple[Any, list[Any]]:
        self._check_seen()
        columns = min(len(self.names), 4)
        rows = math.ceil(len(self.names) / columns)
        figure = plots.new_figure(1.2 + 2.7 * columns, 1.1 + 1.9 * rows)
        panels = list(figure.subplots(rows, columns, squeeze=False).flat)
        for spare in panels[len(self.names) :]:
            spare.remove()
        return figure, panels[: len(self.names)]

    def _name_axes(self, figure: Any, panels: list[Any], title: str, ylabel: str) -> None:
        figure.suptitle(title, fontsize=11)
        for axes in panels:
            axes.tick_params(labelsize=8)
        figure.supxlabel("training batch", fontsize=10)
        figure.supylabel(ylabel, fontsize=10)

    def _check_seen(self) -> None:
        if not any(self._seen.values()):
            raise RuntimeError("ActivationStats: there is nothing to draw before a training batch")


def _is_leaf(module: nn.Module) -> bool:
    return not any(module.children())


def _line(number: int) -> dict[str, Any]:
    """How the number-th of many lines looks: colours first, then dashes."""
    count = len(plots.COLOURS)
    return {
        "color": plots.COLOURS[number % count],
        "linestyle": ("-", "--", ":", "-.")[number // count % 4],
        "linewidth": 1.3,
    }
