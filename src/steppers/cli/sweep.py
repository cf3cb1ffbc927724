"""`steppers sweep`: one optimizer over several values of one hyper."""

import argparse
from collections.abc import Sequence

from ..train.experiments import sweep
from ..train.experiments.optimizers import default_of, read_hypers, read_spec
from ..train.spec import read_value, split_specs
from .options import (
    add_report_flag,
    add_training_flags,
    check_out,
    finish,
    progress_kind,
    read_setup,
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.epilog = "Every hyper of the optimizer is a flag too: --lr 3e-4 --weight-decay 0.1"
    add = parser.add_argument
    add("--optimizer", metavar="NAME", default="AdamW", help="default: AdamW")
    add("--hyper", metavar="NAME", required=True, help="like lr, beta2, weight_decay or wd")
    add("--values", metavar="LIST", required=True, help="like .9,.99,.999")
    add_report_flag(parser, "runs/sweep")
    add_training_flags(parser)


def run(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Train one optimizer with each of several values of one hyper."""
    setup = read_setup(args)
    found, _ = read_spec(args.optimizer)
    hypers = read_hypers(found, rest, args.flags)
    default = default_of(found, args.hyper)
    values = [read_value(args.hyper, text, default) for text in split_specs(args.values)]
    check_out(args.out)
    result = sweep(
        args.optimizer,
        args.hyper,
        values,
        setup,
        hypers=hypers,
        seed=args.seed or 0,
        seeds=args.seeds or 1,
        show=progress_kind(args),
    )
    return finish(result, args)
