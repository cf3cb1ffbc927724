"""Parameter groups, as torch's optimizers and ours take them, made from a model.

Every function takes a module, or (name, parameter) pairs such as `model.named_parameters()`. The
builders return a list of new dicts `{"params": [...], **hypers}`, never an empty one, and have two
switches: `named=True` adds "param_names", `frozen=True` keeps the parameters whose requires_grad
is False, which are left out by default. A shared parameter appears once, under its first name, and
any of its names can select it. Wrong kinds raise TypeError, wrong values ValueError, and so does a
model without a trainable parameter.
"""

from ..spread import spread
from .builders import (
    by_ndim,
    by_parameter,
    by_pattern,
    discriminative,
    layer_decay,
    no_decay,
)
from .counting import count_together
from .depths import depths
from .frozen import skip_frozen
from .roles import biases, norms
from .table import describe

__all__ = [
    "biases",
    "by_ndim",
    "by_parameter",
    "by_pattern",
    "count_together",
    "depths",
    "describe",
    "discriminative",
    "layer_decay",
    "no_decay",
    "norms",
    "skip_frozen",
    "spread",
]
