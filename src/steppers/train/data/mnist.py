"""MNIST and Fashion-MNIST: 60,000 and 10,000 grey images of 28x28 pixels in ten classes each."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .batched import TensorData
from .cache import cache_folder
from .dataset import Data
from .download import Remote, fetch
from .idx import read_idx
from .normalise import Normalise
from .splitters import split_places

# The four files, in the order train images, train labels, test images, test labels.
FILES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
SIDES = (28, 28)  # pixels
DIGITS = tuple("0123456789")
CLOTHES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


@dataclass(frozen=True)
class Source:
    """One of the data sets in this form: its names, its mirrors, and what its pixels are like."""

    name: str
    folder: str  # as torchvision calls it
    mirrors: tuple[str, ...]
    md5: tuple[str, ...]  # of the gzipped files
    vocab: tuple[str, ...]
    mean: float  # of the training pixels in [0, 1], as the two below are usually given
    std: float

    def remotes(self) -> tuple[Remote, ...]:
        """The files to download."""
        return tuple(
            Remote(tuple(f"{mirror}/{name}.gz" for mirror in self.mirrors), f"md5:{md5}")
            for name, md5 in zip(FILES, self.md5, strict=True)
        )


MNIST = Source(
    name="mnist",
    folder="MNIST",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    ),
    md5=(
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    vocab=DIGITS,
    mean=0.1307,
    std=0.3081,
)
FASHION_MNIST = Source(
    name="fashion-mnist",
    folder="FashionMNIST",
    mirrors=(
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
    ),
    md5=(
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    vocab=CLOTHES,
    mean=0.2860,
    std=0.3530,
)


def load_mnist(
    path: str | Path | None = None,
    *,
    held_out: float | None = None,
    seed: int = 0,
    download: bool = True,
) -> Data:
    """MNIST, handwritten digits (LeCun, Cortes and Burges), inputs (1, 28, 28) normalised.

    The 10,000 test images are held out. With `held_out` a share of the 60,000 training images is,
    drawn at random by `seed`, and the test images are left alone; choose hypers by those.

    The four files are read from `path` if it is given: there, in its `raw` or its `MNIST/raw`,
    plain or gzipped. Otherwise they come from the cache, and into the cache by download.

    Raises:
        FileNotFoundError: `path` has not all four files, or `download=False` and the cache has not.
        ConnectionError: the download failed.
        ValueError: a file is damaged or of other images, or `held_out` is not within 0 and 1.
    """
    return _load(MNIST, path, held_out, seed, download)


def load_fashion_mnist(
    path: str | Path | None = None,
    *,
    held_out: float | None = None,
    seed: int = 0,
    download: bool = True,
) -> Data:
    """Fashion-MNIST, clothes (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747), as `load_mnist`."""
    return _load(FASHION_MNIST, path, held_out, seed, download)


def _load(
    source: Source, path: str | Path | None, held_out: float | None, seed: int, download: bool
) -> Data:
    files = _find(source, path, download)
    train_x, train_y = _pair(source, *files[:2])
    if held_out is None:
        valid_x, valid_y = _pair(source, *files[2:])
        said = f"the {len(valid_y):,} test images held out"
    else:
        train, valid = map(torch.tensor, split_places(len(train_y), held_out, seed))
        valid_x, valid_y = train_x[valid], train_y[valid]
        train_x, train_y = train_x[train], train_y[train]
        said = f"{len(valid_y):,} training images held out at random (seed {seed})"
    transform = Normalise((source.mean,), (source.std,))
    return Data(
        name=source.name,
        train=TensorData(train_x, train_y, transform=transform),
        valid=TensorData(valid_x, valid_y, transform=transform),
        shape=tuple(train_x.shape[1:]),
        description=f"{source.name}: {len(train_y):,} train, {said}",
        vocab=source.vocab,
    )


def _pair(source: Source, images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    """Images (count, 1, height, width) in bytes, and labels (count,) in int64."""
    x, y = read_idx(images, dims=3), read_idx(labels, dims=1)
    for path, values in ((images, x), (labels, y)):
        if values.dtype != torch.uint8:
            raise ValueError(f"{path}: holds {values.dtype}, torch.uint8 is wanted")
    if x.shape[1:] != SIDES:
        found, wanted = (" x ".join(map(str, sides)) for sides in (x.shape[1:], SIDES))
        raise ValueError(
            f"{images}: holds images of {found} pixels, those of {source.name} have {wanted}"
        )
    if len(x) != len(y):
        raise ValueError(f"{images} has {len(x):,} images, but {labels} has {len(y):,} labels")
    if len(y) and int(y.max()) >= len(source.vocab):
        raise ValueError(
            f"{labels}: holds the label {int(y.max())};"
            f" {source.name} has {len(source.vocab)} classes"
        )
    return x.unsqueeze(1), y.long()


def _find(source: Source, path: str | Path | None, download: bool) -> list[Path]:
    if path is not None:
        return [_search(source, Path(path).expanduser(), name) for name in FILES]
    folder = cache_folder() / source.name
    if download:
        return [fetch(remote, folder) for remote in source.remotes()]
    return [_search(source, folder, name) for name in FILES]


def _search(source: Source, folder: Path, name: str) -> Path:
    places = (folder, folder / "raw", folder / source.folder / "raw")
    for place in places:
        for file in (place / name, place / f"{name}.gz"):
            if file.is_file():
                return file
    raise FileNotFoundError(
        f"{source.name}: no file {name} or {name}.gz in {', '.join(map(str, places))}"
    )
