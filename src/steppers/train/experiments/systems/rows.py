"""Every run by its name, and how names are chosen."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence

from ...spec import nearest
from . import book, counterexample, course, labml, miniai, speed
from .experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    row.name: row
    for row in (*course.EXPERIMENTS, *book.EXPERIMENTS, *miniai.EXPERIMENTS, *labml.EXPERIMENTS)
}
NAMES = (*EXPERIMENTS, speed.NAME, counterexample.NAME)
ALL = "all"


def hint_for(name: str) -> str:
    """What else to write: the nearest name, the first that begins so, or where the list is.

    >>> hint_for("amsgrad")
    "; did you mean 'amsgrad-counterexample'?"
    """
    longer = [known for known in NAMES if known.startswith(name.lower())]
    if longer:
        return f"; did you mean {longer[0]!r}?"
    return nearest(name, NAMES) or "; `steppers experiment` lists them"


def chosen(patterns: Sequence[str]) -> list[str]:
    """The names that patterns like `fashion-*` match, in the order of the list; `all` is all.

    >>> chosen(["mnist-mlp*"])[:2]
    ['mnist-mlp', 'mnist-mlp-runner']

    Raises:
        ValueError: one matches none, with the nearest name.
    """
    found = set[str]()
    for pattern in patterns:
        matched = list(NAMES) if pattern == ALL else fnmatch.filter(NAMES, pattern)
        if not matched:
            raise ValueError(f"no experiment {pattern!r}{hint_for(pattern)}")
        found |= {*matched}
    return [name for name in NAMES if name in found]
