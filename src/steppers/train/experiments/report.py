"""The report of an experiment: a folder with the figures, the pictures and a page of both."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import plots
from ..checkpoint import check_place, whole_file
from ..strict_json import to_json
from .html import page
from .results import Result, versions

FIGURES, PAGE = "report.json", "index.html"
PICTURES = (
    "curves",
    "rates",
    "sweep",
    "accuracies",
    "game",
    "epochs",
)  # every name that a result may give one


@dataclass(frozen=True)
class Written:
    """Where the parts of a report are."""

    page: Path
    figures: Path
    pictures: dict[str, Path]


def check_folder(folder: Path) -> None:
    """Raise unless a report can be written into a folder, which is made.

    To be called before training, which would be for nothing.

    Raises:
        ValueError: the folder cannot be made or written to, or a file's name is taken by a folder.
        ImportError: matplotlib is not installed.
    """
    for name in (FIGURES, PAGE, *(f"{picture}.png" for picture in PICTURES)):
        check_place(folder / name)
    plots.check_available("a report with pictures")


def write_report(result: Result, folder: str | Path) -> Written:
    """Write report.json, a PNG for each picture, and index.html, which opens by itself.

    Each file is whole or not there; the page is the last.

    Raises:
        ValueError, ImportError: as `check_folder` says.
    """
    folder = Path(folder)
    check_folder(folder)
    drawn, ran_with = result.pictures(), versions()
    files = {name: folder / f"{name}.png" for name in drawn}
    write(folder / FIGURES, to_json(figures(result, ran_with)).encode() + b"\n")
    for name, path in files.items():
        write(path, drawn[name])
    write(folder / PAGE, page(result, drawn, ran_with).encode())
    return Written(folder / PAGE, folder / FIGURES, files)


def figures(result: Result, ran_with: dict[str, str]) -> dict[str, Any]:
    """All that report.json holds."""
    command = result.command
    return {
        "command": command[1],
        "command_line": shlex.join(command),
        "versions": ran_with,
        **result.as_dict(),
        "curves": result.curves(),
    }


def write(path: Path, content: bytes) -> None:
    """Write a whole file or none."""
    with whole_file(path) as file:
        file.write(content)
