"""A benchmark's results as a table for a terminal of 100 columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..train.table import table

# fmt: off
HEADER = ("", "threads", "ms", "middle half", "x ours", "x bound", "first +ms", "memory")
LEGEND = (
    "ms: median of a step, with the better number of threads; middle half: its quartiles. x ours: "
    "over\nthe first row's time, so that above 1 ours is faster. x bound: over the time that the "
    "step's bytes\ntake x.add_(y). first +ms: what the first step of a process takes longer. "
    "memory: the most that\na step takes beside parameters, gradients and state, of the "
    "parameters' bytes."
)
# fmt: on


def as_text(report: dict[str, Any]) -> str:
    """The whole report for people."""
    rows: list[dict[str, Any]] = report["results"]
    works = list(dict.fromkeys((row["shapes"], row["dtype"]) for row in rows))
    parts = [section([row for row in rows if (row["shapes"], row["dtype"]) == w]) for w in works]
    return "\n\n".join([*parts, LEGEND, footer(report)])


def section(rows: Sequence[dict[str, Any]]) -> str:
    """All jobs on one work."""
    lines: list[list[str]] = []
    for row in rows:
        lines.append([heading(row), *[""] * (len(HEADER) - 1)])
        lines += [way_line(way) for way in row["ways"]]
    notes = [f"{row['optimizer']}: {note}" for row in rows for note in row["notes"]]
    return "\n".join([title(rows), "", table(HEADER, lines), *grouped(notes)])


def title(rows: Sequence[dict[str, Any]]) -> str:
    """The work in one line, as the largest job has it."""
    row = max(rows, key=lambda each: each["parameters"])
    return (
        f"{row['shapes']}, {row['dtype']}, {row['device']}: {row['tensors']} tensors, "
        f"{row['parameters'] / 1e6:.3g} M parameters; x.add_(y) moves "
        f"{row['bandwidth_gb_s']:.3g} GB/s"
    )


def heading(row: dict[str, Any]) -> str:
    """The job's name, marked where the machine was busy."""
    return row["optimizer"] + (" (NOISY)" if row["noisy"] else "")


def way_line(way: dict[str, Any]) -> list[str]:
    """One way's cells."""
    low, high = way["quartiles_ms"]
    extra, share = way["first_step_extra_ms"], way["peak_over_parameters"]
    engine = way["engine"]
    return [
        f"  {way['way']}" + (f" ({engine})" if engine and engine not in way["way"] else ""),
        str(way["threads"]),
        digits(way["ms"]),
        f"{digits(low)} - {digits(high)}",
        times(way["times_ours"]),
        times(way["times_bound"]),
        "" if extra is None else f"{extra:.0f}",
        "" if share is None else f"{share:.1%}",
    ]


def digits(value: float) -> str:
    """Three digits, never in powers of ten.

    >>> digits(0.29123), digits(18.2491), digits(1234.4)
    ('0.291', '18.2', '1234')
    """
    decimals = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    return f"{value:.{decimals}f}"


def times(value: float | None) -> str:
    """A factor, or nothing."""
    return "" if value is None else f"{value:.2f}"


def grouped(notes: Sequence[str]) -> list[str]:
    """Notes under a table, each once: what is the same for several jobs names them all."""
    jobs: dict[str, list[str]] = {}
    for note in notes:
        job, _, words = note.partition(": ")
        jobs.setdefault(words, []).append(job)
    return [f"  {', '.join(named)}: {words}" for words, named in jobs.items()]


def footer(report: dict[str, Any]) -> str:
    """The machine and the run."""
    return "\n".join([machine_line(report["machine"]), run_line(report)])


def machine_line(machine: dict[str, Any]) -> str:
    """What it ran on, in one line."""
    device = "" if machine["device"] == "cpu" else f", {machine['device']}"
    compiler = f", llvmlite {machine['llvmlite']}" if machine["llvmlite"] else ""
    return (
        f"{machine['processor']}, {machine['cores']} cores{device}; torch {machine['torch']}"
        f"{compiler}, Python {machine['python']}"
    )


def run_line(report: dict[str, Any]) -> str:
    """How it ran, in one line."""
    load = report["load"]
    shown = "" if load["start"] is None else f", load {load['start'][0]} to {load['end'][0]}"
    threads = " or ".join(map(str, report["threads"]))
    marked = "; NOISY: the machine was busy" if report["noisy"] else ""
    return f"{report['rounds']} rounds in turn, {threads} threads{shown}{marked}"
