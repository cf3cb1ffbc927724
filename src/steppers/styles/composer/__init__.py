"""Composer's form: decay by the schedule, its functional forms, and norms by parameter.

Import from here what was imported from `composer.optim`.
"""

from .functional import adamw, sgdw
from .metrics import dist_reduce_metrics, per_parameter_metrics, pre_reduce_metrics
from .optimizers import DecoupledAdamW, DecoupledSGDW

__all__ = [
    "DecoupledAdamW",
    "DecoupledSGDW",
    "adamw",
    "dist_reduce_metrics",
    "per_parameter_metrics",
    "pre_reduce_metrics",
    "sgdw",
]
