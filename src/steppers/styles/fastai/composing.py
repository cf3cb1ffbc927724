"""Functions of a parameter as one: each gets what the one before returned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from .defaults import changes_gradient, gathered, name_of, read_by


class Composed:
    """The drafts' steppers as one callback; what the first names as default wins.

    >>> from .callbacks import l2_reg, sgd_step
    >>> Composed([l2_reg, sgd_step]).defaults
    {'wd': 0.0}
    """

    def __init__(self, steppers: Sequence[Callable[..., Any]]) -> None:
        self.steppers = list(steppers)
        self.defaults = gathered(self.steppers, first_wins=True)
        self.on_gradient = any(changes_gradient(stepper) for stepper in self.steppers)

    def __call__(self, p: Tensor, **values: Any) -> None:
        compose(self.steppers, p, values)

    @property
    def reads(self) -> set[str] | None:
        """The names that the steppers read; None where that cannot be told."""
        return read_by(self.steppers)


def compose(steppers: Iterable[Callable[..., Any]], p: Tensor, values: Mapping[str, Any]) -> Tensor:
    """Call steppers from left to right; TypeError for one that returns no tensor."""
    for stepper in steppers:
        found = stepper(p, **values)
        if not isinstance(found, Tensor):
            raise TypeError(
                f"{name_of(stepper)} returned {found!r}; a stepper of the first drafts returns p. "
                "Callbacks that need not are given as cbs"
            )
        p = found
    return p
