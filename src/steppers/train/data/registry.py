"""Data sets by name."""

import inspect
from collections.abc import Callable
from pathlib import Path

from ..spec import nearest
from .dataset import Data
from .digits import load_digits
from .imagefolder import load_folder
from .imagenette import load_imagenette
from .mnist import load_fashion_mnist, load_mnist
from .text import load_text

DATA: dict[str, Callable[..., Data]] = {
    "digits": load_digits,
    "mnist": load_mnist,
    "fashion-mnist": load_fashion_mnist,
    "imagenette": load_imagenette,
    "text": load_text,
    "imagefolder": load_folder,
}


def load_data(name: str = "digits", path: str | Path | None = None, **options: object) -> Data:
    """A data set by name, from the folder `path`, or from where its own function finds it.

    >>> load_data("digits", seed=1).shape
    (1, 8, 8)

    Raises:
        ValueError: there is no such name.
        TypeError: the data set has no such option, takes no path, or needs one.
        Exception: what the data set's own function raises.
    """
    if name not in DATA:
        hint = nearest(str(name), DATA) or f"; there are {', '.join(DATA)}"
        raise ValueError(f"no data set {name!r}{hint}")
    known = inspect.signature(DATA[name]).parameters
    for option in options:
        if option not in known:
            raise TypeError(f"{name} has no option {option!r}{nearest(option, known)}")
    if path is not None:
        if "path" not in known:
            raise TypeError(f"{name} comes with a package and takes no path, got {str(path)!r}")
        return DATA[name](path, **options)
    if "path" in known and known["path"].default is inspect.Parameter.empty:
        raise TypeError(f"{name} needs a folder: path=…")
    return DATA[name](**options)
