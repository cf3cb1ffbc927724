"""A benchmark's results as plain data: what JSON holds, and what the table and picture show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from . import bounds
from .run import Lane, Result, Settings, best_bandwidth, noisy
from .timing import Times, slow_share

FAR_UNDER = "x.add_(y) was more than 1.5 times slower than its best in more than half of the rounds"


def settings_row(settings: Settings) -> dict[str, Any]:
    """How it was measured."""
    return {
        "rounds": settings.rounds,
        "threads": list(settings.threads),
        "engines": list(settings.engines),
        "against": list(settings.against),
        "probe_numbers": settings.probe_numbers,
    }


def result_rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    """One row for each job on each work."""
    best = best_bandwidth(results)
    return [result_row(result, best) for result in results]


def result_row(result: Result, best: float) -> dict[str, Any]:
    """One job on one work, with the ratios that it comes to."""
    ours = next((lane for lane in result.lanes if lane.way.family == "steppers"), None)
    bandwidth = middle(result.bandwidths)
    return {
        "optimizer": result.job.label,
        "shapes": result.work.name,
        "dtype": result.work.dtype,
        "device": result.work.device,
        "tensors": len(result.work.shapes),
        "parameters": result.work.numbers,
        "bandwidth_gb_s": bandwidth / 1e9,
        "bandwidth_gb_s_by_round": [each / 1e9 for each in result.bandwidths],
        "slow_rounds": slow_share(result.bandwidths, best),
        "noisy": noisy(result, best),
        "ratio_to_torch": ratio(ours, result.of("torch")),
        "ratio_to_peers": ratio(ours, result.of("peer")),
        "ways": [way_row(lane, ours, result, bandwidth) for lane in result.lanes],
        "notes": result.notes,
    }


def middle(values: Sequence[float]) -> float:
    """The median, for a bandwidth."""
    return sorted(values)[len(values) // 2]


def ratio(ours: Lane | None, others: Sequence[Lane]) -> float | None:
    """Our time over the best of the others': under 1 is faster. None where one is missing."""
    return ours.best.median / others[0].best.median if ours and others else None


def way_row(lane: Lane, ours: Lane | None, result: Result, bandwidth: float) -> dict[str, Any]:
    """One way: its times, and of ours how far they are from the bound."""
    best = lane.best
    limit = None if lane.moved is None else bounds.bound(lane.moved, bandwidth)
    return {
        "way": lane.way.label,
        "family": lane.way.family,
        "version": lane.way.version or None,
        "engine": lane.engine,
        **times_row(best),
        "by_threads": [times_row(each) for each in lane.times],
        "times_ours": best.median / ours.best.median if ours else None,
        "bytes_per_step": lane.moved,
        "bound_ms": None if limit is None else 1e3 * limit,
        "times_bound": None if limit is None else best.median / limit,
        **first_row(lane, result),
    }


def times_row(times: Times) -> dict[str, Any]:
    """Milliseconds with so many threads."""
    low, high = times.quartiles
    return {
        "threads": times.threads,
        "ms": 1e3 * times.median,
        "quartiles_ms": [1e3 * low, 1e3 * high],
        "rounds": len(times.seconds),
    }


def first_row(lane: Lane, result: Result) -> dict[str, Any]:
    """What a fresh process saw, or nothing."""
    seen = lane.first
    peak = None if seen is None else seen.peak
    return {
        "first_step_ms": None if seen is None else 1e3 * seen.first,
        "first_step_extra_ms": None if seen is None else 1e3 * (seen.first - seen.later),
        "peak_bytes": peak,
        "peak_over_parameters": None if peak is None else peak / result.work.bytes,
    }


def refuse_noisy(rows: Sequence[dict[str, Any]]) -> None:
    """Raise RuntimeError if the machine was too busy for one of the rows to mean something."""
    bad = [f"{row['optimizer']} on {row['shapes']} {row['dtype']}" for row in rows if row["noisy"]]
    if bad:
        raise RuntimeError(
            f"the machine was too busy to report {', '.join(bad)}: {FAR_UNDER}; run it on a quiet "
            "machine, or give --noisy to see the figures marked"
        )
