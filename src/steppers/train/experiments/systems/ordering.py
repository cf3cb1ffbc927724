"""Which optimizer came before which, ours and the originals', as far as it can be told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

CLOSE = 0.01  # accuracies nearer than that are not told apart
SURE = 2  # standard errors by which ours must differ, where there are several seeds


@dataclass(frozen=True)
class End:
    """The accuracy at a run's end, ours and printed.

    `error` is the standard error of ours over the seeds, 0 for one seed; `half` is half the band of
    the printed one.
    """

    name: str
    ours: float
    printed: float
    error: float = 0.0
    half: float = 0.0


@dataclass(frozen=True)
class Order:
    """The runs of one family."""

    family: str
    ends: Sequence[End]

    def pairs(self) -> dict[str, int]:
        """How many pairs are in the originals' order, the other way round, or too near to tell."""
        counts = {"same": 0, "opposite": 0, "near": 0}
        for one, other in combinations(self.ends, 2):
            counts[compared(one, other)] += 1
        return counts

    def sentence(self) -> str:
        """Both orders, and how far they agree.

        >>> Order("net", [End("x-sgd", 0.5, 0.4), End("x-adam", 0.7, 0.8)]).sentence()
        'net: ours adam 70.0%, sgd 50.0%; printed adam 80.0%, sgd 40.0%; pairs: 1 in the same order'
        """
        cut = common([end.name for end in self.ends])
        mine = ranked({end.name: end.ours for end in self.ends}, cut)
        theirs = ranked({end.name: end.printed for end in self.ends}, cut)
        words = {
            "same": "in the same order",
            "opposite": "in the opposite order",
            "near": "too near to tell",
        }
        counted = [f"{count} {words[key]}" for key, count in self.pairs().items() if count]
        return f"{self.family}: ours {mine}; printed {theirs}; pairs: {', '.join(counted)}"


def compared(one: End, other: End) -> str:
    """Whether two runs stand to each other as the originals do: "same", "opposite" or "near".

    They are near where ours, or those printed, differ by less than a point or than chance allows:
    ours by twice the standard error over the seeds, those printed by their bands.
    """
    mine, theirs = one.ours - other.ours, one.printed - other.printed
    ours_far = abs(mine) >= max(CLOSE, SURE * math.hypot(one.error, other.error))
    theirs_far = abs(theirs) >= max(CLOSE, math.hypot(one.half, other.half))
    if not (ours_far and theirs_far):
        return "near"
    return "same" if mine * theirs > 0 else "opposite"


def common(names: Sequence[str]) -> int:
    """The length of the words, each with its hyphen, that all names begin with.

    >>> common(["imagenette-sgd-decay", "imagenette-sgd"])
    11
    """
    split = [name.split("-") for name in names]
    shortest = min(len(words) for words in split) - 1
    alike = 0
    while alike < shortest and len({words[alike] for words in split}) == 1:
        alike += 1
    return sum(len(word) + 1 for word in split[0][:alike])


def ranked(values: Mapping[str, float], cut: int) -> str:
    """Names without their common beginning, the most accurate first."""
    pairs = sorted(values.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{name[cut:]} {value:.1%}" for name, value in pairs)


def orders(rows: Sequence[tuple[str, End | None]]) -> list[Order]:
    """The families with several runs, from the family and the end of each run.

    A run without an end, which diverged or whose original printed nothing, is left out.
    """
    families: dict[str, list[End]] = {}
    for family, end in rows:
        if end is not None:
            families.setdefault(family, []).append(end)
    return [Order(family, ends) for family, ends in families.items() if len(ends) > 1]
