"""The 1,797 handwritten digits of 8x8 pixels that scikit-learn carries (UCI's test part)."""

import torch

from ..extras import missing
from .batched import TensorData
from .dataset import Data

CLASSES = tuple("0123456789")


def load_digits(*, seed: int = 0, by_writer: bool = False) -> Data:
    """The digits, inputs (1, 8, 8) scaled to [-1, 1], with a fifth held out.

    That is a random 20 % of each class, as scikit-learn's `train_test_split` draws it by `seed`, so
    that anybody can repeat it. With `by_writer` it is the last fifth of the file in its own order,
    and the seed has no effect: the samples lie in the order of writers, so these are mostly by
    writers not seen in training. The file has no column that names the writer.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    try:
        from sklearn import datasets
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise missing("scikit-learn", "the digits data set") from error
    pixels, labels = datasets.load_digits(return_X_y=True)
    if by_writer:
        cut = len(labels) * 4 // 5
        parts = pixels[:cut], pixels[cut:], labels[:cut], labels[cut:]
        how = "the last fifth of the file, mostly by other writers"
    else:
        parts = train_test_split(pixels, labels, test_size=0.2, stratify=labels, random_state=seed)
        how = f"stratified random 20 %, seed {seed}"
    # the pixels are 0 to 16
    train_x, valid_x = (torch.from_numpy(x).float().view(-1, 1, 8, 8) / 8 - 1 for x in parts[:2])
    train_y, valid_y = (torch.from_numpy(y).long() for y in parts[2:])
    return Data(
        name="digits",
        train=TensorData(train_x, train_y),
        valid=TensorData(valid_x, valid_y),
        shape=(1, 8, 8),
        description=(
            f"digits: scikit-learn's handwritten digits, {len(train_y):,} train / "
            f"{len(valid_y):,} held out ({how})"
        ),
        vocab=CLASSES,
    )
