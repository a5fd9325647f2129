"""The machine's devices as the screen shows them, sampled at a bounded cost."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from server.hardware.engine_build import engine_uses_gpus
from server.hardware.nvml import GpuReading, open_nvml
from server.hardware.ram import Ram, processor_name, processor_utilization, ram_now
from server.hardware.sysfs import SysfsGpus
from server.types.status import DeviceSnapshot

SAMPLE_TTL_S: Final = 0.5
"""However often somebody asks, devices are read at most so often."""

DeviceSample = tuple[tuple[DeviceSnapshot, ...], str]
"""Devices, the processor last, and a note for people that is "" when there is nothing to say."""


class DeviceSampler:
    """Reads devices in a thread and keeps what it read for `SAMPLE_TTL_S`. The first sample loads drivers."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        *,
        disk: Path | None = None,
        sysfs: SysfsGpus | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
            disk: a folder on the disk that is told of; None: of none.
        """
        self._clock = clock
        self._disk = disk
        self._sysfs = sysfs or SysfsGpus()
        self._lock = asyncio.Lock()
        self._sample: DeviceSample | None = None
        self._sampled_at_s = 0.0
        self._utilization: Callable[[], float] | None = None
        self._processor = ""

    async def sample(self) -> DeviceSample:
        """All devices, at most `SAMPLE_TTL_S` old."""
        async with self._lock:
            if self._sample is None or self._clock() - self._sampled_at_s >= SAMPLE_TTL_S:
                self._sample = await asyncio.to_thread(self.read)
                self._sampled_at_s = self._clock()
            return self._sample

    def read(self) -> DeviceSample:
        """All devices now; may block for some milliseconds."""
        if self._utilization is None:
            self._utilization, self._processor = processor_utilization(), processor_name()
        nvml, note = open_nvml()
        gpus = nvml.read() if nvml is not None else ()
        # One without memory of its own is only of interest where the engine computes on it.
        others = tuple(gpu for gpu in self._sysfs.read() if gpu.memory_total_bytes or engine_uses_gpus())
        if others and not gpus:
            note = ""
        gpus = (*gpus, *others)
        if gpus and not engine_uses_gpus():
            note = "the engine is built without GPU support: models run on the processor"
        processor = processor_snapshot(self._processor, self._utilization(), ram_now())
        if self._disk is not None:
            used, total = disk_bytes(self._disk)
            processor = msgspec.structs.replace(processor, disk_used_bytes=used, disk_total_bytes=total)
        return (*(gpu_snapshot(gpu) for gpu in gpus), processor), note

    def vram_bytes(self) -> int:
        """Memory of all GPUs that the engine can use; 0 without one. The first call may block."""
        nvml, _ = open_nvml()
        return nvml.memory_bytes()[1] if nvml is not None and engine_uses_gpus() else 0

    def n_gpus(self) -> int:
        """GPUs that the engine can use. The first call may block."""
        nvml, _ = open_nvml()
        return nvml.n_gpus if nvml is not None and engine_uses_gpus() else 0

    def close(self) -> None:
        """Drop what is kept; the driver's library stays loaded with the process."""
        self._sample = None


def disk_bytes(folder: Path) -> tuple[int, int]:
    """(used, total) of the disk that a folder is or will be on; zeros where that cannot be told."""
    for place in (folder, *folder.parents):
        with suppress(OSError):
            status = os.statvfs(place)
            total = status.f_blocks * status.f_frsize
            return total - status.f_bavail * status.f_frsize, total
    return 0, 0


def gpu_snapshot(gpu: GpuReading) -> DeviceSnapshot:
    """A GPU as the screen shows it."""
    return DeviceSnapshot(
        name=gpu.name,
        kind="gpu",
        utilization=gpu.utilization,
        memory_used_bytes=gpu.memory_used_bytes,
        memory_total_bytes=gpu.memory_total_bytes,
        temperature_c=gpu.temperature_c,
        power_w=gpu.power_w,
        power_limit_w=gpu.power_limit_w,
        clock_mhz=gpu.clock_mhz,
        pcie_link=gpu.pcie_link,
        pcie_bytes_per_s=gpu.pcie_bytes_per_s,
    )


def processor_snapshot(name: str, utilization: float, ram: Ram) -> DeviceSnapshot:
    """The processor with its memory as the screen shows it."""
    return DeviceSnapshot(
        name=name,
        kind="cpu",
        utilization=min(max(utilization, 0.0), 1.0),
        memory_used_bytes=ram.used_bytes,
        memory_total_bytes=ram.total_bytes,
    )
