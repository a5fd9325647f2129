"""AMD's and Intel's GPUs as the kernel's drivers report them below /sys/class/drm. Knows nothing of models.

Files and units are those of the kernel's documentation: amdgpu (Documentation/gpu/amdgpu), i915 and xe
(Documentation/ABI/testing/sysfs-driver-intel-*), hwmon (Documentation/hwmon/sysfs-interface).
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from server.hardware.nvml import GpuReading

DRM_ROOT: Final = Path("/sys/class/drm")
MAX_CARDS: Final = 64

_AMD, _INTEL = "0x1002", "0x8086"
_CARD = re.compile(r"card\d+")
_CURRENT_CLOCK = re.compile(r"(\d+)\s*Mhz\s*\*", re.IGNORECASE)


class SysfsGpus:
    """The cards of one machine. Rates come from counters, so the first reading has none of them."""

    def __init__(self, root: Path = DRM_ROOT, clock: Callable[[], float] = time.monotonic) -> None:
        self._root = root
        self._clock = clock
        self._counters: dict[str, tuple[float, int]] = {}

    def read(self) -> tuple[GpuReading, ...]:
        """All cards of AMD and Intel now, by number."""
        try:
            cards = sorted(path for path in self._root.iterdir() if _CARD.fullmatch(path.name))
        except OSError:  # no graphics at all, or not Linux
            return ()
        readings = []
        for card in cards[:MAX_CARDS]:
            vendor = _text(card / "device" / "vendor")
            if vendor == _AMD:
                readings.append(self._amd(card / "device"))
            elif vendor == _INTEL:
                readings.append(self._intel(card))
        return tuple(readings)

    def _amd(self, device: Path) -> GpuReading:
        hwmon = _hwmon(device)
        busy = _number(device / "gpu_busy_percent")
        clock = _CURRENT_CLOCK.search(_text(device / "pp_dpm_sclk"))
        power_uw = _first(hwmon, "power1_average", "power1_input")
        return GpuReading(
            name=_text(device / "product_name") or f"AMD GPU {_text(device / 'device')}".strip(),
            utilization=min(1.0, (busy or 0) / 100),
            memory_used_bytes=_number(device / "mem_info_vram_used") or 0,
            memory_total_bytes=_number(device / "mem_info_vram_total") or 0,
            temperature_c=_scaled(_first(hwmon, "temp1_input"), 1000),
            power_w=_scaled(power_uw, 1_000_000),
            power_limit_w=_scaled(_first(hwmon, "power1_cap"), 1_000_000),
            clock_mhz=int(clock[1]) if clock else None,
            pcie_link=_link(device),
        )

    def _intel(self, card: Path) -> GpuReading:
        device = card / "device"
        hwmon = _hwmon(device)
        idle_ms = _first(card, "gt/gt0/rc6_residency_ms")
        if idle_ms is None:
            idle_ms = _first(device, "tile0/gt0/gtidle/idle_residency_ms")
        idle_share = self._rate(f"{card.name} idle", idle_ms)
        energy_uj = _first(hwmon, "energy1_input")
        power_uw = self._rate(f"{card.name} energy", energy_uj)
        clock = _first(card, "gt_act_freq_mhz")
        if clock is None:
            clock = _first(device, "tile0/gt0/freq0/act_freq")
        return GpuReading(
            name=f"Intel GPU {_text(device / 'device')}".strip(),
            # Milliseconds of rest in a second.
            utilization=min(1.0, max(0.0, 1 - idle_share / 1000)) if idle_share is not None else 0.0,
            memory_used_bytes=0,
            memory_total_bytes=_first(device, "lmem_total_bytes") or 0,
            temperature_c=_scaled(_first(hwmon, "temp1_input", "temp2_input"), 1000),
            power_w=_scaled(power_uw, 1_000_000),
            power_limit_w=_scaled(_first(hwmon, "power1_max", "power1_cap"), 1_000_000),
            clock_mhz=clock,
            pcie_link=_link(device),
        )

    def _rate(self, key: str, count: int | None) -> float | None:
        """Of a counter a second since the last reading; None at the first one and where it went back."""
        if count is None:
            return None
        now_s = self._clock()
        before = self._counters.get(key)
        self._counters[key] = (now_s, count)
        if before is None or now_s <= before[0] or count < before[1]:
            return None
        return (count - before[1]) / (now_s - before[0])


def _hwmon(device: Path) -> Path | None:
    try:
        return min((device / "hwmon").iterdir(), default=None)
    except OSError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    try:
        return int(_text(path))
    except ValueError:
        return None


def _first(folder: Path | None, *names: str) -> int | None:
    """The first of these files that holds a number."""
    if folder is None:
        return None
    return next((number for name in names if (number := _number(folder / name)) is not None), None)


def _scaled(value: float | None, divisor: int) -> float | None:
    return None if value is None else value / divisor


def _link(device: Path) -> str:
    """ "16.0 GT/s x16", "" when it is not told."""
    speed, width = _text(device / "current_link_speed"), _text(device / "current_link_width")
    return f"{speed.removesuffix(' PCIe')} x{width}" if speed and width else ""
