"""NVIDIA GPUs as the driver's management library reports them. Knows nothing of models."""

from __future__ import annotations

import ctypes
import functools
import sys
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, TypeVar

import msgspec

SLOW_TTL_S: Final = 2.0
"""Temperature, power and clock change slowly, and asking for them takes the driver longer than the rest."""

T = TypeVar("T")


class GpuReading(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU now. `utilization` is 0 to 1; None: the device does not tell."""

    name: str
    utilization: float
    memory_used_bytes: int
    memory_total_bytes: int
    temperature_c: float | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    clock_mhz: int | None = None
    pcie_link: str = ""
    pcie_bytes_per_s: float | None = None


class _SlowFields(msgspec.Struct, frozen=True, kw_only=True):
    read_at_s: float
    temperature_c: float | None
    power_w: float | None
    power_limit_w: float | None
    clock_mhz: int | None
    pcie_link: str
    pcie_bytes_per_s: float | None


class Nvml:
    """All GPUs of this machine. Built by `open_nvml`; `library` is `pynvml`, or has its functions."""

    def __init__(self, library: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._library = library
        self._clock = clock
        handles = [library.nvmlDeviceGetHandleByIndex(index) for index in range(library.nvmlDeviceGetCount())]
        self._gpus = [(handle, str(library.nvmlDeviceGetName(handle))) for handle in handles]
        self._slow: dict[int, _SlowFields] = {}

    @property
    def n_gpus(self) -> int:
        """GPUs of this machine."""
        return len(self._gpus)

    def memory_bytes(self) -> tuple[int, int]:
        """(free, total) bytes of all GPUs together; a GPU that shares the host's memory counts as none."""
        infos = [self._ask(self._library.nvmlDeviceGetMemoryInfo, handle) for handle, _ in self._gpus]
        known = [info for info in infos if info is not None]
        return sum(int(info.free) for info in known), sum(int(info.total) for info in known)

    def read(self) -> tuple[GpuReading, ...]:
        """All GPUs now; slow fields are up to `SLOW_TTL_S` old."""
        return tuple(self._read(index) for index in range(len(self._gpus)))

    def _read(self, index: int) -> GpuReading:
        handle, name = self._gpus[index]
        memory = self._ask(self._library.nvmlDeviceGetMemoryInfo, handle)
        rates = self._ask(self._library.nvmlDeviceGetUtilizationRates, handle)
        slow = self._slow.get(index)
        if slow is None or self._clock() - slow.read_at_s >= SLOW_TTL_S:
            slow = self._slow[index] = self._read_slow(handle)
        return GpuReading(
            name=name,
            utilization=rates.gpu / 100 if rates is not None else 0.0,
            memory_used_bytes=int(memory.used) if memory is not None else 0,
            memory_total_bytes=int(memory.total) if memory is not None else 0,
            temperature_c=slow.temperature_c,
            power_w=slow.power_w,
            power_limit_w=slow.power_limit_w,
            clock_mhz=slow.clock_mhz,
            pcie_link=slow.pcie_link,
            pcie_bytes_per_s=slow.pcie_bytes_per_s,
        )

    def _read_slow(self, handle: Any) -> _SlowFields:
        library = self._library
        power_mw = self._ask(library.nvmlDeviceGetPowerUsage, handle)
        limit_mw = self._ask(library.nvmlDeviceGetEnforcedPowerLimit, handle)
        return _SlowFields(
            read_at_s=self._clock(),
            temperature_c=self._ask(library.nvmlDeviceGetTemperature, handle, library.NVML_TEMPERATURE_GPU),
            power_w=power_mw / 1000 if power_mw is not None else None,
            power_limit_w=limit_mw / 1000 if limit_mw is not None else None,
            clock_mhz=self._ask(library.nvmlDeviceGetClockInfo, handle, library.NVML_CLOCK_SM),
            pcie_link=self._link(handle),
            pcie_bytes_per_s=self._throughput(handle),
        )

    def _link(self, handle: Any) -> str:
        generation = self._ask(self._library.nvmlDeviceGetCurrPcieLinkGeneration, handle)
        width = self._ask(self._library.nvmlDeviceGetCurrPcieLinkWidth, handle)
        return f"gen {generation} x{width}" if generation and width else ""

    def _throughput(self, handle: Any) -> float | None:
        """Both directions; the driver counts kilobytes over 20 ms."""
        library = self._library
        counters = (library.NVML_PCIE_UTIL_TX_BYTES, library.NVML_PCIE_UTIL_RX_BYTES)
        rates = [self._ask(library.nvmlDeviceGetPcieThroughput, handle, counter) for counter in counters]
        known = [rate for rate in rates if rate is not None]
        return sum(known) * 1000.0 if known else None

    def _ask(self, function: Callable[..., T], *args: Any) -> T | None:
        """What the driver says, None when the device does not support the question."""
        try:
            return function(*args)
        except self._library.NVMLError:
            return None


@functools.cache
def open_nvml() -> tuple[Nvml | None, str]:
    """The GPUs, and a note for people that says why there are none; found out once per process."""
    if sys.platform == "darwin":
        return None, ""
    try:
        ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:  # looked for first, so that a machine without it never imports the binding
        return None, "no NVIDIA GPU found (NVML: libnvidia-ml.so.1 is not installed)"
    library = _import_pynvml()
    try:
        library.nvmlInit()
        nvml = Nvml(library)
    except library.NVMLError as error:
        return None, f"no NVIDIA GPU found (NVML: {error})"
    return (nvml, "") if nvml.n_gpus else (None, "no NVIDIA GPU found (NVML: the driver lists none)")


def _import_pynvml() -> ModuleType:
    import pynvml

    module: ModuleType = pynvml
    return module
