"""How far each step moves each parameter, beside its size and its gradient's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from .. import plots
from ..events import Callback

if TYPE_CHECKING:
    from ..learner import Learner


class UpdateStats(Callback):
    """Note, every so many steps, each parameter's gradient norm, norm, and the step's share of it.

    The ratio is |p after - p before| / |p before|, Euclidean norms; about 1e-3 is common where
    training goes well. It is NaN for a parameter of zeros. Gradients are those that the optimizer
    gets: accumulated, unscaled and clipped. Parameters without a gradient are NaN in all but their
    norm. A noted step costs one copy of the parameters.

    `names` are the parameters', `batches` the training batches noted, from 0; `grad_norms`,
    `weight_norms` and `ratios` tensors [batches, parameters] of float32 on the CPU. They
    begin anew with each fit.

    Raises ValueError for an `every` below 1, TypeError for one that is no whole number.
    """

    order = 40  # after clipping
    observes = True

    def __init__(self, every: int = 10) -> None:
        if not isinstance(cast("object", every), int) or isinstance(every, bool):
            raise TypeError(f"UpdateStats: every must be a number of steps, got {every!r}")
        if every < 1:
            raise ValueError(f"UpdateStats: every must be >= 1, got {every}")
        self.every, self.steps = every, 0
        self.names: list[str] = []
        self.batches: list[int] = []
        self._rows: list[Tensor] = []  # [3, parameters] each
        self._params: list[Tensor] = []
        self._copies: list[Tensor] | None = None
        self._grads = torch.empty(0)

    def before_fit(self, learn: Learner) -> None:
        named = {name: p for name, p in learn.model.named_parameters() if p.requires_grad}
        self.names, self._params = list(named), list(named.values())
        self.batches, self._rows, self._copies, self.steps = [], [], None, 0

    @torch.no_grad()
    def before_step(self, learn: Learner) -> None:
        if self.steps % self.every == 0:
            self._grads = _norms([p.grad for p in self._params])
            self._copies = [p.detach().clone() for p in self._params]
        self.steps += 1

    def after_cancel_step(self, learn: Learner) -> None:
        self._copies = None

    @torch.no_grad()
    def after_step(self, learn: Learner) -> None:
        if self._copies is not None:
            weights = _norms(self._copies)
            pairs = zip(self._params, self._copies, strict=True)
            moved = _norms([p - copy if p.grad is not None else None for p, copy in pairs])
            ratios = torch.where(weights > 0, moved / weights, math.nan)
            self._rows.append(torch.stack([self._grads, weights, ratios]))
            self.batches.append(learn.train_iter)
            self._copies = None

    def cleanup_fit(self, learn: Learner) -> None:
        self._copies = None

    @property
    def grad_norms(self) -> Tensor:
        return self._table(0)

    @property
    def weight_norms(self) -> Tensor:
        return self._table(1)

    @property
    def ratios(self) -> Tensor:
        return self._table(2)

    def _table(self, index: int) -> Tensor:
        if not self._rows:
            return torch.empty(0, len(self.names))
        return torch.stack([row[index].cpu() for row in self._rows])

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "batches": list(self.batches), "rows": list(self._rows)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state, in a fit that has begun."""
        self.steps, self.batches = state["steps"], list(state["batches"])
        self._rows = list(state["rows"])

    def plot(self) -> Any:
        """The ratios as a matplotlib Figure: a row a parameter, noted batches to the right."""
        if not self._rows:
            raise RuntimeError("UpdateStats: there is nothing to draw before a step")
        figure = plots.new_figure(9, 1.6 + 0.24 * len(self.names))
        axes = figure.subplots()
        values = torch.log10(self.ratios.t())
        values[~values.isfinite()] = math.nan
        image = axes.imshow(
            values.numpy(), aspect="auto", cmap="RdBu_r", vmin=-5, vmax=-1, interpolation="nearest"
        )
        axes.set_facecolor("0.7")
        axes.set_yticks(range(len(self.names)), labels=self.names, fontsize=8)
        shown = range(0, len(self.batches), max(1, len(self.batches) // 8))
        axes.set_xticks(list(shown), labels=[str(self.batches[i]) for i in shown])
        axes.set_xlabel("training batch")
        axes.set_title("Size of a step relative to the parameter (grey: none)", fontsize=10)
        bar = figure.colorbar(image, extend="both")
        bar.set_ticks(range(-5, 0), labels=[f"1e{power}" for power in range(-5, 0)])
        return figure


def _norms(tensors: Sequence[Tensor | None]) -> Tensor:
    """The Euclidean norm of each, in float32; NaN for None."""
    device = next((x.device for x in tensors if x is not None), None)
    return torch.stack([_norm(x).to(device) for x in tensors])


def _norm(x: Tensor | None) -> Tensor:
    if x is None:
        return torch.tensor(math.nan)
    values = x.detach().coalesce().values() if x.is_sparse else x.detach()
    wide = values.to(torch.promote_types(x.dtype, torch.float32))
    return torch.linalg.vector_norm(wide).float()
