"""Names of a signature of which the code has to tell whether they are state or numbers."""

from __future__ import annotations

from typing import NoReturn

from .recording import Recorder


class Guessed(BaseException):  # past an `except Exception` of the code under lifting
    """A name of the signature was used as a tensor or as a number, so that is what it is."""

    def __init__(self, name: str, is_tensor: bool) -> None:
        super().__init__(name)
        self.name, self.is_tensor = name, is_tensor


def blame_many(recorder: Recorder, guesses: frozenset[str]) -> NoReturn:
    """Raise for names of which the code does not tell what they are."""
    listed = ", ".join(sorted(guesses))
    first = min(guesses)
    recorder.refuse(
        f"takes {listed}, and its signature does not say which are state and which numbers",
        f"pass slots=({first!r},) or hypers=({first!r},) to lift",
    )
