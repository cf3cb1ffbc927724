"""`steppers find-lr`: the learning-rate finder on a task."""

import argparse
from collections.abc import Sequence

from ..train.experiments import find_lr
from ..train.experiments.optimizers import read_hypers, read_spec
from .options import add_report_flag, add_task_flags, check_out, finish, read_setup, whole_number


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.epilog = "Every hyper of the optimizer is a flag too: --weight-decay 0.1"
    add = parser.add_argument
    add("--optimizer", metavar="NAME", default="AdamW", help="default: AdamW")
    add("--start-lr", type=float, default=1e-7, metavar="LR", help="default: 1e-7")
    add("--end-lr", type=float, default=10.0, metavar="LR", help="default: 10")
    add("--num-it", type=whole_number(6), default=100, metavar="N", help="steps; default: 100")
    add_report_flag(parser, "runs/find-lr")
    add_task_flags(parser)


def run(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Raise the learning rate step by step, and say which rates look good."""
    setup = read_setup(args)
    found, _ = read_spec(args.optimizer)
    hypers = read_hypers(found, rest, args.flags)
    check_out(args.out)
    result = find_lr(
        args.optimizer,
        setup,
        hypers=hypers,
        seed=args.seed or 0,
        start_lr=args.start_lr,
        end_lr=args.end_lr,
        num_it=args.num_it,
    )
    return finish(result, args)
