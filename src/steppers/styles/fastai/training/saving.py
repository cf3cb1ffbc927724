"""A model and its optimizer in fastai's files: the weights alone, or {'model', 'opt'}."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch

from ....train.checkpoint import check_place, whole_file
from ....train.saving import check_model, check_shapes


def place(learn: Any, file: Any) -> Path:
    """Where a learner keeps a file of a name; a path from the root stands for itself."""
    if not isinstance(file, str | Path):
        raise TypeError(f"a file is wanted as a name or a path, got {file!r}")
    return Path(learn.path) / learn.model_dir / f"{file}.pth"


def save(learn: Any, file: Any, with_opt: bool) -> Path:
    """The body of `Learner.save`."""
    path = place(learn, file)
    check_place(path)
    saved: dict[str, Any] = learn.model.state_dict()
    if with_opt:
        own = getattr(learn.opt, "fastai_state_dict", learn.opt.state_dict)
        saved = {"model": saved, "opt": own()}
    with whole_file(path) as target:
        torch.save(saved, target)
    return path


def load(learn: Any, file: Any, with_opt: bool, device: Any, strict: bool) -> None:
    """The body of `Learner.load`."""
    path = place(learn, file)
    saved = read(path, device)
    weights, opt = parts(saved)
    (check_model if strict else check_shapes)(learn.model, weights)
    learn.model.load_state_dict(weights, strict=strict)
    if not with_opt:
        return
    if opt is None:
        warnings.warn(f"{path} holds no optimizer's state: the weights alone are loaded",
                      stacklevel=3)  # fmt: skip
        return
    load_optimizer(learn.opt, opt, path)


def load_optimizer(optimizer: Any, saved: dict[str, Any], path: Path) -> None:
    """Load a state; where it does not fit, that warns and the optimizer is as it was."""
    before = optimizer.state_dict()
    try:
        optimizer.load_state_dict(saved)
    except (AttributeError, LookupError, RuntimeError, TypeError, ValueError) as why:
        optimizer.load_state_dict(before)
        warnings.warn(
            f"the optimizer's state in {path} does not fit this {type(optimizer).__name__}, which "
            f"is as it was ({why})",
            stacklevel=4,
        )


def read(path: Path, device: Any) -> dict[str, Any]:
    """What a file holds, its tensors on a device, the CPU unless given."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    try:
        saved = torch.load(path, map_location=device or "cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in many ways (see train.checkpoint.read)
        raise ValueError(f"{path} is damaged, or holds more than weights ({error})") from error
    if not isinstance(saved, Mapping):
        raise ValueError(f"{path} holds no weights, but a {type(saved).__name__}")
    return cast("dict[str, Any]", saved)


def parts(saved: dict[str, Any]) -> tuple[Any, dict[str, Any] | None]:
    """The weights and, if there is one, the optimizer's state."""
    nested = isinstance(saved.get("model"), Mapping)
    return (saved["model"], saved.get("opt")) if nested else (saved, None)
