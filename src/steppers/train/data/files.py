"""The files below a folder, in an order that is the same on every machine."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path


def get_files(
    path: str | Path,
    extensions: str | Collection[str] | None = None,
    *,
    recurse: bool = True,
    follow_links: bool = True,
    skip: Collection[str] = (),
    include: Collection[str] | None = None,
) -> list[Path]:
    """The files below `path`, sorted by their parts. Names that begin with a dot are skipped.

    `extensions` are like ".jpg", in either case; None takes every file. A folder that a link leads
    to a second time is not gone through again. Without `follow_links` links are skipped. Folders
    whose names are in `skip` are left out at any depth; with `include`, of those directly in `path`
    all that are not in it.

    Raises:
        FileNotFoundError, NotADirectoryError: `path` is no folder.
    """
    root = Path(path).expanduser()
    if not root.exists():
        raise FileNotFoundError(f"there is no folder {root}")
    if not root.is_dir():
        raise NotADirectoryError(f"{root} is a file, a folder is wanted")
    kinds = [extensions] if isinstance(extensions, str) else extensions
    wanted = None if kinds is None else {e.lower() for e in kinds}
    walked = _walk(root, recurse, follow_links, skip, include)
    found = (file for file in walked if not file.name.startswith("."))
    return sorted(file for file in found if wanted is None or file.suffix.lower() in wanted)


def _walk(
    root: Path,
    recurse: bool,
    follow_links: bool,
    skip: Collection[str],
    include: Collection[str] | None,
) -> Iterator[Path]:
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=follow_links):
        real = os.path.realpath(folder)
        # Sorted, so that of two ways into a folder always the same one is taken.
        fresh = recurse and real not in seen
        kept = [name for name in folders if name not in skip and not name.startswith(".")]
        if include is not None and not seen:
            kept = [name for name in kept if name in include]
        folders[:] = sorted(kept) if fresh else []
        if real in seen:
            continue
        seen.add(real)
        for name in names:
            file = Path(folder, name)
            if follow_links or not file.is_symlink():
                yield file
