"""The classes of a data set: their names, and the number of each."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor


def parent_label(path: Path) -> str:
    """The name of the folder that a file lies in."""
    return path.parent.name


@dataclass(frozen=True)
class Vocabulary:
    """The names of classes in order, each once.

    >>> vocab = Vocabulary.of(["dog", "cat", "dog"])
    >>> vocab.names, vocab.number("dog")
    (('cat', 'dog'), 1)

    Raises:
        ValueError: a name is there twice.
    """

    names: tuple[str, ...]
    numbers: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        numbers = {name: i for i, name in enumerate(self.names)}
        if len(numbers) != len(self.names):
            raise ValueError(f"Vocabulary: a name is there twice in {self.names}")
        object.__setattr__(self, "numbers", numbers)

    @classmethod
    def of(cls, labels: Iterable[str]) -> "Vocabulary":
        """The vocabulary of some labels, sorted, so that the order of the files is irrelevant."""
        return cls(tuple(sorted(set(labels))))

    def number(self, label: str, file: Path | None = None) -> int:
        """The number of a class.

        Raises:
            ValueError: there is no such class; the message names the file too.
        """
        if label not in self.numbers:
            where = f"{file}: " if file else ""
            raise ValueError(
                f"{where}the label {label!r} is not among the classes of the training part:"
                f" {', '.join(self.names)}"
            )
        return self.numbers[label]

    def decode(self, numbers: Tensor) -> list[str]:
        """The names of the classes in a 1-d tensor of their numbers."""
        return [self.names[i] for i in numbers.tolist()]
