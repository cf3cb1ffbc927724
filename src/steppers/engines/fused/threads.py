"""Threads that run a kernel together: each calls it once, and the kernel hands out the chunks.

Where torch computes in libgomp's threads, kernels run in the same ones: after a backward these wait
for more work in a loop, for milliseconds, and would keep the processor from threads of our own.
"""

from __future__ import annotations

import ctypes
import functools
import os
from array import array
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from ..driving import PROCESS


@functools.lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """A pool for this process: a fork has none of its parent's threads, so it gets its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix=f"steppers-{process}")


@functools.cache
def _gomp() -> Any:
    """How to call a function in torch's threads, or None if they are not libgomp's."""
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            found = {line.split()[-1] for line in maps if "libgomp" in line}
        if len(found) == 1:
            parallel = ctypes.CDLL(found.pop()).GOMP_parallel
            parallel.restype = None
            parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
            return parallel
    except (OSError, AttributeError):
        pass
    return None


def together(call: Callable[[], None], shared: int, words: array[int], at_most: int) -> None:
    """Run a kernel in up to torch.get_num_threads() threads at once, this one among them.

    `call` runs it here; `shared` is the address of the same as a function of one pointer, to its
    arguments, which are `words`.
    """
    threads = min(torch.get_num_threads(), at_most)
    if threads <= 1:
        call()
        return
    parallel = _gomp() if os.getpid() == PROCESS else None
    if parallel is not None:
        parallel(shared, words.buffer_info()[0], threads, 0)
        return
    pool = _pool(os.getpid(), torch.get_num_threads() - 1)
    others = [pool.submit(call) for _ in range(threads - 1)]
    call()
    for each in others:
        each.result()
