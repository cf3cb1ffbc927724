"""`steppers compare`: one network, several optimizers, a table, pictures and a page."""

import argparse
from collections.abc import Sequence

from ..train.experiments import compare
from ..train.experiments.comparison import OPTIMIZERS
from ..train.spec import split_specs
from .options import (
    add_report_flag,
    add_training_flags,
    check_out,
    finish,
    progress_kind,
    read_setup,
    refuse_rest,
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    listed = ",".join(OPTIMIZERS)
    text = f"like 'AdamW,lion(lr=1e-3),torch.SGD'; default: {listed}"
    parser.add_argument("--optimizers", metavar="LIST", default=listed, help=text)
    parser.add_argument("--lr", type=float, help="for all of them, instead of each one's own")
    text = "train each at each of these rates, like 1e-3,1e-2"
    parser.add_argument("--lrs", type=numbers, default=(), metavar="LIST", help=text)
    add_report_flag(parser, "runs/compare")
    add_training_flags(parser)


def numbers(text: str) -> tuple[float, ...]:
    """Numbers between commas."""
    try:
        found = tuple(float(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"wants numbers like 1e-3,1e-2, got {text!r}") from None
    if len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"wants each rate once, got {text!r}")
    return found


def run(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Train the same network with several optimizers, from the same weights and batches."""
    refuse_rest(args, rest)
    if args.lr is not None and args.lrs:
        raise ValueError("compare: --lr is one rate for all and --lrs are several; give one")
    setup, entries = read_setup(args), split_specs(args.optimizers)
    check_out(args.out)
    result = compare(
        entries,
        setup,
        lrs=args.lrs,
        hypers={} if args.lr is None else {"lr": args.lr},
        seed=args.seed or 0,
        seeds=args.seeds or 1,
        show=progress_kind(args),
    )
    return finish(result, args)
