"""An optimizer around another: it shows the other's own groups and state."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from ..groups import replace_params


class Around(torch.optim.Optimizer):
    """A torch optimizer that hands everything to another one, of any kind, in `opt`.

    Groups, state and defaults are the inner optimizer's own, so schedulers that drive either drive
    both. Step hooks may stand on both; those of state dicts are put on the inner one. What this
    object lacks is looked up there.
    """

    def __init__(self, opt: torch.optim.Optimizer) -> None:
        if not isinstance(cast("object", opt), torch.optim.Optimizer):
            raise TypeError(f"{type(self).__name__}: wants an optimizer, got {opt!r}")
        super().__setstate__({"opt": opt})  # torch's own set-up, without groups of its own

    def __getattr__(self, name: str) -> Any:
        # torch's tools find out by private names what an optimizer can; that is the inner one's
        if name.startswith("_") or name == "opt":
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        return getattr(self.opt, name)

    def __repr__(self) -> str:
        return f"{type(self).__name__} around {self.opt!r}"

    def __getstate__(self) -> dict[str, Any]:
        torchs = ("_optimizer_", "_zero_grad_profile", "_warned_capturable", "_opt_called", "step")
        return {n: v for n, v in vars(self).items() if not n.startswith(torchs)}

    # torch declares attributes where these are properties, so that there is one truth
    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """The inner optimizer's groups."""
        return self.opt.param_groups

    @param_groups.setter
    def param_groups(  # pyright: ignore[reportIncompatibleVariableOverride]  # see above
        self, groups: list[dict[str, Any]]
    ) -> None:
        self.opt.param_groups = groups

    @property
    def state(self) -> Any:
        """The inner optimizer's state."""
        return self.opt.state

    @state.setter
    def state(  # pyright: ignore[reportIncompatibleVariableOverride]  # see above
        self, state: Any
    ) -> None:
        self.opt.state = state

    @property
    def defaults(self) -> dict[str, Any]:
        """The inner optimizer's defaults."""
        return self.opt.defaults

    @defaults.setter
    def defaults(self, defaults: dict[str, Any]) -> None:
        self.opt.defaults = defaults

    @property
    def param_lists(self) -> list[list[Tensor]]:
        """The parameters of each group, in the groups' own lists."""
        return [group["params"] for group in self.param_groups]

    @param_lists.setter
    def param_lists(self, lists: Iterable[Iterable[Tensor]]) -> None:
        inner: Any = self.opt
        if hasattr(inner, "param_lists"):
            inner.param_lists = lists
        else:
            replace_params(self.opt, lists)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Step the inner optimizer; returns the closure's loss."""
        return self.opt.step() if closure is None else self.opt.step(closure)

    def zero_grad(self, *args: Any, **options: Any) -> None:
        """The inner optimizer's."""
        self.opt.zero_grad(*args, **options)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group to the inner optimizer."""
        self.opt.add_param_group(param_group)

    def state_dict(self) -> dict[str, Any]:
        """The inner optimizer's state dict."""
        return self.opt.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave."""
        self.opt.load_state_dict(state_dict)

    def register_state_dict_pre_hook(self, *args: Any, **options: Any) -> RemovableHandle:
        """Put a hook on the inner optimizer."""
        return self.opt.register_state_dict_pre_hook(*args, **options)

    def register_state_dict_post_hook(self, *args: Any, **options: Any) -> RemovableHandle:
        """Put a hook on the inner optimizer."""
        return self.opt.register_state_dict_post_hook(*args, **options)

    def register_load_state_dict_pre_hook(self, *args: Any, **options: Any) -> RemovableHandle:
        """Put a hook on the inner optimizer."""
        return self.opt.register_load_state_dict_pre_hook(*args, **options)

    def register_load_state_dict_post_hook(self, *args: Any, **options: Any) -> RemovableHandle:
        """Put a hook on the inner optimizer."""
        return self.opt.register_load_state_dict_post_hook(*args, **options)


def clear_state(opt: torch.optim.Optimizer) -> None:
    """Drop an optimizer's state: by its own `clear_state` where it has one, which keeps flags."""
    own = cast("Callable[[], None] | None", getattr(opt, "clear_state", None))
    if own is not None:
        own()
    else:
        opt.state.clear()
