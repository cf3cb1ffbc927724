"""What commands share: the parser, flags, what they print."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from ..train.experiments import Setup, check_folder, write_report
from ..train.experiments.plans import SCHEDULES
from ..train.experiments.results import Result, Table
from ..train.experiments.settings import PRECISIONS, TASK
from ..train.progress import Kind
from ..train.spec import nearest
from ..train.strict_json import to_json
from ..train.table import table
from ..train.tasks import TASKS, find_task

__all__ = ["Parser", "refuse_rest", "to_json"]


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is a ValueError, and flags are written out in full."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def add_task_flags(parser: argparse.ArgumentParser) -> None:
    """What every experiment has. A flag that is not given is None: --resume has to know."""
    add = parser.add_argument
    add("--task", metavar="NAME", help=f"{', '.join(TASKS)} (default: {TASK})")
    add("--data", metavar="FOLDER", help="where the task's data is; default: the cache")
    add("--batch-size", type=whole_number(1), metavar="N", help="default: the task's")
    add("--seed", type=whole_number(0), metavar="S", help="of split, weights and order; default: 0")
    add("--workers", type=whole_number(0), metavar="N", help="processes that load data; default: 0")
    add("--device", metavar="NAME", help="like cpu or cuda; default: cpu")
    add("--threads", type=whole_number(1), metavar="N", help="of torch; default: the task's")


def add_training_flags(parser: argparse.ArgumentParser) -> None:
    """What train, compare and sweep share."""
    add_task_flags(parser)
    add = parser.add_argument
    add("--epochs", type=whole_number(1), metavar="N", help="default: the task's")
    add("--seeds", type=whole_number(1), metavar="N", help="that many, from --seed on; default: 1")
    add("--schedule", choices=SCHEDULES, help="of lr; default: what suits the optimizer")
    add("--clip", type=float, metavar="NORM", help="clip gradients to this global norm")
    add("--accumulate", type=whole_number(1), metavar="N", help="batches for each step; default: 1")
    add("--precision", choices=PRECISIONS, help="mixed precision")
    add("--ema", type=float, metavar="DECAY", help="judge an average of the weights")
    add("--label-smoothing", type=float, metavar="SHARE", help="default: 0")
    add("--mixup", type=float, metavar="ALPHA", help="default: 0, none")
    add("--quiet", action="store_true", help="no progress")
    add("--bar", action="store_true", help="a progress bar even where stderr is no terminal")


def add_report_flag(parser: argparse.ArgumentParser, default: str | None) -> None:
    """The folder of the report."""
    text = f"folder of the report; default: {default or 'none is written'}"
    parser.add_argument("--out", metavar="FOLDER", type=Path, default=default, help=text)


def whole_number(least: int) -> Callable[[str], int]:
    """A reader of whole numbers from `least` to 2^32 - 1, as seeds of scikit-learn are."""

    def read(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) < 2**32:
            raise argparse.ArgumentTypeError(f"wants a whole number from {least} on, got {text!r}")
        return int(text)

    return read


def refuse_rest(args: argparse.Namespace, rest: Sequence[str]) -> None:
    """Raise ValueError for arguments that the command does not know."""
    if rest:
        name = rest[0].partition("=")[0].lstrip("-")
        raise ValueError(f"{args.command} has no option {name!r}{nearest(name, args.flags)}")


def read_setup(args: argparse.Namespace) -> Setup:
    """The setup that the flags make; ValueError for a value that is out of its range."""
    return Setup(**given(args))


def given(args: argparse.Namespace) -> dict[str, Any]:
    """The parts of a setup that flags were given for."""
    names = [one.name for one in fields(Setup)]
    values = {name: getattr(args, name, None) for name in names}
    find_task(args.task or TASK)
    return {name: value for name, value in values.items() if value is not None}


def progress_kind(args: argparse.Namespace) -> Kind:
    """A bar on a terminal or where forced, else lines."""
    if args.quiet:
        return "silent"
    return "bar" if args.bar or sys.stderr.isatty() else "lines"


def check_out(folder: Path | None) -> None:
    """Raise for a report that could not be written, before anything is trained."""
    if folder is not None:
        check_folder(folder)


def finish(
    result: Result, args: argparse.Namespace, *, tables: bool = True, saved: Path | None = None
) -> int:
    """Write the report, print the result and give the exit code."""
    written = None if args.out is None else write_report(result, args.out)
    places: dict[str, Any] = {"saved": str(saved)} if saved else {}
    if written is not None:
        places["pictures"] = {name: str(path) for name, path in written.pictures.items()}
        places |= {"results": str(written.figures), "report": str(written.page)}
    if args.json:
        command = {"command": args.command, "command_line": shlex.join(result.command)}
        print(to_json({**command, **result.as_dict(), **places}))
    else:
        print("\n".join(as_lines(result, tables, places)))
    return 1 if result.diverged else 0


def titled(one: Table) -> str:
    """A table below its title, if it has one, with a gap to what follows."""
    lines = table(one.header, one.rows, left=one.left)
    return f"{one.title}\n{lines}\n" if one.title else lines


def as_lines(result: Result, tables: bool, places: dict[str, Any]) -> list[str]:
    """The result for people: tables, sentences, where its files are, the data."""
    shown = [titled(one) for one in result.tables() if tables]
    pictures = [f"picture: {path}" for path in places.pop("pictures", {}).values()]
    files = [*pictures, *(f"{what}: {path}" for what, path in places.items())]
    sentences = ["", *result.sentences()] if tables else result.sentences()
    return [*shown, *sentences, *(["", *files] if files else []), result.data]
