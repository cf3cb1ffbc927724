"""What a checkpoint of training holds, and whether it fits before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .checkpoint import check_place, read, write

if TYPE_CHECKING:
    from .learner import Learner


FORMAT = "steppers.learner/1"


def save(learn: Learner, path: Path, with_opt: bool) -> None:
    """The body of `Learner.save`."""
    check_place(path)
    write(path, FORMAT, weights(learn, with_opt))


def load(learn: Learner, path: Path, with_opt: bool, strict: bool) -> None:
    """The body of `Learner.load`."""
    saved = read(path, FORMAT, {"model": dict})
    try:
        load_weights(learn, saved, with_opt, strict)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def weights(learn: Learner, with_opt: bool) -> dict[str, Any]:
    """The model's state and, if wanted, the optimizer's."""
    saved: dict[str, Any] = {"model": learn.model.state_dict()}
    if with_opt:
        saved["opt"] = learn.opt.state_dict()
        saved["optimizer"] = type(learn.opt).__name__
    return saved


def load_weights(learn: Learner, saved: Mapping[str, Any], with_opt: bool, strict: bool) -> None:
    """Load what `weights` gave; on any error model and optimizer are as before.

    Raises ValueError for another model's or another optimizer's state.
    """
    check = check_model if strict else check_shapes
    check(learn.model, saved["model"])
    if with_opt:
        check_optimizer(learn.opt, saved)
        before = learn.opt.state_dict()
        try:
            learn.opt.load_state_dict(saved["opt"])
        except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError):
            learn.opt.load_state_dict(before)
            raise
    learn.model.load_state_dict(saved["model"], strict=strict)


def check_model(model: nn.Module, saved: Mapping[str, Any]) -> None:
    """Raise ValueError, with the first difference, where a state has other names or shapes."""
    own, name = model.state_dict(), type(model).__name__
    if missing := [key for key in own if key not in saved]:
        raise ValueError(f"the checkpoint is of another model: {name} has {some(missing)} besides")
    if extra := [key for key in saved if key not in own]:
        raise ValueError(f"the checkpoint is of another model: {name} has no {some(extra)}")
    check_shapes(model, saved)


def check_shapes(model: nn.Module, saved: Mapping[str, Any]) -> None:
    """Raise ValueError where a tensor of a name that the model has is of another shape."""
    name = type(model).__name__
    for key, value in model.state_dict().items():
        found = saved.get(key)
        if isinstance(value, Tensor) and found is not None and value.shape != found.shape:
            raise ValueError(
                f"the checkpoint is of another model: {key} is {tuple(found.shape)} there and "
                f"{tuple(value.shape)} in {name}"
            )


def check_optimizer(opt: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Raise ValueError where a state is of another class or other parameter groups."""
    name = type(opt).__name__
    if "opt" not in saved:
        raise ValueError("the file holds no optimizer: load it with with_opt=False")
    if saved.get("optimizer", name) != name:
        raise ValueError(f"the checkpoint is of {saved['optimizer']}, the optimizer is {name}")
    there = [len(group["params"]) for group in saved["opt"]["param_groups"]]
    here = [len(group["params"]) for group in opt.param_groups]
    if there != here:
        raise ValueError(f"{name}: the checkpoint has groups of {there} parameters, not {here}")


def some(names: Sequence[str]) -> str:
    """The first names of many."""
    shown = ", ".join(repr(name) for name in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown


def callback_states(learn: Learner) -> dict[str, Any]:
    """The state of each callback that has some, by its class and its number among that class."""
    states = {key: cb.state_dict() for key, cb in keyed(learn).items()}
    return {key: state for key, state in states.items() if state}


def keyed(learn: Learner) -> dict[str, Any]:
    """The callbacks that can keep state, by key."""
    counts: dict[str, int] = {}
    found: dict[str, Any] = {}
    for cb in learn.cbs:
        name = type(cb).__name__
        counts[name] = counts.get(name, -1) + 1
        if hasattr(cb, "state_dict") and hasattr(cb, "load_state_dict"):
            found[f"{name}.{counts[name]}"] = cb
    return found


def check_callbacks(learn: Learner, saved: Mapping[str, Any]) -> None:
    """Raise ValueError where a state has no callback to go to."""
    if missing := [key for key in saved if key not in keyed(learn)]:
        raise ValueError(
            f"the checkpoint has the state of {some(missing)}, and the fit has no such callback"
        )
