"""`steppers explain`: what an optimizer does, in its own formulas."""

import argparse
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import nn

from ..optimizer import Optimizer
from ..train.experiments.optimizers import read_hypers, read_spec, value_errors
from .options import to_json


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    parser.epilog = "Every hyper of the optimizer is a flag too: explain AdamW --amsgrad"
    parser.add_argument("optimizer", metavar="NAME", help="like Lion or 'adamw(amsgrad=True)'")
    parser.add_argument("--source", action="store_true", help="print the generated source instead")


def run(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Explain one optimizer: formulas, hypers, state, bytes, engine; or print its source."""
    found, in_spec = read_spec(args.optimizer)
    if not found.ours:
        raise ValueError(f"{found.name} is torch's own: explain knows the optimizers of `list`")
    hypers: dict[str, Any] = {**in_spec, **read_hypers(found, rest, args.flags)}
    weight = nn.Parameter(torch.zeros(4, 3))
    with value_errors(found):
        optimizer = cast(Optimizer, cast(Any, found.cls)([weight], **hypers))
    if args.source:
        text = optimizer.source().rstrip()
        print(to_json({"name": found.name, "source": text}) if args.json else text)
    else:
        explanation = optimizer.explain()
        print(to_json(explanation.as_dict()) if args.json else explanation)
    return 0
