"""fastai's training: its callbacks, Learner, schedules and finder, on our loop.

Code written for fastai's Learner runs with its names imported from here. See
docs/systems/fastai_training.md.
"""

from .bridge import bridged
from .callback import Callback, before_batch_cb
from .counting import CastToTensor, SkipToEpoch, TrainEvalCallback
from .csv_logger import CSVLogger
from .events import (
    EVENTS,
    CancelBackwardException,
    CancelBatchException,
    CancelEpochException,
    CancelFitException,
    CancelStepException,
    CancelTrainException,
    CancelValidException,
)
from .finder import LRFinder, minimum, slide, steep, valley
from .gather import GatherPredsCallback
from .learner import Learner
from .metrics import AvgLoss, AvgMetric, AvgSmoothLoss, Metric, ValueMetric, mk_metric
from .progress import ProgressCallback, ShowGraphCallback
from .recorder import Recorder
from .schedule import (
    ParamScheduler,
    SchedCos,
    SchedExp,
    SchedLin,
    SchedNo,
    SchedPoly,
    annealer,
    combine_scheds,
    combined_cos,
)
from .synth import DataLoaders, RegModel, synth_dbunch, synth_learner
from .trackers import (
    EarlyStoppingCallback,
    ReduceLROnPlateau,
    SaveModelCallback,
    TerminateOnNaN,
    TerminateOnNaNCallback,
    TrackerCallback,
)

__all__ = [
    "EVENTS",
    "AvgLoss",
    "AvgMetric",
    "AvgSmoothLoss",
    "CSVLogger",
    "Callback",
    "CancelBackwardException",
    "CancelBatchException",
    "CancelEpochException",
    "CancelFitException",
    "CancelStepException",
    "CancelTrainException",
    "CancelValidException",
    "CastToTensor",
    "DataLoaders",
    "EarlyStoppingCallback",
    "GatherPredsCallback",
    "LRFinder",
    "Learner",
    "Metric",
    "ParamScheduler",
    "ProgressCallback",
    "Recorder",
    "ReduceLROnPlateau",
    "RegModel",
    "SaveModelCallback",
    "SchedCos",
    "SchedExp",
    "SchedLin",
    "SchedNo",
    "SchedPoly",
    "ShowGraphCallback",
    "SkipToEpoch",
    "TerminateOnNaN",
    "TerminateOnNaNCallback",
    "TrackerCallback",
    "TrainEvalCallback",
    "ValueMetric",
    "annealer",
    "before_batch_cb",
    "bridged",
    "combine_scheds",
    "combined_cos",
    "minimum",
    "mk_metric",
    "slide",
    "steep",
    "synth_dbunch",
    "synth_learner",
    "valley",
]
