"""The runs of five other systems done again: their nets and settings as data, and what came of it.

fast.ai's course v3, fastai's book, miniai, labml.ai, and the game of the AMSGrad paper.
"""

from .campaign import run_experiments
from .experiment import Experiment, Net, Printed, Recipe, Schedule
from .rerun import Rerun
from .reruns import Reruns
from .rows import EXPERIMENTS, NAMES, chosen
from .sources import Source
from .training import How

__all__ = [
    "EXPERIMENTS",
    "NAMES",
    "Experiment",
    "How",
    "Net",
    "Printed",
    "Recipe",
    "Rerun",
    "Reruns",
    "Schedule",
    "Source",
    "chosen",
    "run_experiments",
]
