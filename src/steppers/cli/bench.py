"""`steppers bench`: step times against torch.optim and other libraries, in turn."""

import argparse
import importlib.util
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from .. import engines
from ..bench import machine, picture, report
from ..bench.jobs import DEFAULT, Job, read_job
from ..bench.peers import LIBRARIES, UNASKED
from ..bench.run import Settings, bench
from ..bench.text import as_text
from ..bench.work import DTYPES, SHAPES, Work
from ..train.checkpoint import check_place, whole_file
from ..train.progress import progress
from ..train.spec import nearest
from .options import progress_kind, to_json, whole_number

ROUNDS, QUICK_ROUNDS = 15, 3
PROBE_NUMBERS = 1 << 25  # 128 MiB for each of x and y, four times a large cache


def add_flags(parser: argparse.ArgumentParser) -> None:
    """The command's own flags."""
    add = parser.add_argument
    text = f"like AdamW or 'SGD(momentum=0.9)'; default: {' '.join(DEFAULT)}"
    add("optimizers", metavar="OPTIMIZER", nargs="*", help=text)
    text = f"of {', '.join(SHAPES)}; default: resnet50,tiny"
    add("--shapes", metavar="LIST", default="resnet50,tiny", help=text)
    text = f"of {', '.join(DTYPES)}; default: float32"
    add("--dtype", metavar="LIST", default="float32", help=text)
    text = f"ours, of {', '.join(engines.NAMES)}; the first is compared; default: auto"
    add("--engine", metavar="LIST", default="auto", help=text)
    text = f"torch, peers or some of {', '.join(LIBRARIES)}, or none; default: torch,peers"
    add("--against", metavar="LIST", default="torch,peers", help=text)
    add("--rounds", type=whole_number(1), metavar="N", help=f"default: {ROUNDS}")
    text = "at most; torch's present number by default, and one is tried as well"
    add("--threads", type=whole_number(1), metavar="N", help=text)
    add("--device", metavar="NAME", default="cpu", help="cpu or cuda; default: cpu")
    text = f"{QUICK_ROUNDS} rounds and no fresh processes: a look, not a figure to quote"
    add("--quick", action="store_true", help=text)
    add("--noisy", action="store_true", help="report from a busy machine too, marked")
    add("--out", metavar="FOLDER", type=Path, help="write NAME.json and NAME.png there")
    add("--name", metavar="NAME", default="bench", help="of the files; default: bench")
    add("--quiet", action="store_true", help="no progress")
    add("--bar", action="store_true", help="a progress bar even where stderr is no terminal")


def run(args: argparse.Namespace, rest: Sequence[str]) -> int:
    """Time steps against torch.optim and other libraries: same work, same run, in turn."""
    settings = read_settings(args, words(args, rest))
    files = places(args)
    start = machine.load()
    total = len(settings.jobs) * len(settings.works) * settings.rounds
    with progress(kind(args), total=total) as shown:
        results = bench(settings, shown)
    rows = report.result_rows(results)
    if not args.noisy:
        report.refuse_noisy(rows)
    found = {
        "command": "bench",
        "command_line": command_line(args, settings),
        "machine": machine.describe(args.device),
        "load": {"start": start, "end": machine.load()},
        **report.settings_row(settings),
        "noisy": any(row["noisy"] for row in rows),
        "results": rows,
    }
    write(files, found)
    print(to_json(found) if args.json else "\n".join([as_text(found), *map(str, files)]))
    return 1 if any(ours_failed(row) for row in rows) else 0


def words(args: argparse.Namespace, rest: Sequence[str]) -> list[str]:
    """The optimizers, wherever they stand among the flags; ValueError for an unknown flag."""
    for word in rest:
        if word.startswith("-"):
            name = word.partition("=")[0].lstrip("-")
            raise ValueError(f"{args.command} has no option {name!r}{nearest(name, args.flags)}")
    return [*args.optimizers, *rest] or list(DEFAULT)


