"""All commands under one parser, and what becomes of their errors."""

import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from .. import __version__
from ..train.spec import nearest
from . import bench, compare, experiment, explain, find_lr, list_optimizers, sweep, train
from .options import Parser

COMMANDS = {
    "compare": compare,
    "train": train,
    "sweep": sweep,
    "find-lr": find_lr,
    "experiment": experiment,
    "list": list_optimizers,
    "explain": explain,
    "bench": bench,
}


def entry() -> NoReturn:
    """The console script."""
    sys.exit(main())


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. 0: fine; 1: the run failed; 2: bad usage or input, in one line on stderr."""
    try:
        code = run(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # here, where a closed pipe is caught
        return code
    except SystemExit as done:  # --help and --version
        return int(done.code or 0)
    except KeyboardInterrupt:
        return complain("interrupted; files saved before are whole", 130)  # 128 + SIGINT
    except BrokenPipeError:  # `steppers list | head`: nobody reads on, and nothing more to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:
        return complain(error, 2)
    except (ArithmeticError, ImportError, OSError, RuntimeError) as error:
        return complain(error, 1)


def complain(error: object, code: int) -> int:
    """Print an error in one line and return the exit code."""
    print(f"steppers: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def run(argv: list[str]) -> int:
    """Parse and run; ValueError for whatever the command line has wrong."""
    if argv and not argv[0].startswith("-") and argv[0] not in COMMANDS:
        raise ValueError(f"no command {argv[0]!r}{nearest(argv[0], COMMANDS) or one_of_them()}")
    args, rest = parser().parse_known_args(argv)
    if args.command is None:
        raise ValueError(f"a command is wanted{one_of_them()}")
    return COMMANDS[args.command].run(args, rest)


def one_of_them() -> str:
    """The commands, to end an error with."""
    return f"; there are {', '.join(COMMANDS)}"


def parser() -> Parser:
    """The parser of all commands. `args.flags` are the flags of the one that was chosen."""
    top = Parser(prog="steppers", description="PyTorch optimizers as short lists of functions.")
    top.add_argument("--version", action="version", version=f"steppers {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND")
    for name, module in COMMANDS.items():
        words = (module.run.__doc__ or "").partition("\n")[0]
        command = commands.add_parser(name, help=words, description=words)
        command.add_argument("--json", action="store_true", help="print JSON instead of text")
        module.add_flags(command)
        command.set_defaults(flags=re.findall(r"--([\w-]+)", command.format_usage()))
    return top
