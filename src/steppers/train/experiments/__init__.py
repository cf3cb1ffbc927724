"""Experiments on the tasks here: train, compare, sweep, find a rate, and report on them."""

from .comparison import Comparison, compare
from .hyper_sweep import Sweep, sweep
from .rate import Finding, find_lr
from .report import Written, check_folder, write_report
from .runs import Run
from .settings import Settings, Setup
from .spreads import Spread
from .training import Training, train
from .trials import Trial

__all__ = [
    "Comparison",
    "Finding",
    "Run",
    "Settings",
    "Setup",
    "Spread",
    "Sweep",
    "Training",
    "Trial",
    "Written",
    "check_folder",
    "compare",
    "find_lr",
    "sweep",
    "train",
    "write_report",
]
