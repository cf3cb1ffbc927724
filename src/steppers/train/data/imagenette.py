"""Imagenette: ten easy classes of ImageNet, 9,469 and 3,925 photographs (fast.ai)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .archives import unpack
from .cache import cache_folder
from .dataset import Data
from .download import Remote, fetch
from .imagefolder import load_folder
from .normalise import Normalise
from .transforms import Transform

URL = "https://s3.amazonaws.com/fast-ai-imageclas"
# By the length of the shorter side in pixels.
ARCHIVES = {
    160: Remote((f"{URL}/imagenette2-160.tgz",), "md5:e793b78cc4c9e9a4ccc0c1155377a412"),
    320: Remote((f"{URL}/imagenette2-320.tgz",), "md5:3df6f0d01a2c9592104656642f5e78a3"),
}
# WordNet's numbers, which name the folders.
NAMES = {
    "n01440764": "tench",
    "n02102040": "English springer",
    "n02979186": "cassette player",
    "n03000684": "chain saw",
    "n03028079": "church",
    "n03394916": "French horn",
    "n03417042": "garbage truck",
    "n03425413": "gas pump",
    "n03445777": "golf ball",
    "n03888257": "parachute",
}
# Measured on the course's batches of it, and rounded there (fast.ai course-v3, notebook 08).
STATISTICS = Normalise((0.47, 0.48, 0.45), (0.29, 0.28, 0.30))


def load_imagenette(
    path: str | Path | None = None,
    *,
    pixels: int = 160,
    size: int | tuple[int, int] | None = 128,
    transforms: Sequence[Transform] = (),
    normalise: Normalise | None = STATISTICS,
    download: bool = True,
) -> Data:
    """Imagenette, resized to `size`. `transforms` are for the training part alone.

    `path` is a folder with `train` and `val`, or one that has `imagenette2-160`. Otherwise the
    archive of `pixels` 160 (99 MB) or 320 (341 MB) is taken from the cache or downloaded into it,
    and unpacked there.

    Raises:
        FileNotFoundError: `path` has no such folders, or `download=False` and the cache has not.
        ConnectionError: the download failed.
        ImportError: Pillow is not installed.
        ValueError: `pixels` is another number, the archive or an image is damaged, or a class is
            not of the ten.
    """
    if pixels not in ARCHIVES:
        raise ValueError(f"imagenette: pixels must be 160 or 320, got {pixels!r}")
    root = _find(path, pixels, download)
    data = load_folder(
        root, size=size, transforms=transforms, normalise=normalise, name=f"imagenette-{pixels}"
    )
    assert data.vocab is not None
    for folder in data.vocab:
        if folder not in NAMES:
            raise ValueError(f"imagenette: {root / 'train' / folder} is not one of its ten classes")
    return replace(data, vocab=tuple(NAMES[folder] for folder in data.vocab))


def _find(path: str | Path | None, pixels: int, download: bool) -> Path:
    name = f"imagenette2-{pixels}"
    if path is None:
        return _from_cache(name, ARCHIVES[pixels], download)
    places = (Path(path).expanduser(), Path(path).expanduser() / name)
    for place in places:
        if (place / "train").is_dir() and (place / "val").is_dir():
            return place
    raise FileNotFoundError(f"imagenette: no folders train and val in {places[0]} or {places[1]}")


def _from_cache(name: str, archive: Remote, download: bool) -> Path:
    folder = cache_folder() / "imagenette"
    if (folder / name).is_dir():
        return folder / name
    if not download and not (folder / archive.name).is_file():
        raise FileNotFoundError(f"imagenette: neither {name} nor {archive.name} is in {folder}")
    return unpack(fetch(archive, folder), name)
