"""Pictures of the tutorials: every matplotlib figure that a block binds to a name is saved."""

import random
from typing import Any

import torch

DPI = 110
THREADS = torch.get_num_threads()  # a tutorial may ask for fewer
SAVED = "figures saved"  # a key that no Python name can be


def save_figures(block: Any, block_vars: dict[str, Any], gallery_conf: Any) -> str:
    """Save the figures that are new since the last block; returns what shows them on the page."""
    from matplotlib import pyplot
    from matplotlib.figure import Figure
    from sphinx_gallery.scrapers import figure_rst

    names = block_vars["example_globals"]
    saved = names.setdefault(SAVED, [])
    paths = []
    for value in list(names.values()):
        if isinstance(value, Figure) and not any(value is each for each in saved):
            paths.append(next(block_vars["image_path_iterator"]))
            value.savefig(paths[-1], dpi=DPI)
            saved.append(value)
            pyplot.close(value)
    return figure_rst(paths, gallery_conf["src_dir"])


def repeatable(gallery_conf: Any, name: str) -> None:
    """Start every tutorial from the same random numbers and the same style of pictures."""
    import matplotlib

    matplotlib.rcdefaults()
    matplotlib.use("agg")
    matplotlib.rcParams["figure.constrained_layout.use"] = True
    torch.set_num_threads(THREADS)
    random.seed(0)
    torch.manual_seed(0)
