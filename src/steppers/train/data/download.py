"""Bring a file from the first mirror that has it whole, or leave nothing behind."""

import contextlib
import hashlib
import http.client
import os
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from .cache import VARIABLE

CHUNK = 1 << 16
TIMEOUT = 30  # seconds without a byte


@dataclass(frozen=True)
class Remote:
    """A file elsewhere: the places that have it, and "md5:…" or "sha256:…" of its bytes."""

    urls: tuple[str, ...]
    checksum: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.urls[0].rsplit("/", 1)[-1]


def fetch(remote: Remote, folder: Path, *, progress: bool = True) -> Path:
    """The file in `folder`: as it lies there, or downloaded, checked and then put there whole.

    A bar is shown on a terminal where tqdm is installed.

    Raises:
        ConnectionError: no mirror gave the whole file; the message has what each answered.
        OSError: the folder cannot be written.
    """
    target = folder / remote.name
    if target.is_file():
        return target
    failures: list[str] = []
    for url in remote.urls:
        try:
            _download(url, target, remote.checksum, progress)
        except ConnectionError as error:
            failures.append(f"  {url}: {error}")
        else:
            return target
    raise ConnectionError(
        f"{remote.name} could not be downloaded. Tried:\n" + "\n".join(failures) + "\n"
        f"Put it at {target} by hand, or name a folder that has it: path=… or {VARIABLE}=…"
    )


def _download(url: str, target: Path, checksum: str, progress: bool) -> None:
    kind, _, wanted = checksum.partition(":")
    digest, count = hashlib.new(kind, usedforsecurity=False), 0
    # Whatever ends the block, Ctrl-C too, nothing stays under a name that is ever read.
    part = _make_part(target)
    try:
        with part.open("wb") as file:
            for block in _blocks(url, progress):
                file.write(block)
                digest.update(block)
                count += len(block)
        if digest.hexdigest() != wanted:
            raise ConnectionError(
                f"the {count:,} bytes that came are not the expected ones: their {kind} is"
                f" {digest.hexdigest()}, not {wanted}"
            )
        part.chmod(0o644)  # a temporary file is its owner's alone
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def _make_part(target: Path) -> Path:
    """A new empty file beside `target`, of this process alone."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(".part", f".{target.name}.", target.parent)
    except OSError as error:
        raise OSError(
            f"cannot write {target}: {error}; set {VARIABLE} to a folder that can be written"
        ) from error
    os.close(handle)
    return Path(name)


def _blocks(url: str, progress: bool) -> Iterator[bytes]:
    """The bytes at a URL; ConnectionError for every way in which they may fail to come."""
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
            stated = answer.headers.get("Content-Length")
            total, done = (int(stated) if stated else None), 0
            with _bar(url, total, progress) as advance:
                while block := answer.read(CHUNK):
                    done += len(block)
                    yield block
                    advance(len(block))
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise ConnectionError(f"{reason}" or type(error).__name__) from error
    if total is not None and done != total:
        raise ConnectionError(f"the connection ended after {done:,} of {total:,} bytes")


@contextlib.contextmanager
def _bar(
    url: str, total: int | None, wanted: bool
) -> Generator[Callable[[int], object], None, None]:
    """What to tell how many more bytes came: a bar on a terminal where tqdm is installed."""
    try:
        from tqdm import tqdm
    except ImportError:  # a download needs no bar
        tqdm = None
    if tqdm is None or not (wanted and sys.stderr.isatty()):
        yield lambda count: None
        return
    name = url.rsplit("/", 1)[-1]
    with tqdm(total=total, desc=name, unit="B", unit_scale=True, dynamic_ncols=True) as bar:
        yield bar.update
