"""How much of the processors other programs take, from Linux's counters of processor time."""

from __future__ import annotations

import os
import time
from typing import Final

import msgspec

SAMPLE_S: Final = 0.5
"""Least time between two readings: the counters go up in hundredths of a second."""

_STAT_BYTES: Final = 32_768
"""The processors' lines come first in /proc/stat, about 60 bytes each; the rest is left out."""

_N_TIMES: Final = 8
"""user, nice, system, idle, iowait, irq, softirq, steal; what follows is part of the first two. proc(5)."""

_IDLE_TIMES: Final = (3, 4)


class Usage(msgspec.Struct, frozen=True):
    """Seconds of processor time at a point in time.

    Attributes:
        at_s: monotonic.
        busy_s: of all programs, on the processors that this process may use; what a hypervisor took counts.
        own_s: of this process and its parent.
    """

    at_s: float
    busy_s: float
    own_s: float


def n_others(before: Usage, after: Usage) -> float:
    """Processors' worth of time that others took in between; at least 0."""
    elapsed_s = after.at_s - before.at_s
    if elapsed_s <= 0.0:
        return 0.0
    return max(0.0, (after.busy_s - before.busy_s) - (after.own_s - before.own_s)) / elapsed_s


def busy_ticks(stat: bytes, cpus: frozenset[int]) -> int:
    """Ticks of the clock, from the text of /proc/stat, in which these processors were busy.

    Raises: ValueError when none of them is in it.
    """
    ticks, n_found = 0, 0
    for line in stat.splitlines():
        name, _, times = line.partition(b" ")
        number = name.removeprefix(b"cpu")
        if number == name:
            break
        if number.isdigit() and int(number) in cpus:
            counts = [int(field) for field in times.split()[:_N_TIMES]]
            ticks += sum(count for index, count in enumerate(counts) if index not in _IDLE_TIMES)
            n_found += 1
    if not n_found:
        raise ValueError("none of the processors is in /proc/stat")
    return ticks


def process_ticks(stat: bytes) -> int:
    """Ticks that a process ran, from the text of its /proc/PID/stat. Raises: ValueError, IndexError."""
    fields = stat.rpartition(b")")[2].split()  # behind the name, which may hold anything
    return int(fields[11]) + int(fields[12])


class OtherPrograms:
    """Watches what other programs take of the processors that this process may use.

    The parent is not one of them: it is the server, which has to send what is generated here.

    Attributes:
        n_taken: processors' worth of time between the last two readings, 0 before there are two; None where
            the system does not tell.
    """

    def __init__(self) -> None:
        self._last = _usage()
        self.n_taken: float | None = None if self._last is None else 0.0

    def look(self, now_s: float) -> None:
        """Read the counters again when the last time is long enough ago; takes some 20 us then.

        `now_s`: of `time.monotonic`.
        """
        if self._last is None or now_s - self._last.at_s < SAMPLE_S:
            return
        usage = _usage()
        self.n_taken = None if usage is None else n_others(self._last, usage)
        self._last = usage


def _usage() -> Usage | None:
    """Now; None where the system does not tell."""
    try:
        cpus = frozenset(os.sched_getaffinity(0))
        per_s = os.sysconf("SC_CLK_TCK")
        own = process_ticks(_read("/proc/self/stat")) + process_ticks(_read(f"/proc/{os.getppid()}/stat"))
        return Usage(time.monotonic(), busy_ticks(_read("/proc/stat"), cpus) / per_s, own / per_s)
    except (AttributeError, OSError, ValueError, IndexError):
        return None


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY)
    try:
        return os.read(fd, _STAT_BYTES)
    finally:
        os.close(fd)
