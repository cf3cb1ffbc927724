"""Threads that run a kernel together: each calls it once, and the kernel hands out the chunks."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import torch


@functools.lru_cache(maxsize=1)
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """A pool for this process: a fork has none of its parent's threads, so it gets its own."""
    return ThreadPoolExecutor(threads, thread_name_prefix=f"steppers-{process}")


def together(call: Callable[[], None], at_most: int) -> None:
    """Run `call` in up to torch.get_num_threads() threads at once, this one among them."""
    threads = min(torch.get_num_threads(), at_most)
    if threads <= 1:
        call()
        return
    pool = _pool(os.getpid(), torch.get_num_threads() - 1)
    others = [pool.submit(call) for _ in range(threads - 1)]
    call()
    for each in others:
        each.result()
