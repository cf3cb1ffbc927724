"""timm's form: groups by decay and by layer, optimizers by name, and its options of LAMB and LARS.

Import from here what was imported from `timm.optim`. `steppers.create` and `steppers.groups` are
the library's own form.
"""

from .factory import (
    create_optimizer,
    create_optimizer_v2,
    default_registry,
    get_optimizer_class,
    get_optimizer_info,
    list_optimizers,
    optimizer_kwargs,
    register_alias,
    register_optimizer,
)
from .layer_decay import param_groups_layer_decay, update_groups
from .lookahead import Lookahead
from .optimizers import SGDW, Lamb, Lars
from .registry import OptimInfo, OptimizerRegistry
from .weight_decay import param_groups_weight_decay

__all__ = [
    "SGDW",
    "Lamb",
    "Lars",
    "Lookahead",
    "OptimInfo",
    "OptimizerRegistry",
    "create_optimizer",
    "create_optimizer_v2",
    "default_registry",
    "get_optimizer_class",
    "get_optimizer_info",
    "list_optimizers",
    "optimizer_kwargs",
    "param_groups_layer_decay",
    "param_groups_weight_decay",
    "register_alias",
    "register_optimizer",
    "update_groups",
]
