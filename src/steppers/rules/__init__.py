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
from .belief import belief, guarded, largest_belief
from .debias import adam_early_eps, rectification, rectified, rectified_or_still
from .directions import (
    adadelta,
    adagrad,
    adam,
    adam_softplus,
    adamax,
    nadam,
    quasi_hyperbolic,
    radam,
    rms_scaled,
)
from .eps_inside import adam_eps_inside, mean_square_from_first
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
from .layerwise import (
    cap_at_lr,
    cap_at_one,
    decayed_direction,
    lars_ratio,
    scaled_direction,
    scaled_gradient,
    trust_ratio,
)
from .matrices import match_rms, orthogonal, spectral_scale
from .modifiers import cautious, ema, lookahead, lookahead_late, use_average
from .parameters import decay, decay_absolute, descend
from .schedule_decay import decay_by_schedule, decay_corrected
from .warmups import descend_at, noam_rate, warmup_cosine_rate, warmup_rate

__all__ = [
    "accumulate",
    "adadelta",
    "adagrad",
    "adam",
    "adam_early_eps",
    "adam_eps_inside",
    "adam_softplus",
    "adamax",
    "average_grad",
    "average_momentum",
    "average_square",
    "belief",
    "cap_at_lr",
    "cap_at_one",
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
    "decay_by_schedule",
    "decay_corrected",
    "decayed_direction",
    "descend",
    "descend_at",
    "ema",
    "guarded",
    "heavy_ball",
    "l2",
    "largest_belief",
    "largest_square",
    "lars_ratio",
    "lookahead",
    "lookahead_late",
    "match_rms",
    "maximise",
    "mean_square",
    "mean_square_from_first",
    "nadam",
    "nesterov",
    "nesterov_average",
    "noam_rate",
    "orthogonal",
    "quasi_hyperbolic",
    "radam",
    "rectification",
    "rectified",
    "rectified_or_still",
    "rms_scaled",
    "scaled_direction",
    "scaled_gradient",
    "spectral_scale",
    "sum_square",
    "trust_ratio",
    "use_average",
    "warmup_cosine_rate",
    "warmup_rate",
]
