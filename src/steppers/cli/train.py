"""`steppers train`: one optimizer on one task, saved and taken up again."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..train import checkpoint
from ..train.callbacks.checkpoint import FORMAT, PARTS, Checkpoint
from ..train.experiments import Settings, train
from ..train.experiments.callbacks import Stated
from ..train.experiments.optimizers import read_hypers, read_spec
from ..train.experiments.runs import Row
from ..train.experiments.settings import Contender, enter, from_dict
from ..train.progress import say
from ..train.table import row_of
from .options import (
    add_report_flag,
    add_training_flags,
    check_out,
    finish,
    given,
    progress_kind,
    read_setup,
    whole_number,
)

OPTIMIZER = "AdamW"
HEADER = ("epoch", "step", "train loss", "held-out loss")
# What a run that is taken up again may change.
FREE = ("data", "workers", "threads", "device", "epochs")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.epilog = "Every hyper of the optimizer is a flag too: --lr 3e-4 --betas 0.9,0.95"
    add = parser.add_argument
    add("--optimizer", metavar="NAME", help=f"ours, or torch.optim's as torch.SGD ({OPTIMIZER})")
    add("--save", metavar="FILE", type=Path, help="write a checkpoint here after every epoch")
    add("--every", metavar="N", type=whole_number(1), help="and after every N batches")
    add("--resume", metavar="FILE", type=Path, help="take up the run in this checkpoint")
    text = "train again for the task's other held-out part; default: where --seeds is above 1"
    add("--other", action=argparse.BooleanOptionalAction, help=text)
    add_report_flag(parser, None)
    add_training_flags(parser)


def run(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Train one optimizer; every hyper of it is a flag."""
    many = (args.seeds or 1) > 1
    if many and (args.save or args.resume):
        raise ValueError("train: a checkpoint is of one run; leave --seeds out")
    if args.every and not (args.save or args.resume):
        raise ValueError("train: --every says how often to --save; give a file")
    check_out(args.out)
    contender, seed, cbs = resumed(args, rest) if args.resume else begun(args, rest)
    kind = progress_kind(args)
    result = train(
        contender,
        seed=seed,
        seeds=args.seeds or 1,
        other=args.other,
        show="bar" if kind == "bar" else "silent",
        on_row=Rows(many) if not args.json else in_lines if kind == "lines" else None,
        cbs=cbs,
    )
    code = finish(result, args, tables=many, saved=args.save or args.resume)
    for error in result.trial.errors[:1]:
        print(f"steppers: {error}", file=sys.stderr)
    return code


def begun(args: argparse.Namespace, rest: Sequence[str]) -> tuple[Contender, int, list[Checkpoint]]:
    """A new run, as the command line has it."""
    setup = read_setup(args)
    found, _ = read_spec(args.optimizer or OPTIMIZER)
    hypers = read_hypers(found, rest, args.flags)
    contender = enter(args.optimizer or OPTIMIZER, setup, hypers)
    if not args.save:
        return contender, args.seed or 0, []
    checkpoint.check_place(args.save)
    return contender, args.seed or 0, [Checkpoint(args.save, args.every)]


def resumed(
    args: argparse.Namespace, rest: Sequence[str]
) -> tuple[Contender, int, list[Checkpoint]]:
    """The run in a checkpoint, which goes on in --save's file or in its own.

    Raises:
        ValueError: what is given as well does not agree with it, or the file is no good.
    """
    saved = checkpoint.read(args.resume, FORMAT, PARTS)
    if Stated.KEY not in saved["callbacks"]:
        raise ValueError(f"{args.resume} was not written by steppers train --save")
    try:
        settings = from_dict(saved["callbacks"][Stated.KEY])
    except ValueError as error:
        raise ValueError(f"{args.resume}: {error}") from error
    agree(args, rest, settings)
    new = with_free(args, settings)
    done = saved["position"]["epoch"]
    if (new.setup.epochs or 0) < done:
        raise ValueError(
            f"{args.resume} has {done} epochs behind it, --epochs {args.epochs} is less"
        )
    target: Path = args.save or args.resume
    checkpoint.check_place(target)
    go_on(target, saved, new, args)
    contender = Contender(new.optimizer, new.found, new.hypers, new.setup)
    return contender, new.seed, [Checkpoint(target, args.every, resume=True)]


def agree(args: argparse.Namespace, rest: Sequence[str], settings: Settings) -> None:
    """Raise ValueError where something is given that is not what the checkpoint has."""
    found, own = read_spec(args.optimizer or settings.optimizer)
    wanted: dict[str, Any] = {**own, **read_hypers(found, rest, args.flags)}
    refuse(args.resume, "optimizer", settings.optimizer, found.name)
    refuse(args.resume, "seed", settings.seed, settings.seed if args.seed is None else args.seed)
    for key, value in given(args).items():
        if key not in FREE:
            refuse(args.resume, key, getattr(settings.setup, key), value)
    for key, value in wanted.items():
        refuse(args.resume, key, {**found.defaults, **settings.hypers}[key], value)


def refuse(path: Path, key: str, saved: object, wanted: object) -> None:
    """Raise ValueError for a value that is not the checkpoint's."""
    if saved != wanted:
        raise ValueError(f"{path} is of a run with {key} {saved}, not {wanted}; begin a new one")


def with_free(args: argparse.Namespace, settings: Settings) -> Settings:
    """Settings with what may change; --epochs only where no schedule depends on it."""
    setup = settings.setup
    if setup.schedule != "none" and args.epochs not in (None, setup.epochs):
        raise ValueError(
            f"{args.resume} is of a run with epochs {setup.epochs}, not {args.epochs}, on a "
            f"{setup.schedule} schedule; begin a new one (--schedule none can be prolonged)"
        )
    free = {key: value for key, value in given(args).items() if key in FREE}
    return replace(settings, setup=replace(setup, **free))


def go_on(path: Path, saved: dict[str, Any], settings: Settings, args: argparse.Namespace) -> None:
    """Have the checkpoint where the run goes on, with the settings that it goes on with."""
    position = {**saved["position"], "n_epochs": settings.setup.epochs}
    stated = {**saved["callbacks"], Stated.KEY: settings.as_dict()}
    if path != args.resume or position != saved["position"]:
        checkpoint.write(path, FORMAT, {**saved, "position": position, "callbacks": stated})


class Rows:
    """Prints a row for each epoch, under a header that comes with the first."""

    def __init__(self, many: bool) -> None:
        self.many = many
        self.widths: list[int] = []

    def __call__(self, settings: Settings, row: Row) -> None:
        if not self.widths:
            words = [*(["seed"] if self.many else []), *HEADER, settings.task.score.name, "seconds"]
            self.widths = [len(word) for word in words]
            say(row_of(words, self.widths, left=0))
        seed = [str(settings.seed)] if self.many else []
        say(row_of([*seed, *cells(settings, row)], self.widths, left=0))


def in_lines(settings: Settings, row: Row) -> None:
    """A line for an epoch on stderr, beside JSON on stdout."""
    score = settings.task.score
    line = f"epoch {row['epoch']}/{settings.setup.epochs}: {score.show(row[score.name])}"
    print(line, file=sys.stderr, flush=True)


def cells(settings: Settings, row: Row) -> list[str]:
    """One line of the table that grows."""
    score = settings.task.score
    return [
        str(row["epoch"]),
        str(row["step"]),
        f"{row['train_loss']:.4f}",
        f"{row['loss']:.4f}",
        score.show(row[score.name]),
        f"{row['seconds']:.2f}",
    ]
