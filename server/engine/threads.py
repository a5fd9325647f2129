"""How many threads a worker should compute with."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Hashable
from pathlib import Path
from typing import Final

from server.engine.processor_time import OtherPrograms
from server.engine.thread_choice import ThreadChoice

_FEW_CPUS: Final = 4
"""With so few processors the second thread of a core still pays; on 2 it was 1.8 times as fast as one."""


class Threads:
    """The number of threads for each step, from how long steps took and what other programs do.

    Attributes:
        n_max: with the processors to oneself.
    """

    def __init__(self, n_max: int, *, is_fixed: bool = False) -> None:
        self.n_max = n_max
        self._choice = ThreadChoice(n_max, is_fixed=is_fixed)
        self._others = None if is_fixed or n_max == 1 else OtherPrograms()

    @property
    def n_threads(self) -> int:
        """For the next step."""
        return self._choice.n_threads

    def measured(self, key: Hashable, cost: float, *, is_steady: bool = True) -> None:
        """A step of a kind took `cost`; see `ThreadChoice.measured`."""
        if self._others is None:
            return
        now_s = time.monotonic()
        self._others.look(now_s)
        self._choice.measured(key, cost, now_s, is_steady=is_steady, n_others=self._others.n_taken)


def n_compute_threads() -> int:
    """Physical cores that this process may use, at most its cgroup's quota; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        cpus = os.sched_getaffinity(0)
        n = len(cpus) if len(cpus) <= _FEW_CPUS else _n_cores(cpus)
        quota = _cgroup_cpus()
        return max(1, min(n, math.ceil(quota)) if quota else n)
    n_logical = os.cpu_count() or 1
    return n_logical if n_logical <= _FEW_CPUS else n_logical // 2


def _n_cores(cpus: set[int]) -> int:
    """Distinct cores behind the processors; the processors themselves where the kernel does not tell."""
    cores: set[str] = set()
    for cpu in cpus:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            cores.add(path.read_text().strip())
        except OSError:
            return len(cpus)
    return len(cores)


def _cgroup_cpus() -> float | None:
    """Processors' worth of time that the cgroup allows; None for no bound."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        v1_quota = int(Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us").read_text())
        v1_period = int(Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us").read_text())
        return v1_quota / v1_period if v1_quota > 0 and v1_period > 0 else None
    except (OSError, ValueError):
        return None
