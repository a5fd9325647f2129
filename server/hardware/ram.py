"""The processor and its memory, bounded by the control group that this process lives in."""

from __future__ import annotations

import mmap
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
UNLIMITED_BYTES: Final = 1 << 60
"""Version 1 of control groups writes "no limit" as a number near 2**63."""


class Ram(msgspec.Struct, frozen=True, kw_only=True):
    """Memory in bytes. `available_bytes` counts what the kernel can give back from its caches."""

    total_bytes: int
    available_bytes: int

    @property
    def used_bytes(self) -> int:
        """What is in use and cannot be given back."""
        return max(0, self.total_bytes - self.available_bytes)


class CgroupMemory(msgspec.Struct, frozen=True, kw_only=True):
    """A control group's limit and what its processes hold, without file pages that can be dropped."""

    limit_bytes: int
    used_bytes: int


def resident_bytes(pid: int) -> int | None:
    """Memory that a process takes now; None when there is no such process, or the system is not Linux."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * mmap.PAGESIZE
    except (OSError, ValueError, IndexError):
        return None


def within_cgroup(ram: Ram, cgroup: CgroupMemory | None) -> Ram:
    """The memory that this process may have: the machine's, or the control group's where that is less."""
    if cgroup is None or cgroup.limit_bytes >= ram.total_bytes:
        return ram
    left_bytes = max(0, cgroup.limit_bytes - cgroup.used_bytes)
    return Ram(total_bytes=cgroup.limit_bytes, available_bytes=min(ram.available_bytes, left_bytes))


def cgroup_paths(membership: str, root: Path = CGROUP_ROOT) -> tuple[tuple[Path, bool], ...]:
    """Folders that may hold our memory limit, nearest first, with whether version 2 rules there.

    Args:
        membership: text of /proc/self/cgroup. Inside a container its paths need not exist; the root then
            holds the limit.
    """
    found: list[tuple[Path, bool]] = []
    for line in membership.splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            folder, is_v2 = root / path.lstrip("/"), True
        elif "memory" in controllers.split(","):
            folder, is_v2 = root / "memory" / path.lstrip("/"), False
        else:
            continue
        stop = root if is_v2 else root / "memory"
        found += [(folder, is_v2)]
        found += [(parent, is_v2) for parent in folder.parents if parent == stop or stop in parent.parents]
    return tuple(found)


def read_cgroup(folder: Path, *, is_v2: bool) -> CgroupMemory | None:
    """The limit in a folder, None where there is none."""
    names = ("memory.max", "memory.current") if is_v2 else ("memory.limit_in_bytes", "memory.usage_in_bytes")
    try:
        limit, used = (int((folder / name).read_text()) for name in names)
        statistics = (folder / "memory.stat").read_text()
    except (OSError, ValueError):  # the file is missing, or says "max"
        return None
    if limit >= UNLIMITED_BYTES:
        return None
    return CgroupMemory(limit_bytes=limit, used_bytes=max(0, used - _inactive_file_bytes(statistics)))


def ram_now() -> Ram:
    """The memory that this process may have, now."""
    import psutil  # first when devices are looked at, which is after the start

    memory = psutil.virtual_memory()
    ram = Ram(total_bytes=memory.total, available_bytes=memory.available)
    for cgroup in _cgroups():
        ram = within_cgroup(ram, cgroup)
    return ram


def total_ram() -> int:
    """Bytes of memory that this process may have if nothing else had any."""
    return ram_now().total_bytes


def processor_utilization() -> Callable[[], float]:
    """A function that tells the share of all processors, 0 to 1, that was busy since its last call."""
    import psutil  # as above

    psutil.cpu_percent(None)  # the first reading has nothing to compare with
    return lambda: float(psutil.cpu_percent(None)) / 100


def processor_name() -> str:
    """Model of the processor, for people."""
    try:
        name = model_name(Path("/proc/cpuinfo").read_text())
    except OSError:  # not Linux
        name = platform.processor()
    return name or platform.machine()


def model_name(cpuinfo: str) -> str:
    """The first "model name" of /proc/cpuinfo's text, "" when it has none."""
    for line in cpuinfo.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return ""


def _cgroups() -> tuple[CgroupMemory, ...]:
    try:
        membership = Path("/proc/self/cgroup").read_text()
    except OSError:  # not Linux
        return ()
    read = (read_cgroup(folder, is_v2=is_v2) for folder, is_v2 in cgroup_paths(membership))
    return tuple(cgroup for cgroup in read if cgroup is not None)


def _inactive_file_bytes(statistics: str) -> int:
    values = dict(line.split(" ", 1) for line in statistics.splitlines() if " " in line)
    # In version 1 only the field with "total_" counts the groups below as well.
    return int(values.get("total_inactive_file", values.get("inactive_file", "0")))
