"""AMD's and Intel's cards, read from trees like those that their drivers make."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.hardware.sysfs import SysfsGpus


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


AMD = {
    "card0/device/vendor": "0x1002",
    "card0/device/device": "0x744c",
    "card0/device/product_name": "Radeon RX 7900 XTX",
    "card0/device/gpu_busy_percent": "71",
    "card0/device/mem_info_vram_used": str(17 << 30),
    "card0/device/mem_info_vram_total": str(24 << 30),
    "card0/device/pp_dpm_sclk": "0: 500Mhz\n1: 2482Mhz *\n2: 3220Mhz",
    "card0/device/current_link_speed": "16.0 GT/s PCIe",
    "card0/device/current_link_width": "16",
    "card0/device/hwmon/hwmon3/temp1_input": "64000",
    "card0/device/hwmon/hwmon3/power1_average": "212000000",
    "card0/device/hwmon/hwmon3/power1_cap": "327000000",
    "card0-DP-1/status": "connected",
    "renderD128/dev": "226:128",
}

INTEL_I915 = {
    "card1/device/vendor": "0x8086",
    "card1/device/device": "0x56a0",
    "card1/gt/gt0/rc6_residency_ms": "50000",
    "card1/gt_act_freq_mhz": "2400",
    "card1/device/hwmon/hwmon4/energy1_input": "1000000000",
    "card1/device/hwmon/hwmon4/power1_max": "190000000",
}

INTEL_XE = {
    "card2/device/vendor": "0x8086",
    "card2/device/device": "0xe20b",
    "card2/device/tile0/gt0/gtidle/idle_residency_ms": "1000",
    "card2/device/tile0/gt0/freq0/act_freq": "2850",
}


def test_an_amd_card(tmp_path: Path) -> None:
    (gpu,) = SysfsGpus(tree(tmp_path, AMD)).read()
    assert (gpu.name, gpu.utilization) == ("Radeon RX 7900 XTX", 0.71)
    assert (gpu.memory_used_bytes, gpu.memory_total_bytes) == (17 << 30, 24 << 30)
    assert (gpu.temperature_c, gpu.power_w, gpu.power_limit_w) == (64.0, 212.0, 327.0)
    assert (gpu.clock_mhz, gpu.pcie_link) == (2482, "16.0 GT/s x16")


def test_intel_cards_tell_rates_from_the_second_reading_on(tmp_path: Path) -> None:
    clock = Clock()
    gpus = SysfsGpus(tree(tmp_path, {**INTEL_I915, **INTEL_XE}), clock)
    first, _ = gpus.read()
    assert (first.name, first.utilization, first.power_w) == ("Intel GPU 0x56a0", 0.0, None)
    assert (first.clock_mhz, first.power_limit_w) == (2400, 190.0)
    clock.now_s += 2.0
    tree(
        tmp_path,
        {
            "card1/gt/gt0/rc6_residency_ms": "50500",
            "card1/device/hwmon/hwmon4/energy1_input": "1300000000",
            "card2/device/tile0/gt0/gtidle/idle_residency_ms": "3000",
        },
    )
    i915, xe = gpus.read()
    assert (i915.utilization, i915.power_w) == (0.75, 150.0)
    assert (xe.utilization, xe.clock_mhz) == (0.0, 2850)
    clock.now_s += 2.0
    tree(tmp_path, {"card1/gt/gt0/rc6_residency_ms": "10"})
    assert gpus.read()[0].utilization == 0.0, "a counter that began anew tells nothing"


@pytest.mark.parametrize("text", ["", "busy", "0x1002", "-5"])
def test_files_that_hold_something_else_count_as_silent(tmp_path: Path, text: str) -> None:
    files = {name: text for name in AMD if "hwmon" in name or "mem_info" in name or "busy" in name}
    (gpu,) = SysfsGpus(tree(tmp_path, {**AMD, **files})).read()
    assert gpu.name == "Radeon RX 7900 XTX"
    assert gpu.utilization <= 0 and gpu.memory_total_bytes <= 0


def test_other_vendors_and_no_graphics_at_all(tmp_path: Path) -> None:
    assert SysfsGpus(tree(tmp_path, {"card0/device/vendor": "0x10de"})).read() == ()
    assert SysfsGpus(tmp_path / "missing").read() == ()