def read_settings(args: argparse.Namespace, optimizers: Sequence[str]) -> Settings:
    """What the arguments ask for; ValueError for a name that there is not."""
    dtypes = chosen("dtype", args.dtype, DTYPES)
    shapes = chosen("shapes", args.shapes, SHAPES)
    device = checked_device(args.device)
    names = chosen("engine", args.engine, engines.NAMES)
    jobs = [read_job(text) for text in dict.fromkeys(optimizers)]
    for job in jobs:
        try_out(job, names)
    most = args.threads or torch.get_num_threads()
    counts = (most,) if device.startswith("cuda") else tuple(dict.fromkeys((1, most)))
    return Settings(
        jobs=jobs,
        works=[Work(s, tuple(SHAPES[s]()), dtype, device) for s in shapes for dtype in dtypes],
        engines=names,
        against=opponents(args.against),
        rounds=args.rounds or (QUICK_ROUNDS if args.quick else ROUNDS),
        threads=counts,
        fresh=not args.quick,
        probe_numbers=PROBE_NUMBERS,
    )


def chosen(kind: str, text: str, known: Iterable[str]) -> list[str]:
    """The names in a list with commas, each once; ValueError with the nearest for another."""
    names = list(dict.fromkeys(text.split(",")))
    for name in names:
        if name not in known:
            hint = nearest(name, known) or f"; there are {', '.join(known)}"
            raise ValueError(f"--{kind}: there is no {name!r}{hint}")
    return names


def opponents(text: str) -> list[str]:
    """Whom ours is compared with; `peers` are all libraries that do not compile."""
    names = chosen("against", text, ("torch", "peers", "none", *LIBRARIES))
    if "none" in names and len(names) > 1:
        raise ValueError(f"--against: none stands alone, got {text!r}")
    every = [x for name in names for x in (UNASKED if name == "peers" else (name,))]
    return [name for name in dict.fromkeys(every) if name != "none"]


def checked_device(name: str) -> str:
    """The device's name; ValueError for an unknown one, RuntimeError where CUDA is missing."""
    kind = name.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"--device: there is no {name!r}{nearest(kind, ['cpu', 'cuda'])}")
    if kind == "cuda" and not torch.cuda.is_available():
        raise RuntimeError(f"--device {name}: this torch sees no CUDA device; leave --device out")
    return name


def try_out(job: Job, names: Sequence[str]) -> None:
    """Make ours for a small matrix, so that wrong hypers are said before anything is timed."""
    for name in names:
        try:
            job.ours([torch.nn.Parameter(torch.zeros(4, 3))], name)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{job.label}: {error}") from error


def places(args: argparse.Namespace) -> list[Path]:
    """The files to write, or none; raises now for what would only fail at the end."""
    if args.out is None:
        return []
    picture.check_available()
    files = [args.out / f"{args.name}.{ending}" for ending in ("json", "png")]
    for file in files:
        check_place(file)
    return files


def kind(args: argparse.Namespace) -> Any:
    """A bar on a terminal that tqdm is there for, else lines; an error where one is asked for."""
    wanted = progress_kind(args)
    if wanted == "bar" and not args.bar and importlib.util.find_spec("tqdm") is None:
        return "lines"
    return wanted


def command_line(args: argparse.Namespace, settings: Settings) -> str:
    """The command with every number that decides, defaults too, to run it again."""
    said = [
        *(job.label for job in settings.jobs),
        *("--shapes", args.shapes, "--dtype", args.dtype, "--engine", args.engine),
        *("--against", args.against, "--rounds", str(settings.rounds)),
        *("--threads", str(max(settings.threads)), "--device", args.device),
        *(["--quick"] if args.quick else []),
        *(["--noisy"] if args.noisy else []),
    ]
    return shlex.join(["steppers", "bench", *said])


def write(files: Sequence[Path], found: dict[str, Any]) -> None:
    """The report as JSON and as a picture, whole or not at all."""
    if not files:
        return
    contents = to_json(found).encode() + b"\n", picture.bars_png(found)
    for path, content in zip(files, contents, strict=True):
        with whole_file(path) as file:
            file.write(content)


def ours_failed(row: dict[str, Any]) -> bool:
    """Whether ours is missing among the ways."""
    return all(way["family"] != "steppers" for way in row["ways"])
