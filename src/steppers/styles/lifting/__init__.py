"""Lifting: code of these styles, in place and with branches, as rules that any engine runs."""

from .lifting import lift, lift_all

__all__ = ["lift", "lift_all"]
