"""labml.ai's form: a template with `init_state` and `step_param`, and a decay object.

Import from here what was imported from `labml_nn.optimizers` and its modules.
"""

from .ada_belief import AdaBelief
from .adam import Adam
from .adam_fp16 import AdamFP16, GradScalerFP16
from .adam_warmup import AdamWarmup
from .adam_warmup_cosine_decay import AdamWarmupCosineDecay
from .amsgrad import AMSGrad
from .configs import OptimizerConfigs
from .interleaved import Interleaved
from .noam import Noam
from .radam import RAdam
from .sophia import Sophia
from .template import GenericAdaptiveOptimizer
from .weight_decay import Decay, L1Decay, WeightDecay

__all__ = [
    "AMSGrad",
    "AdaBelief",
    "Adam",
    "AdamFP16",
    "AdamWarmup",
    "AdamWarmupCosineDecay",
    "Decay",
    "GenericAdaptiveOptimizer",
    "GradScalerFP16",
    "Interleaved",
    "L1Decay",
    "Noam",
    "OptimizerConfigs",
    "RAdam",
    "Sophia",
    "WeightDecay",
]
