"""How many threads a worker should compute with."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Final

_FEW_CPUS: Final = 4
"""With so few processors the second thread of a core still pays; on 2 it was 1.8 times as fast as one."""


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
