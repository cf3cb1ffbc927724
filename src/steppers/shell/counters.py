"""Step counters of a group: 0-dim float32 tensors that are views of one tensor.

`state[p]["step"]` is what every tool expects (torch's own name, dtype and shape); the common base
is read and advanced by one call for all parameters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import is_
from typing import Any

import torch
from torch import Tensor


class Counters:
    """The counters of one list of parameters; made anew when a view in a state is not its own."""

    def __init__(self, params: Sequence[Tensor], on_device: bool) -> None:
        device = params[0].device if on_device and params else torch.device("cpu")
        self.params = list(params)
        self.on_device = on_device
        self.base = torch.zeros(len(params), dtype=torch.float32, device=device)
        self.views = list(self.base.unbind())

    def fits(self, params: Sequence[Tensor], on_device: bool) -> bool:
        """True while the group still has these very parameters."""
        return (
            len(self.params) == len(params)
            and self.on_device == on_device
            and all(map(is_, self.params, params))
        )

    def gather(
        self,
        members: Sequence[int],
        states: Sequence[dict[str, Any]],
        slots: Iterable[str],
        live: bool,
    ) -> list[float]:
        """The counts of some parameters; their states get views of ours where they have others.

        If `live`, counts are left on the device, and zeros are returned.
        """
        for i, state in zip(members, states, strict=True):
            step = state.get("step")
            if step is self.views[i]:
                continue
            self.views[i].fill_(count_of(state, slots))
            state["step"] = self.views[i]
        counts = [0.0] * len(self.params) if live else self.base.tolist()
        return [counts[i] for i in members]

    def counts(self, members: Sequence[int]) -> list[float]:
        """The counts of some parameters, whose states are known to hold our views."""
        counts = self.base.tolist()
        return counts if len(members) == len(counts) else [counts[i] for i in members]

    def advance(self, members: Sequence[int], skipped: Any = False) -> None:
        """Add one step for these parameters, unless it was skipped."""
        if skipped is True:
            return
        if skipped is not False:
            self.base[list(members)] += 1 - skipped.to(self.base)
        elif len(members) == len(self.params):
            self.base += 1
        elif members:
            self.base[list(members)] += 1


def count_of(state: Mapping[str, Any], slots: Iterable[str]) -> float:
    """Steps that a state took; one that has slots but no step (torch's SGD) has taken one."""
    step = state.get("step")
    begun = step is None and any(slot in state for slot in slots)
    return float(1.0 if begun else step or 0.0)
