"""The style of miniai (fast.ai's course 22, part 2): optimizers by methods, Learners, callbacks.

Code written in it runs with its names imported from here. See docs/systems/miniai.md.
"""

from typing import TYPE_CHECKING, Any

from ...train.events import Callback as Callback
from .activations import ActivationStats as ActivationStats
from .activations import Hook as Hook
from .activations import Hooks as Hooks
from .activations import HooksCallback as HooksCallback
from .activations import append_stats as append_stats
from .activations import get_hist as get_hist
from .activations import get_min as get_min
from .batches import BatchTransformCB as BatchTransformCB
from .batches import DeviceCB as DeviceCB
from .batches import SingleBatchCB as SingleBatchCB
from .batches import to_cpu as to_cpu
from .batches import to_device as to_device
from .data import DataLoaders as DataLoaders
from .data import collate_dict as collate_dict
from .data import get_dls as get_dls
from .data import inplace as inplace
from .finder import LRFinderCB as LRFinderCB
from .learner import CancelBatchException as CancelBatchException
from .learner import CancelEpochException as CancelEpochException
from .learner import CancelFitException as CancelFitException
from .learner import Learner as Learner
from .learner import run_cbs as run_cbs
from .metrics import MetricsCB as MetricsCB
from .metrics import ProgressCB as ProgressCB
from .model import GeneralRelu as GeneralRelu
from .model import conv as conv
from .model import get_model as get_model
from .model import init_weights as init_weights
from .model import lsuv_init as lsuv_init
from .model import set_seed as set_seed
from .optimizers import SGD as SGD
from .optimizers import Adam as Adam
from .optimizers import Momentum as Momentum
from .optimizers import RMSProp as RMSProp
from .precision import AccelerateCB as AccelerateCB
from .precision import MixedPrecision as MixedPrecision
from .schedulers import BaseSchedCB as BaseSchedCB
from .schedulers import BatchSchedCB as BatchSchedCB
from .schedulers import EpochSchedCB as EpochSchedCB
from .schedulers import HasLearnCB as HasLearnCB
from .schedulers import RecorderCB as RecorderCB
from .schedulers import sched_lrs as sched_lrs
from .trainers import MomentumLearner as MomentumLearner
from .trainers import TrainCB as TrainCB
from .trainers import TrainLearner as TrainLearner

__all__ = [
    "SGD",
    "AccelerateCB",
    "ActivationStats",
    "Adam",
    "BaseSchedCB",
    "BatchSchedCB",
    "BatchTransformCB",
    "Callback",
    "CancelBatchException",
    "CancelEpochException",
    "CancelFitException",
    "DataLoaders",
    "DeviceCB",
    "EpochSchedCB",
    "GeneralRelu",
    "HasLearnCB",
    "Hook",
    "Hooks",
    "HooksCallback",
    "LRFinderCB",
    "Learner",
    "MetricsCB",
    "MixedPrecision",
    "Momentum",
    "MomentumLearner",
    "ProgressCB",
    "RMSProp",
    "RecorderCB",
    "SingleBatchCB",
    "TrainCB",
    "TrainLearner",
    "append_stats",
    "collate_dict",
    "conv",
    "def_device",
    "get_dls",
    "get_hist",
    "get_min",
    "get_model",
    "init_weights",
    "inplace",
    "lsuv_init",
    "run_cbs",
    "sched_lrs",
    "set_seed",
    "to_cpu",
    "to_device",
]


if TYPE_CHECKING:
    def_device: str


def __getattr__(name: str) -> Any:
    """`def_device`: the name of the accelerator that torch finds when it is asked for, or "cpu"."""
    if name == "def_device":
        from ...train.callbacks.device import best_device

        return best_device().type
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
