"""fastai's optimizers: callbacks on a parameter, its state and its group's hypers.

`Optimizer` and the ready-made ones are those of fastai 2.8; `draft` has the first drafts' forms.
"""

from .callbacks import (
    adam_step,
    average_grad,
    average_sqr_grad,
    debias,
    l2_reg,
    lamb_step,
    larc_layer_lr,
    larc_step,
    momentum_step,
    qhadam_step,
    radam_step,
    rms_prop_step,
    sgd_step,
    step_stat,
    weight_decay,
)
from .draft import StatefulOptimizer
from .flags import mark
from .lookahead import Lookahead
from .optimizer import Optimizer
from .ready import SGD, Adam, Lamb, Larc, QHAdam, RAdam, RMSProp, ranger
from .wrapping import OptimWrapper, detuplify_pg, set_item_pg

__all__ = [
    "SGD",
    "Adam",
    "Lamb",
    "Larc",
    "Lookahead",
    "OptimWrapper",
    "Optimizer",
    "QHAdam",
    "RAdam",
    "RMSProp",
    "StatefulOptimizer",
    "adam_step",
    "average_grad",
    "average_sqr_grad",
    "debias",
    "detuplify_pg",
    "l2_reg",
    "lamb_step",
    "larc_layer_lr",
    "larc_step",
    "mark",
    "momentum_step",
    "qhadam_step",
    "radam_step",
    "ranger",
    "rms_prop_step",
    "set_item_pg",
    "sgd_step",
    "step_stat",
    "weight_decay",
]
