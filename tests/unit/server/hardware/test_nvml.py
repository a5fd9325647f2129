"""Readings from a driver that we do not have: the library's functions are played, our arithmetic is not."""

from __future__ import annotations

from types import SimpleNamespace

from server.hardware.nvml import SLOW_TTL_S, Nvml


class NotSupported(Exception):
    """What the library raises."""


class PlayedLibrary:
    """The functions of `pynvml` that we call, over two made-up GPUs; the second tells little."""

    NVMLError = NotSupported
    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_PCIE_UTIL_TX_BYTES = 0
    NVML_PCIE_UTIL_RX_BYTES = 1

    def __init__(self) -> None:
        self.n_power_readings = 0

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:
        return ("H100", "old card")[handle]

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:
        return SimpleNamespace(total=100, used=30, free=70)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> SimpleNamespace:
        self._need_first(handle)
        return SimpleNamespace(gpu=42)

    def nvmlDeviceGetTemperature(self, handle: int, sensor: int) -> int:
        self._need_first(handle)
        return 55

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        self._need_first(handle)
        self.n_power_readings += 1
        return 250_000

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:
        self._need_first(handle)
        return 700_000

    def nvmlDeviceGetClockInfo(self, handle: int, clock: int) -> int:
        self._need_first(handle)
        return 1980

    def nvmlDeviceGetCurrPcieLinkGeneration(self, handle: int) -> int:
        self._need_first(handle)
        return 5

    def nvmlDeviceGetCurrPcieLinkWidth(self, handle: int) -> int:
        self._need_first(handle)
        return 16

    def nvmlDeviceGetPcieThroughput(self, handle: int, counter: int) -> int:
        self._need_first(handle)
        return (2_000_000, 1_000_000)[counter]

    def _need_first(self, handle: int) -> None:
        if handle != 0:
            raise NotSupported("Not Supported")


def test_units() -> None:
    first, _ = Nvml(PlayedLibrary()).read()
    assert (first.name, first.utilization, first.memory_used_bytes) == ("H100", 0.42, 30)
    assert (first.temperature_c, first.power_w, first.power_limit_w, first.clock_mhz) == (
        55,
        250.0,
        700.0,
        1980,
    )


def test_the_link() -> None:
    first, second = Nvml(PlayedLibrary()).read()
    assert (first.pcie_link, first.pcie_bytes_per_s) == ("gen 5 x16", 3e9)
    assert (second.pcie_link, second.pcie_bytes_per_s) == ("", None)


def test_what_a_device_does_not_tell_is_none() -> None:
    _, second = Nvml(PlayedLibrary()).read()
    assert (second.utilization, second.memory_total_bytes) == (0.0, 100)
    assert (second.temperature_c, second.power_w, second.power_limit_w, second.clock_mhz) == (None,) * 4


def test_slow_fields_are_asked_for_at_most_once_in_their_time() -> None:
    library, now_s = PlayedLibrary(), 0.0
    nvml = Nvml(library, clock=lambda: now_s)
    for now_s in (0.0, 1.0, SLOW_TTL_S - 0.1):  # noqa: B007 - the clock reads it
        nvml.read()
    assert library.n_power_readings == 1
    now_s = SLOW_TTL_S
    nvml.read()
    assert library.n_power_readings == 2


def test_memory_of_all_gpus_together() -> None:
    assert Nvml(PlayedLibrary()).memory_bytes() == (140, 200)
