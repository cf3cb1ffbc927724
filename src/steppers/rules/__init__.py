"""Rules: plain pure functions, the maths as the papers write it. Compose them as you like.

Steps that choose between two of them by a parameter's shape stand beside them.
"""

from .averages import (
    accumulate,
    average_grad,
    average_momentum,
    average_square,
    centred,
    heavy_ball,
    largest_square,
    mean_square,
    nesterov,
    nesterov_average,
    sum_square,
)
from .directions import adadelta, adagrad, adam, adamax, nadam, radam, rms_scaled
from .gradients import (
    centralise,
    centralise_matrices,
    clip_adaptively,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
    clip_tensor_adaptively,
    clip_units_adaptively,
    l2,
    maximise,
)
from .layerwise import decayed_direction, trust_ratio
from .matrices import match_rms, orthogonal, spectral_scale
from .modifiers import cautious, ema, lookahead, use_average
from .parameters import decay, decay_absolute, descend

__all__ = [
    "accumulate",
    "adadelta",
    "adagrad",
    "adam",
    "adamax",
    "average_grad",
    "average_momentum",
    "average_square",
    "cautious",
    "centralise",
    "centralise_matrices",
    "centred",
    "clip_adaptively",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "clip_tensor_adaptively",
    "clip_units_adaptively",
    "decay",
    "decay_absolute",
    "decayed_direction",
    "descend",
    "ema",
    "heavy_ball",
    "l2",
    "largest_square",
    "lookahead",
    "match_rms",
    "maximise",
    "mean_square",
    "nadam",
    "nesterov",
    "nesterov_average",
    "orthogonal",
    "radam",
    "rms_scaled",
    "spectral_scale",
    "sum_square",
    "trust_ratio",
    "use_average",
]
