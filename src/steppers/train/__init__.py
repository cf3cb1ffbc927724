"""The Learner, its callbacks, data and metrics; experiments are in `steppers.train.experiments`.

The names below load when they are first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .callbacks.accumulation import GradientAccumulation as GradientAccumulation
    from .callbacks.activations import ActivationStats as ActivationStats
    from .callbacks.activations import Hook as Hook
    from .callbacks.activations import Hooks as Hooks
    from .callbacks.batch_transform import BatchTransform as BatchTransform
    from .callbacks.batch_transform import TransformInputs as TransformInputs
    from .callbacks.checkpoint import Checkpoint as Checkpoint
    from .callbacks.clipping import ClipGradients as ClipGradients
    from .callbacks.compiled import Compile as Compile
    from .callbacks.csv_logger import CSVLogger as CSVLogger
    from .callbacks.device import Device as Device
    from .callbacks.early_stopping import EarlyStopping as EarlyStopping
    from .callbacks.ema import EMA as EMA
    from .callbacks.experiment_logger import ExperimentLogger as ExperimentLogger
    from .callbacks.jsonl_logger import JSONLLogger as JSONLLogger
    from .callbacks.metrics import Metrics as Metrics
    from .callbacks.mixup import MixUp as MixUp
    from .callbacks.operations import Operations as Operations
    from .callbacks.precision import MixedPrecision as MixedPrecision
    from .callbacks.progress import Progress as Progress
    from .callbacks.recorder import Recorder as Recorder
    from .callbacks.reduce_on_plateau import ReduceLROnPlateau as ReduceLROnPlateau
    from .callbacks.save_best import SaveBest as SaveBest
    from .callbacks.schedule import BatchSched as BatchSched
    from .callbacks.schedule import EpochSched as EpochSched
    from .callbacks.schedule import ParamScheduler as ParamScheduler
    from .callbacks.single_batch import SingleBatch as SingleBatch
    from .callbacks.tensorboard import TensorBoardLogger as TensorBoardLogger
    from .callbacks.terminate_on_nan import TerminateOnNaN as TerminateOnNaN
    from .callbacks.updates import UpdateStats as UpdateStats
    from .data import DataLoaders as DataLoaders
    from .data import from_dd as from_dd
    from .data import load_data as load_data
    from .events import Callback as Callback
    from .events import Cancel as Cancel
    from .events import CancelBackward as CancelBackward
    from .events import CancelBatch as CancelBatch
    from .events import CancelEpoch as CancelEpoch
    from .events import CancelFit as CancelFit
    from .events import CancelStep as CancelStep
    from .events import CancelTrain as CancelTrain
    from .events import CancelValid as CancelValid
    from .init import GeneralRelu as GeneralRelu
    from .init import init_weights as init_weights
    from .init import lsuv_init as lsuv_init
    from .init import set_seed as set_seed
    from .learner import Learner as Learner
    from .losses import LabelSmoothing as LabelSmoothing
    from .metrics import accuracy as accuracy
    from .metrics import bits_per_byte as bits_per_byte
    from .metrics import error_rate as error_rate
    from .metrics import mae as mae
    from .metrics import mse as mse
    from .metrics import perplexity as perplexity
    from .metrics import rmse as rmse
    from .metrics import top_k_accuracy as top_k_accuracy

_HOMES = {
    "callbacks.accumulation": "GradientAccumulation",
    "callbacks.activations": "ActivationStats Hook Hooks",
    "callbacks.batch_transform": "BatchTransform TransformInputs",
    "callbacks.checkpoint": "Checkpoint",
    "callbacks.clipping": "ClipGradients",
    "callbacks.compiled": "Compile",
    "callbacks.csv_logger": "CSVLogger",
    "callbacks.device": "Device",
    "callbacks.early_stopping": "EarlyStopping",
    "callbacks.ema": "EMA",
    "callbacks.experiment_logger": "ExperimentLogger",
    "callbacks.jsonl_logger": "JSONLLogger",
    "callbacks.metrics": "Metrics",
    "callbacks.mixup": "MixUp",
    "callbacks.operations": "Operations",
    "callbacks.precision": "MixedPrecision",
    "callbacks.progress": "Progress",
    "callbacks.recorder": "Recorder",
    "callbacks.reduce_on_plateau": "ReduceLROnPlateau",
    "callbacks.save_best": "SaveBest",
    "callbacks.schedule": "BatchSched EpochSched ParamScheduler",
    "callbacks.single_batch": "SingleBatch",
    "callbacks.tensorboard": "TensorBoardLogger",
    "callbacks.terminate_on_nan": "TerminateOnNaN",
    "callbacks.updates": "UpdateStats",
    "data": "DataLoaders from_dd load_data",
    "events": "Callback Cancel CancelBackward CancelBatch CancelEpoch CancelFit CancelStep "
    "CancelTrain CancelValid",
    "init": "GeneralRelu init_weights lsuv_init set_seed",
    "learner": "Learner",
    "losses": "LabelSmoothing",
    "metrics": "accuracy bits_per_byte error_rate mae mse perplexity rmse top_k_accuracy",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    *sorted(_HOME),
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
