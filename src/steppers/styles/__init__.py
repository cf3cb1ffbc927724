"""Styles: optimizers that people already have, in the forms they were written in, run unchanged.

`lift` and `lift_all` turn such code into rules. Each system is a module or package here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .lifting import lift as lift
    from .lifting import lift_all as lift_all

__all__ = ["lift", "lift_all"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import lifting

    return getattr(lifting, name)
