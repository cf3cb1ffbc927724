"""How fast a device's memory is: measured with `x.add_(y)`, two reads and a write in place."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path

import torch

MOVED = 12  # bytes an element: two floats are read and one is written
LEAST, MOST = 64 << 20, 256 << 20  # bytes of x and y together
CACHE = 32 << 20  # where the last cache's size is not to be had
TIMES = 4
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def measured(device: torch.device | str) -> float | None:
    """Bytes a second that the device moves, with torch's present number of threads.

    The first call for a device takes some 100 ms, and up to 256 MB for as long. None where nothing
    was measured: on devices other than CPU and CUDA, and where that memory is not free.
    """
    device = torch.device(device)
    threads = torch.get_num_threads() if device.type == "cpu" else 0
    return _measured(str(device), threads)


@functools.cache
def _measured(device: str, threads: int) -> float | None:
    if torch.device(device).type not in ("cpu", "cuda"):
        return None
    timed = _by_clock if device == "cpu" else functools.partial(_by_events, device=device)
    count = working_set(device) // 8
    try:
        x, y = (torch.full((count,), 1.0, dtype=torch.float32, device=device) for _ in range(2))
        best = min(timed(functools.partial(x.add_, y)) for _ in range(TIMES))
    except RuntimeError:  # out of memory
        return None
    return MOVED * count / best


def working_set(device: str) -> int:
    """Bytes of which no cache holds much, within limits.

    Three times a last cache of 32 MB measured 55 GB/s where eight times measured 33: it keeps a
    part. More is slow to get from the system: 1 ms a MB.
    """
    return min(MOST, max(LEAST, 4 * last_cache(device)))


def last_cache(device: str) -> int:
    """Bytes of the last cache before the memory."""
    if torch.device(device).type == "cuda":
        return int(getattr(torch.cuda.get_device_properties(device), "L2_cache_size", CACHE))
    try:
        sizes = [path.read_text(encoding="utf-8") for path in CACHES.glob("index*/size")]
        return max(int(size.strip().removesuffix("K")) << 10 for size in sizes)
    except (OSError, ValueError):  # no such files, or another notation
        return CACHE


def _by_clock(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _by_events(work: Callable[[], object], device: str) -> float:
    with torch.cuda.device(device):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
    return start.elapsed_time(end) / 1e3
