"""Which optimizer came before which, in our runs and in the originals'."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

CLOSE = 0.01  # accuracies nearer than that are not told apart


@dataclass(frozen=True)
class Order:
    """The runs of one family: ours and printed accuracies at the end, by name."""

    family: str
    ours: Mapping[str, float]
    printed: Mapping[str, float]

    def pairs(self) -> dict[str, int]:
        """How many pairs are in the originals' order, the other way round, or too near to tell."""
        counts = {"same": 0, "opposite": 0, "near": 0}
        for one, other in combinations(self.ours, 2):
            mine = self.ours[one] - self.ours[other]
            theirs = self.printed[one] - self.printed[other]
            if min(abs(mine), abs(theirs)) < CLOSE:
                counts["near"] += 1
            else:
                counts["same" if mine * theirs > 0 else "opposite"] += 1
        return counts

    def sentence(self) -> str:
        """Both orders, and how far they agree.

        >>> Order("net", {"x-sgd": 0.5, "x-adam": 0.7}, {"x-sgd": 0.4, "x-adam": 0.8}).sentence()
        'net: ours adam 70.0%, sgd 50.0%; printed adam 80.0%, sgd 40.0%; pairs: 1 in the same order'
        """
        cut = common([*self.ours])
        mine, theirs = (ranked(values, cut) for values in (self.ours, self.printed))
        words = {
            "same": "in the same order",
            "opposite": "in the opposite order",
            "near": f"within {100 * CLOSE:.0f} point",
        }
        counted = [f"{count} {words[key]}" for key, count in self.pairs().items() if count]
        return f"{self.family}: ours {mine}; printed {theirs}; pairs: {', '.join(counted)}"


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


def orders(rows: Sequence[tuple[str, str, float | None, float | None]]) -> list[Order]:
    """The families with several runs, from (family, name, ours, printed) of each run.

    A run that diverged, or whose original printed nothing, is left out.
    """
    families: dict[str, list[tuple[str, float, float]]] = {}
    for family, name, ours, printed in rows:
        if ours is not None and printed is not None:
            families.setdefault(family, []).append((name, ours, printed))
    return [
        Order(family, {n: o for n, o, _ in found}, {n: p for n, _, p in found})
        for family, found in families.items()
        if len(found) > 1
    ]
