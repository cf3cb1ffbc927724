"""Unpack an archive beside itself: whole or not at all, and nothing outside its folder."""

import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

DAMAGE = (tarfile.TarError, EOFError, OSError, zlib.error)


def unpack(archive: Path, folder: str) -> Path:
    """The folder that the archive holds, unpacked beside it; as it lies there if it is there.

    Raises:
        ValueError: the archive is damaged or cut off, holds a path or a link that leads outside,
            or does not hold `folder`.
        OSError: the folder beside the archive cannot be written.
    """
    target = archive.parent / folder
    if target.is_dir():
        return target
    # Unpacked under a name that nobody reads and renamed at the end.
    place = Path(tempfile.mkdtemp(".part", f".{folder}.", archive.parent))
    try:
        _extract(archive, place)
        if not (place / folder).is_dir():
            raise ValueError(f"{archive}: holds no folder {folder!r}, only {_names(place)}")
        try:
            os.replace(place / folder, target)
        except OSError:  # another process was quicker
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return target


def _extract(archive: Path, place: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            # To the end of the compressed stream, where its checksum stands.
            while tar.fileobj.read(1 << 20):
                pass
            for member in members:
                _refuse_outside(archive, member)
            if hasattr(tarfile, "data_filter"):  # absent from early 3.10 and 3.11
                tar.extractall(place, members, filter="data")
            else:
                tar.extractall(place, members)
    except DAMAGE as error:
        if isinstance(error, OSError) and error.errno and not isinstance(error, tarfile.TarError):
            raise  # the disk's, such as no space left
        raise ValueError(f"{archive}: is cut off or damaged: {error}; delete it") from error


def _refuse_outside(archive: Path, member: tarfile.TarInfo) -> None:
    path = PurePosixPath(member.name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise ValueError(
            f"{archive}: holds {member.name!r}, which leads outside; nothing is unpacked"
        )
    if not (member.isfile() or member.isdir()):
        raise ValueError(
            f"{archive}: holds {member.name!r}, no plain file or folder; nothing is unpacked"
        )


def _names(place: Path) -> str:
    return ", ".join(sorted(path.name for path in place.iterdir())) or "nothing"
