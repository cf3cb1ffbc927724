"""The files below a folder, in an order that is the same on every machine."""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path


def get_files(
    path: str | Path,
    extensions: Sequence[str] | None = None,
    *,
    recurse: bool = True,
    follow_links: bool = True,
    skip: Collection[str] = (),
) -> list[Path]:
    """The files below `path`, sorted by their parts. Names that begin with a dot are skipped.

    `extensions` are like ".jpg", in either case; None takes every file. A folder that a link leads
    to a second time is not gone through again. Without `follow_links` links are skipped. Folders
    whose names are in `skip` are left out at any depth.

    Raises:
        FileNotFoundError, NotADirectoryError: `path` is no folder.
    """
    root = Path(path).expanduser()
    if not root.exists():
        raise FileNotFoundError(f"there is no folder {root}")
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is a file, a folder is wanted")
    wanted = None if extensions is None else {e.lower() for e in extensions}
    found = (
        file for file in _walk(root, recurse, follow_links, skip) if not file.name.startswith(".")
    )
    return sorted(file for file in found if wanted is None or file.suffix.lower() in wanted)


def _walk(root: Path, recurse: bool, follow_links: bool, skip: Collection[str]) -> Iterator[Path]:
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=follow_links):
        real = os.path.realpath(folder)
        # Sorted, so that of two ways into a folder always the same one is taken.
        fresh = recurse and real not in seen
        kept = (name for name in folders if name not in skip and not name.startswith("."))
        folders[:] = sorted(kept) if fresh else []
        if real in seen:
            continue
        seen.add(real)
        for name in names:
            file = Path(folder, name)
            if follow_links or not file.is_symlink():
                yield file
