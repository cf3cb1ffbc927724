"""Freezing by layer groups, and the flags that a parameter's state carries."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from torch import Tensor, nn

from ... import groups

FLAGS = ("force_train", "do_wd")  # they stay when state is cleared


def freeze_to(
    owner: str, lists: Sequence[Sequence[Tensor]], state: Mapping[Any, Any], n: int
) -> int:
    """Train groups [n:] and, of those before, the parameters with the flag force_train.

    A parameter that is not trained loses its gradient, which would move it otherwise. Returns n
    from 0 on. Raises ValueError for an n beyond the groups.
    """
    count = len(lists)
    if not -count <= n <= count:
        raise ValueError(f"{owner}: freeze_to got {n}, but there are {count} groups")
    first = n if n >= 0 else count + n
    if first == count:
        warnings.warn(f"{owner}: every group is frozen; pass a smaller n", stacklevel=3)
    for i, params in enumerate(lists):
        for p in params:
            p.requires_grad_(i >= first or flags_of(state, p).get("force_train", False))
            if not p.requires_grad:
                p.grad = None
    return first


def flags_of(state: Mapping[Any, Any], p: Tensor) -> dict[str, Any]:
    """The flags in a parameter's state."""
    held = state.get(p) or {}
    return {name: held[name] for name in FLAGS if name in held}


def clear(state: MutableMapping[Any, Any], lists: Sequence[Sequence[Tensor]]) -> None:
    """Drop what state holds but the flags."""
    kept = {p: flags for params in lists for p in params if (flags := flags_of(state, p))}
    state.clear()
    state.update(kept)


def mark(optimizer: Any, model: nn.Module, wd_bn_bias: bool = False, train_bn: bool = True) -> None:
    """Flag a model's norms and biases as fastai's Learner does when it makes an optimizer.

    Unless `wd_bn_bias`, norms and biases do not decay; with `train_bn`, norms are trained in frozen
    groups too.

    >>> import torch
    >>> from .ready import SGD
    >>> model = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    >>> optimizer = SGD(model.parameters(), lr=0.1)
    >>> mark(optimizer, model)
    >>> optimizer.state[model[0].bias], optimizer.state[model[1].weight]
    ({'do_wd': False}, {'do_wd': False, 'force_train': True})
    """
    norms, biases = set(groups.norms(model)), set(groups.biases(model))
    for p in [p for params in optimizer.param_lists for p in params]:
        if not wd_bn_bias and p in norms | biases:
            optimizer.state[p]["do_wd"] = False
        if train_bn and p in norms:
            optimizer.state[p]["force_train"] = True


def check_several(owner: str, lists: Sequence[Sequence[Tensor]]) -> None:
    """Raise ValueError where freezing all but the last group would train nothing else."""
    if len(lists) < 2:
        raise ValueError(f"{owner}: freeze needs 2 groups or more, there is {len(lists)}")
