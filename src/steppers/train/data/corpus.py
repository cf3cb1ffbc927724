"""Files of text in two parts, split by their names, and what zlib makes of them."""

import hashlib
import sysconfig
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from platform import python_version

import torch
from torch import Tensor

from .files import get_files

# Other people's packages, and tests, which are not always installed.
NOT_THE_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test"}


@dataclass(frozen=True)
class Corpus:
    """The files that are trained on and those that are held out, each in the order of their names.

    Which part a file is in depends on its path below `root` and the seed alone.
    """

    name: str
    root: Path
    train: tuple[Path, ...]
    valid: tuple[Path, ...]


def find_corpus(
    path: str | Path | None = None,
    *,
    extensions: Sequence[str] | None = None,
    held_out: float = 0.1,
    seed: int = 0,
) -> Corpus:
    """The files below a folder; without a path, the `*.py` of this Python's standard library.

    Links are skipped, so that no file is there twice; so are files and folders whose names begin
    with a dot. Of the standard library, tests, installed packages and the file that says how this
    Python was built are left out. About a share of `held_out` of the files is held out.

    Raises:
        FileNotFoundError, NotADirectoryError: there is no such folder, or this Python's library is
            not there as files.
        ValueError: no files are found, the share is not within 0 and 1, or a part is empty.
    """
    if not 0 < held_out < 1:
        raise ValueError(f"text: the held-out share must be within 0 and 1, got {held_out}")
    if path is None:
        name, root, files = f"Python {python_version()}'s standard library", *_library()
    else:
        root = Path(path).expanduser()
        found = get_files(root, extensions, follow_links=False)
        name, files = str(root), [file for file in found if file.is_file()]  # no pipes
    parts: tuple[list[Path], list[Path]] = ([], [])
    for file in files:
        parts[_draw(file.relative_to(root), seed) < held_out].append(file)
    for part, found in zip(("training", "held-out"), parts, strict=True):
        if not found:
            raise ValueError(
                f"text: of the {len(files):,} files below {root} none is in the {part} part;"
                " try another seed or share"
            )
    return Corpus(name, root, tuple(parts[0]), tuple(parts[1]))


def _library() -> tuple[Path, list[Path]]:
    root = Path(sysconfig.get_paths()["stdlib"])
    found: list[Path] = []
    if root.is_dir():
        found = get_files(root, (".py",), follow_links=False, skip=NOT_THE_LIBRARY)
    files = [file for file in found if not file.name.startswith("_sysconfigdata")]
    if len(files) < 100:
        raise FileNotFoundError(
            f"text: this Python's standard library is not in {root} as files ({len(files)} found);"
            " name a folder of text: path=…"
        )
    return root, files


def _draw(path: Path, seed: int) -> float:
    """A number in [0, 1) that looks random and is the same everywhere."""
    digest = hashlib.sha256(f"{seed}:{path.as_posix()}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def read_stream(files: Sequence[Path]) -> Tensor:
    """The bytes of all files, one after the other: uint8, 1-d."""
    content = b"".join(file.read_bytes() for file in files)
    return as_stream(content)


def as_stream(content: bytes) -> Tensor:
    """Bytes as a uint8 tensor, 1-d."""
    if not content:
        return torch.empty(0, dtype=torch.uint8)
    return torch.frombuffer(bytearray(content), dtype=torch.uint8)


def zlib_bits_per_byte(files: Sequence[Path], *, together: bool = False) -> float:
    """The bits that zlib at level 9 takes for a byte of these files: what a model is held against.

    Each file is compressed alone, or all `together` as one, which gives zlib more to copy from.

    Raises:
        ValueError: the files hold no bytes.
    """
    contents = [file.read_bytes() for file in files]
    total = sum(map(len, contents))
    if not total:
        raise ValueError(f"zlib_bits_per_byte: the {len(contents)} files hold no bytes")
    pieces = [b"".join(contents)] if together else contents
    return 8 * sum(len(zlib.compress(piece, 9)) for piece in pieces) / total
