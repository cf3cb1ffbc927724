"""Flags in a parameter's state: trained though its group is frozen, left out of decay."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from torch import Tensor, nn

FLAGS = ("force_train", "do_wd")  # they stay when state is cleared
NORM_TYPES: tuple[type[nn.Module], ...] = (
    nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d,
    nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.LayerNorm,
)  # fmt: skip


def flags_of(state: Mapping[Any, Any], p: Tensor) -> dict[str, Any]:
    """The flags in a parameter's state."""
    held = state.get(p) or {}
    return {name: held[name] for name in FLAGS if name in held}


def clear(state: MutableMapping[Any, Any], lists: Sequence[Sequence[Tensor]]) -> None:
    """Drop what state holds but the flags."""
    kept = {p: flags for params in lists for p in params if (flags := flags_of(state, p))}
    state.clear()
    state.update(kept)


def mark(
    optimizer: Any,
    model: nn.Module,
    wd_bn_bias: bool = False,
    train_bn: bool = True,
    norm_types: tuple[type[nn.Module], ...] = NORM_TYPES,
) -> None:
    """Flag a model's norms and biases as fastai's Learner does when it makes an optimizer.

    Unless `wd_bn_bias`, the parameters of norms and every module's `bias` do not decay; with
    `train_bn`, norms are trained in frozen groups too. `norm_types` are fastai's: batch, instance
    and layer norms. Raises TypeError for an optimizer that does not read the flags.

    >>> import torch
    >>> from .ready import SGD
    >>> model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    >>> optimizer = SGD(model.parameters(), lr=0.1)
    >>> mark(optimizer, model)
    >>> optimizer.state[model[0].bias], optimizer.state[model[1].weight]
    ({'do_wd': False}, {'do_wd': False, 'force_train': True})
    """
    if not hasattr(optimizer, "all_params"):
        kind = type(optimizer).__name__
        raise TypeError(f"mark: {kind} does not read flags; wrap it: OptimWrapper(opt=optimizer)")
    modules = list(model.modules())
    norms = {p for m in modules if isinstance(m, norm_types) for p in m.parameters()}
    biases = {b for m in modules if isinstance(b := getattr(m, "bias", None), nn.Parameter)}
    for p in [p for params in optimizer.param_lists for p in params]:
        if not wd_bn_bias and p in norms | biases:
            optimizer.state[p]["do_wd"] = False
        if train_bn and p in norms:
            optimizer.state[p]["force_train"] = True
