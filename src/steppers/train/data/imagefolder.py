"""Any folder of images as a data set: found, split, labelled, transformed."""

from collections.abc import Callable, Sequence
from pathlib import Path

from .dataset import Data
from .files import get_files
from .images import ImageFiles
from .labels import Vocabulary, parent_label
from .normalise import Normalise
from .splitters import Splitter, grandparent_splitter
from .transforms import Convert, Resize, ToByteTensor, ToFloatTensor, Transform

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
# Channel statistics of ImageNet's training part in [0, 1], as they are usually given.
IMAGENET = Normalise((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def load_folder(
    path: str | Path,
    *,
    size: int | tuple[int, int] | None = 128,
    transforms: Sequence[Transform] = (),
    normalise: Normalise | None = IMAGENET,
    mode: str = "RGB",
    splitter: Splitter | None = None,
    label: Callable[[Path], str] = parent_label,
    extensions: Sequence[str] = EXTENSIONS,
    name: str | None = None,
) -> Data:
    """The images below a folder, by default laid out as `train/CLASS/…` and `valid/CLASS/…`.

    They are resized to `size` (None leaves them) and read when a batch wants them. `transforms` are
    for the training part alone, such as `RandomFlip()`; each runs where its `order` puts it, and a
    plain function right after the conversion to `mode`. Without `normalise` inputs are in [0, 1].

    The classes are those of the training part, sorted.

    Raises:
        FileNotFoundError, NotADirectoryError: `path` is no folder.
        ImportError: Pillow is not installed.
        ValueError: there are no images, a part is empty, a held-out label is not among the classes,
            or the first held-out image is damaged.
    """
    root = Path(path).expanduser()
    who = name or root.name
    files = get_files(root, extensions)
    if not files:
        raise ValueError(f"{who}: no images ({' '.join(extensions)}) below {root}")
    parts = (splitter or grandparent_splitter())(files)
    for part, found in zip(("train", "valid"), parts, strict=True):
        if not found:
            raise ValueError(f"{who}: the {part} part of the {len(files):,} images is empty")
    train_labels, valid_labels = ([label(file) for file in part] for part in parts)
    vocab = Vocabulary.of(train_labels)
    resize: list[Transform] = [] if size is None else [Resize(size)]
    last = ToFloatTensor() if normalise is None else ToByteTensor()
    basic = [Convert(mode), *resize, last]
    train, valid = (
        ImageFiles(part, map(vocab.number, labels, part), steps, whole=normalise)
        for part, labels, steps in zip(
            parts, (train_labels, valid_labels), ([*basic, *transforms], basic), strict=True
        )
    )
    return Data(
        name=who,
        train=train,
        valid=valid,
        shape=tuple(valid[0][0].shape),  # drawn from the part without random transforms
        description=f"{who}: {len(train):,} train / {len(valid):,} held-out images",
        vocab=vocab.names,
    )
