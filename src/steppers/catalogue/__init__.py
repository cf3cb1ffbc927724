"""The optimizers: each a docstring, its steps and its defaults."""

from .adagrad import ASGD, Adadelta, Adafactor, Adagrad, RMSprop, Rprop
from .adam import Adam, Adamax, AdamW, NAdam, QHAdam, RAdam, Ranger, SAdam
from .belief import AdaBelief
from .composer import DecoupledAdamW, DecoupledSGDW
from .layerwise import LAMB, LARC, LARS
from .matrix import Muon
from .parameter_free import Prodigy
from .schedule_free import ScheduleFreeAdamW
from .sgd import SGD, SGDW
from .sign import Lion
from .sophia import Sophia

__all__ = [
    "ASGD",
    "LAMB",
    "LARC",
    "LARS",
    "SGD",
    "SGDW",
    "AdaBelief",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "DecoupledAdamW",
    "DecoupledSGDW",
    "Lion",
    "Muon",
    "NAdam",
    "Prodigy",
    "QHAdam",
    "RAdam",
    "RMSprop",
    "Ranger",
    "Rprop",
    "SAdam",
    "ScheduleFreeAdamW",
    "Sophia",
]
