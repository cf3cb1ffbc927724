"""Hyper-parameters as functions of the position in a run, and what sets an optimizer by them."""

from .annealers import annealer, cos, exp, lin, no, poly
from .phases import combine, combined_cos
from .picture import plot
from .rehearsal import dry_run
from .scheduler import Scheduler
from .shapes import (
    flat_cos,
    inverse_sqrt,
    noam,
    one_cycle,
    one_cycle_momentum,
    polynomial,
    sgdr,
    sgdr_epochs,
    warmup_cosine,
    warmup_stable_decay,
)

__all__ = [
    "Scheduler",
    "annealer",
    "combine",
    "combined_cos",
    "cos",
    "dry_run",
    "exp",
    "flat_cos",
    "inverse_sqrt",
    "lin",
    "no",
    "noam",
    "one_cycle",
    "one_cycle_momentum",
    "plot",
    "poly",
    "polynomial",
    "sgdr",
    "sgdr_epochs",
    "warmup_cosine",
    "warmup_stable_decay",
]
