"""A file that is whole or not there, and that loads with weights_only=True."""

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch


def check_place(path: Path) -> None:
    """Raise ValueError unless a file can be written at `path`; makes the folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"cannot make the folder {path.parent}: {error.strerror}") from error
    if path.is_dir():
        raise ValueError(f"{path} is a folder, a file is wanted")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"cannot write in the folder {path.parent}")


@contextmanager
def whole_file(path: Path) -> Generator[BinaryIO, None, None]:
    """A file to write, which takes the place of `path` when the block ends well, and only then.

    A process killed in the block leaves the old file, and `.NAME.tmp` that the next one overwrites.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write(path: Path, form: str, saved: Mapping[str, Any]) -> None:
    """Write a checkpoint of a format, with the parts that `read` will want."""
    with whole_file(path) as file:
        torch.save({"format": form, **saved}, file)


def read(path: Path, form: str, parts: Mapping[str, type]) -> dict[str, Any]:
    """The checkpoint in a file, its parts there and of the right types.

    Raises:
        ValueError: no such file, a damaged one, or one that something else wrote.
    """
    if not path.is_file():
        raise ValueError(f"no checkpoint at {path}")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    # A damaged file fails in the zip reader, the unpickler or a tensor's constructor, each with
    # exceptions of its own (RuntimeError, UnpicklingError, EOFError, KeyError, OSError, ...).
    except Exception as error:
        raise ValueError(f"{path} is damaged or no checkpoint ({type(error).__name__})") from error
    if not isinstance(saved, dict) or saved.get("format") != form:
        raise ValueError(f"{path} is no {form.partition('/')[0]} checkpoint, or of another version")
    for part, kind in parts.items():
        if not isinstance(saved.get(part), kind):
            raise ValueError(f"{path} is damaged: {part!r} is missing or not a {kind.__name__}")
    return saved
