"""What the parts of the shell ask of the optimizer they are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ..engines import Choice
from .recipe import Key, Recipe


class Shell(Protocol):
    """The side of an optimizer that checkpoints, views and explanations read."""

    param_groups: list[dict[str, Any]]
    state: Any

    def reading(self, group: dict[str, Any]) -> tuple[Recipe, Key, Choice]:
        """The recipe that a group runs, its choice of options, and its engine."""
        ...

    def recipe_of(self, group: Mapping[str, Any]) -> Recipe:
        """What the group's chain was made from."""
        ...

    def recipe_and_key(self, group: dict[str, Any]) -> tuple[Recipe, Key]:
        """The recipe that a group runs and its choice of options."""
        ...

    def choice_of(self, group: dict[str, Any]) -> Choice:
        """The engine that runs a group, and why."""
        ...

    def register_load_state_dict_pre_hook(self, hook: Callable[..., Any]) -> Any:
        """torch's."""
        ...

    def register_load_state_dict_post_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> Any:
        """torch's."""
        ...
