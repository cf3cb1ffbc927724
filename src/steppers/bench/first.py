"""One way in a process of its own: its first step, and the most memory that a later one takes.

`python -m steppers.bench.first` reads a JSON object on stdin and prints one as its last line.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from .jobs import all_ways, read_job
from .peers import LIBRARIES
from .timing import visitor
from .ways import Way
from .work import Work

# glibc keeps freed blocks, so that a step's peak came out at 1.1 to 6 times what torch's profiler
# saw. With these it gives them back, and the two agree to 0.01 of the parameters; but steps with
# temporaries take longer, so that a process of its own measures the peak.
RETURNING = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
LATER = 5  # steps after the first, whose median it is compared with


@dataclass(frozen=True)
class First:
    """What fresh processes saw."""

    first: float  # seconds of the first step
    later: float  # median seconds of the steps after it
    peak: int | None  # most bytes in a step beside what is there before it; None: cannot be read


def in_fresh_process(job: str, label: str, work: Work, threads: int) -> First:
    """Measure one way of a job in two other processes: its first step, and its peak.

    Raises:
        RuntimeError: a process failed, with the last line that it wrote.
    """
    asked = {"job": job, "label": label, "work": asdict(work), "threads": threads}
    seconds = answer({**asked, "peak": False}, {})
    return First(**seconds, **answer({**asked, "peak": True}, RETURNING))


def answer(asked: dict[str, Any], settings: dict[str, str]) -> dict[str, Any]:
    """What a process prints that is asked this, with more environment variables."""
    done = subprocess.run(
        [sys.executable, "-m", "steppers.bench.first"],
        input=json.dumps(asked),
        capture_output=True,
        env={**os.environ, **settings},
        text=True,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise RuntimeError(f"in a fresh process: {said[-1]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Read what to measure, measure it, print it."""
    asked: dict[str, Any] = json.load(sys.stdin)
    given: dict[str, Any] = asked["work"]
    shapes = tuple(tuple(shape) for shape in given["shapes"])
    work = Work(given["name"], shapes, given["dtype"], given["device"])
    torch.set_num_threads(asked["threads"])
    step = find(asked["job"], asked["label"]).make(work.parameters()).step
    print(json.dumps(peak_of(step, work) if asked["peak"] else seconds_of(step, work)))


def seconds_of(step: Callable[[], object], work: Work) -> dict[str, float]:
    """The first step, and the median of some later ones."""
    visit = visitor(work.device)
    first, *later = [visit(step, 1) for _ in range(1 + LATER)]
    return {"first": first, "later": statistics.median(later)}


def peak_of(step: Callable[[], object], work: Work) -> dict[str, int | None]:
    """The peak of a step after some others."""
    for _ in range(LATER):
        step()
    return {"peak": peak(step, work.device)}


def find(job: str, label: str) -> Way:
    """The way of that name; an engine's name stands in it."""
    engine = label.removeprefix("steppers").strip() if label.startswith("steppers") else ""
    ways, _ = all_ways(read_job(job), [engine or "auto"], ["torch", *LIBRARIES])
    found = next((way for way in ways if way.label == label), None)
    if found is None:
        raise ValueError(f"{job} has no way {label!r}; it has {', '.join(w.label for w in ways)}")
    return found


def peak(step: Callable[[], object], device: str) -> int | None:
    """Most bytes in a step beside what is held before it."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    try:
        settle()
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
        step()
        return max(0, resident("VmHWM") - before)
    except OSError:  # not Linux, or not allowed
        return None


def settle() -> None:
    """Give free memory back to the system, so that using it again counts."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it
    if trim is not None:
        trim(0)


def resident(field: str) -> int:
    """A field of this process's status, in bytes."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(field + ":"):
            return 1024 * int(line.split()[1])
    raise OSError(f"no {field} in /proc/self/status")


if __name__ == "__main__":
    main()
