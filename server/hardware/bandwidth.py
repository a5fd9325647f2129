"""How fast this machine reads memory: the ceiling of decoding, which reads every weight once a token."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import numpy.typing as npt

_BYTES_PER_THREAD: Final = 192 << 20
"""More than the last-level cache that a thread can have for itself."""

_N_PASSES: Final = 5


def read_bandwidth_bytes_per_s(n_threads: int, clock: Callable[[], float] = time.perf_counter) -> float:
    """Bytes per second that `n_threads` threads read together, the best of a few passes.

    The sum of an array of 64-bit numbers is done far faster than memory delivers them, and numpy lets the
    interpreter's lock go while it adds.
    """
    blocks: list[npt.NDArray[np.int64]] = [
        np.ones(_BYTES_PER_THREAD // 8, np.int64) for _ in range(max(n_threads, 1))
    ]
    best_s = float("inf")
    with ThreadPoolExecutor(len(blocks)) as threads:
        for _ in range(_N_PASSES):
            begin_s = clock()
            for total in threads.map(np.sum, blocks):
                assert int(total) == _BYTES_PER_THREAD // 8
            best_s = min(best_s, clock() - begin_s)
    return len(blocks) * _BYTES_PER_THREAD / best_s
