"""steppers: PyTorch optimizers made of rules.

An optimizer is a list of plain functions, the maths as the paper writes it. The names below load
when they are first used, so that importing the package costs little beside importing torch.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from .chain import by_shape
from .optimizer import Optimizer

if TYPE_CHECKING:
    from . import groups as groups
    from . import lr_find as lr_find
    from . import ops as ops
    from . import rules as rules
    from . import schedules as schedules
    from . import styles as styles
    from . import train as train
    from .catalogue import (
        ASGD,
        LAMB,
        LARC,
        LARS,
        SGD,
        SGDW,
        AdaBelief,
        Adadelta,
        Adafactor,
        Adagrad,
        Adam,
        Adamax,
        AdamW,
        DecoupledAdamW,
        DecoupledSGDW,
        Lion,
        Muon,
        NAdam,
        Prodigy,
        QHAdam,
        RAdam,
        Ranger,
        RMSprop,
        Rprop,
        SAdam,
        ScheduleFreeAdamW,
        Sophia,
    )
    from .functional import Functional
    from .registry import create, get_class, list_optimizers, register

__version__ = version("steppers")

_MODULES = ("groups", "lr_find", "ops", "rules", "schedules", "styles", "train")
_ELSEWHERE = {
    "Functional": "functional",
    "create": "registry",
    "get_class": "registry",
    "list_optimizers": "registry",
    "register": "registry",
}

__all__ = [
    "ASGD",
    "LAMB",
    "LARC",
    "LARS",
    "SGD",
    "SGDW",
    "AdaBelief",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "DecoupledAdamW",
    "DecoupledSGDW",
    "Functional",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "Prodigy",
    "QHAdam",
    "RAdam",
    "RMSprop",
    "Ranger",
    "Rprop",
    "SAdam",
    "ScheduleFreeAdamW",
    "Sophia",
    "__version__",
    "by_shape",
    "create",
    "get_class",
    "groups",
    "list_optimizers",
    "lr_find",
    "ops",
    "register",
    "rules",
    "schedules",
    "styles",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _ELSEWHERE.get(name, "catalogue")
    return getattr(importlib.import_module(f".{home}", __name__), name)


def __dir__() -> list[str]:
    return __all__
