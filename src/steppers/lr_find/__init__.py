"""The learning-rate finder: for any torch optimizer and loop, and everything is put back."""

from .finder import lr_find
from .found import Found
from .restore import restored
from .suggest import minimum, slide, steep, valley
from .sweep import Sweep

__all__ = ["Found", "Sweep", "lr_find", "minimum", "restored", "slide", "steep", "valley"]
