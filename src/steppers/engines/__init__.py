"""Engines run programs on tensors.

They know ops, not algorithms. `loop` is the definition; the others are tested against it.
"""

from .choosing import ASKED, NAMES, Choice, asked, choose
from .driving import RUNNERS, Unfit, drive, kept_values, prepare, schedule

__all__ = [
    "ASKED",
    "NAMES",
    "RUNNERS",
    "Choice",
    "Unfit",
    "asked",
    "choose",
    "drive",
    "kept_values",
    "prepare",
    "schedule",
]
