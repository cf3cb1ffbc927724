"""Guards of what lies outside of a step: containers and objects that it must not change.

A rule keeps state in slots alone. What somebody's code keeps elsewhere, in a dict of the module or
in a list on an object, would be the same in every step of the lifted rule.
"""

from __future__ import annotations

import random
import sys
import types
from collections import deque
from typing import Any, NoReturn

import torch

from .recording import Recorder

CONTAINERS = (dict, list, set, deque)
_ATOMS = (str, bytes, int, float, complex, torch.Tensor, types.FunctionType, type)
_DEEPEST, _MOST = 4, 64


class Watch:
    """Notes what containers and objects hold, tells what was changed, and puts it back."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self._noted: dict[int, tuple[Any, str, Any]] = {}

    def add(self, x: Any, where: str, depth: int = 0) -> None:
        """Watch a container or an object, and what it holds."""
        if id(x) in self._noted or depth > _DEEPEST or x is None or isinstance(x, _ATOMS):
            return
        held = _contents(x)
        if held is None:
            return
        self._noted[id(x)] = (x, where, held)
        if isinstance(x, types.ModuleType):
            return
        values = [*held.values()] if isinstance(held, dict) else held
        for each in values[:_MOST]:
            self.add(each, where, depth + 1)

    def check(self) -> None:
        """Put everything back, and raise TypeError if there was anything to put back."""
        changed = self.put_back()
        if changed:
            self.recorder.refuse(
                f"changes {changed[0]}, which is outside of the step",
                "keep in the state what changes from step to step",
            )

    def put_back(self) -> list[str]:
        """Put everything back; what was changed, in words."""
        return [where for where in map(self._restored, [*self._noted.values()]) if where]

    def _restored(self, noted: tuple[Any, str, Any]) -> str:
        x, where, held = noted
        now = _contents(x)
        if _identical(now, held):
            return ""
        _put_back(x, held)
        what = "" if where.startswith(("a ", "the ")) else f", a {type(x).__name__}"
        return where + what


def _contents(x: Any) -> Any:
    """A copy of what a container or an object of somebody's class holds; None for others."""
    if isinstance(x, dict):
        return dict(x)
    if isinstance(x, list | set | deque | tuple):
        return [*x]
    is_module = isinstance(x, types.ModuleType)
    module = (x.__name__ if is_module else type(x).__module__).partition(".")[0]
    libraries = module in sys.stdlib_module_names or module in ("torch", "numpy", "steppers")
    if is_module:  # an installed one may load its parts late
        libraries = libraries or "site-packages" in str(getattr(x, "__file__", ""))
    somebodys = isinstance(x, types.SimpleNamespace) or not libraries
    return dict(vars(x)) if hasattr(x, "__dict__") and somebodys else None


def _identical(now: Any, held: Any) -> bool:
    if len(now) != len(held):
        return False
    if isinstance(now, dict):
        return all(a is b for pair in zip(now.items(), held.items(), strict=True)
                   for a, b in zip(*pair, strict=True))  # fmt: skip
    return all(a is b for a, b in zip(now, held, strict=True))


def _put_back(x: Any, held: Any) -> None:
    if isinstance(x, tuple):
        return
    target = x if isinstance(x, CONTAINERS) else vars(x)
    target.clear()
    target.extend(held) if isinstance(target, list | deque) else target.update(held)


# --- random numbers ----------------------------------------------------------------------------


def draws(x: Any) -> bool:
    """True for generators of random numbers, their modules and their functions."""
    if isinstance(x, types.ModuleType):
        return x.__name__ in ("random", "secrets", "numpy.random")
    owner = getattr(x, "__self__", None) if callable(x) else None
    return any(isinstance(each, random.Random) or _of_numpy(each) for each in (x, owner))


def _of_numpy(x: Any) -> bool:
    return type(x).__module__.startswith("numpy.random") and not isinstance(x, type)


class Draws:
    """What stands for a generator of random numbers: every draw is refused."""

    def __init__(self, of: Any, recorder: Recorder, name: str) -> None:
        self._of, self._recorder, self._name = of, recorder, name

    def __getattr__(self, name: str) -> Draws:
        if name.startswith("__"):
            raise AttributeError(name)
        return Draws(getattr(self._of, name), self._recorder, f"{self._name}.{name}")

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        self._recorder.refuse(
            f"draws random numbers by {self._name}",
            "write a rule with uniform(x), normal(x) or coin(x) of steppers.ops",
        )
