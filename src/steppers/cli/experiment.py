"""`steppers experiment`: the runs of other systems' pages, done again beside what they printed."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..train.experiments import write_report
from ..train.experiments.systems import EXPERIMENTS, NAMES, How, Reruns, Source, run_experiments
from ..train.experiments.systems.counterexample import NAME as GAME
from ..train.experiments.systems.counterexample import STEPS
from ..train.experiments.systems.rows import chosen
from ..train.experiments.systems.sources import STAND_INS
from ..train.table import table
from .options import (
    add_report_flag,
    check_out,
    finish,
    progress_kind,
    refuse_rest,
    to_json,
    whole_number,
)

OTHERS = {
    "mnist-adam-speed": ("labml.ai", "labml.ai's 2 convolutions", "Adam, torch's and ours", "0.88"),
    GAME: ("labml.ai", "one number", "Adam, AMSGrad", "+1, -1"),
}
LIST = "list"
OPTIONS = ("data", "stand_in", "pixels", "epochs", "seed", "seeds", "steps", "workers", "threads")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.epilog = "Without a name, or with list, it lists the experiments."
    add = parser.add_argument
    add("names", metavar="NAME", nargs="*", help="or a pattern like 'fashion-*', or all")
    add("--data", metavar="FOLDER", type=Path, help="where the original's data is; else the cache")
    text = f"train on {', '.join(STAND_INS)} in place of the original's data, and say so"
    add("--stand-in", metavar="NAME", help=text)
    text = "side of the images that stand in for photographs; default: the network's, 32 or 64"
    add("--pixels", type=whole_number(1), metavar="N", help=text)
    add("--epochs", type=whole_number(1), metavar="N", help="default: the original's")
    add("--seed", type=whole_number(0), metavar="S", help="the first; default: 0")
    add("--seeds", type=whole_number(1), metavar="N", help="that many runs of each; default: 1")
    text = f"of {GAME}; default: {STEPS:,}"
    add("--steps", type=whole_number(1), metavar="N", help=text)
    add("--workers", type=whole_number(0), metavar="N", help="processes that load data; default: 0")
    add("--device", metavar="NAME", default="cpu", help="like cpu or cuda; default: cpu")
    add("--threads", type=whole_number(1), metavar="N", help="of torch; default: as many as it has")
    add_report_flag(parser, "runs/experiment")
    add("--quiet", action="store_true", help="no progress")
    add("--bar", action="store_true", help="a progress bar even where stderr is no terminal")


def run(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Do runs of other systems again, beside what they printed; without a name, list them."""
    names = names_of(args, rest)
    if not names and any(getattr(args, flag) is not None for flag in OPTIONS):
        raise ValueError("experiment: which experiment? name one, or all")
    if names in ([], [LIST]):
        print(to_json({"command": "experiment", "experiments": listed()}) if args.json else text())
        return 0
    if args.steps is not None and GAME not in chosen(names):
        raise ValueError(f"experiment: --steps are of {GAME}; the others have --epochs")
    how = How(args.epochs, args.threads, args.device, args.workers or 0)
    source = Source(args.data, args.stand_in, args.pixels)
    check_out(args.out)
    return finish(result_of(args, names, source, how), args)


def result_of(args: argparse.Namespace, names: Sequence[str], source: Source, how: How) -> Reruns:
    """The result; where a run is interrupted or fails, the report has what was done until then."""
    done = list[Reruns]()
    try:
        return run_experiments(
            names,
            source,
            how,
            seed=args.seed or 0,
            seeds=args.seeds or 1,
            steps=args.steps or STEPS,
            show=progress_kind(args),
            on_result=done.append,
        )
    except BaseException:
        if done:
            written = write_report(done[-1], args.out)
            print(f"what was done until then: {written.page}", file=sys.stderr)
        raise


def names_of(args: argparse.Namespace, rest: Sequence[str]) -> list[str]:
    """The names, wherever they stand among the flags; ValueError for an unknown flag."""
    refuse_rest(args, [word for word in rest if word.startswith("-")])
    return [*args.names, *rest]


def listed() -> list[dict[str, Any]]:
    """Every experiment: its system, network, optimizer and what the original printed."""
    rows = list[dict[str, Any]]()
    for name in NAMES:
        if name in EXPERIMENTS:
            one = EXPERIMENTS[name]
            end = one.end.accuracy
            printed = "-" if end is None else f"{end:.1%}"
            cells = (one.system, one.net.words, one.optimizer.words, printed)
        else:
            cells = OTHERS[name]
        keys = ("system", "net", "optimizer", "printed")
        rows.append({"experiment": name, **dict(zip(keys, cells, strict=True))})
    return rows


def text() -> str:
    """The list for people."""
    rows = listed()
    return table([*rows[0]], [[*row.values()] for row in rows], left=4)
