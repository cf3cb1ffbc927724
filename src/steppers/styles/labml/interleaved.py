"""Training and validation in turns within an epoch: a loader that gives its batches in parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any


class Interleaved:
    """A loader of which each pass is the next of `parts` equal parts of one pass over another.

    With both of a Learner's loaders in ten parts, ten of its rounds are one epoch in which it
    trains on a tenth and is validated on a tenth in turn (labml.ai's `inner_iterations`). After
    the last part the loader begins anew, and shuffles if it does. A pass that is broken off leaves
    the rest of its part to the next one, and so does a search for lr. Checkpoints do not have the
    place in the parts; `learn.validate` takes the next part unless it is given a whole loader.

    Raises ValueError for fewer batches than parts, TypeError for a loader without a length.

    >>> halves = Interleaved([1, 2, 3, 4, 5], 2)
    >>> list(halves), list(halves), list(halves), len(halves)
    ([1, 2], [3, 4, 5], [1, 2], 3)
    """

    def __init__(self, loader: Iterable[Any], parts: int = 10) -> None:
        size = getattr(loader, "__len__", None)
        if size is None:
            raise TypeError(f"Interleaved: the loader, a {type(loader).__name__}, has no length")
        if isinstance(parts, bool) or not 1 <= parts <= size():
            raise ValueError(
                f"Interleaved: parts must be from 1 to the loader's {size()} batches, got {parts!r}"
            )
        self.loader, self.parts, self._size = loader, parts, size
        self._batches: Iterator[Any] = iter(())
        self._done = size()

    def __len__(self) -> int:
        """Batches of the longest part."""
        return -(-self._size() // self.parts)

    def __iter__(self) -> Iterator[Any]:
        size = self._size()
        if self._done >= size:
            self._batches, self._done = iter(self.loader), 0
        part = ((self._done + 1) * self.parts - 1) // size  # the one that the next batch is of
        end = (part + 1) * size // self.parts
        for batch in islice(self._batches, end - self._done):
            self._done += 1
            yield batch
