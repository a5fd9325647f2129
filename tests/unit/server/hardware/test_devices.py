from __future__ import annotations

import asyncio
import subprocess
import sys

from server.hardware.devices import (
    SAMPLE_TTL_S,
    DeviceSampler,
    gpu_snapshot,
    processor_snapshot,
)
from server.hardware.engine_build import has_gpu_backend
from server.hardware.nvml import GpuReading
from server.hardware.ram import Ram


async def test_processor_comes_last_and_once() -> None:
    devices, note = await DeviceSampler().sample()
    assert [device.kind for device in devices].count("cpu") == 1
    processor = devices[-1]
    assert (processor.kind, processor.name != "") == ("cpu", True)
    assert 0 < processor.memory_used_bytes < processor.memory_total_bytes
    if len(devices) == 1:
        assert note.startswith("no NVIDIA GPU found (NVML")


async def test_samples_are_shared_within_their_time() -> None:
    now_s = 100.0
    sampler = DeviceSampler(clock=lambda: now_s)
    first, second = await asyncio.gather(sampler.sample(), sampler.sample())
    assert first is second
    now_s += SAMPLE_TTL_S
    assert await sampler.sample() is not first


def test_gpu_keeps_all_its_fields() -> None:
    reading = GpuReading(
        name="H100",
        utilization=0.5,
        memory_used_bytes=1,
        memory_total_bytes=2,
        temperature_c=3.0,
        power_w=4.0,
        power_limit_w=5.0,
        clock_mhz=6,
    )
    shown = gpu_snapshot(reading)
    assert shown.kind == "gpu"
    for field in GpuReading.__struct_fields__:
        assert getattr(shown, field) == getattr(reading, field)


def test_utilization_stays_in_its_range() -> None:
    ram = Ram(total_bytes=10, available_bytes=4)
    assert [processor_snapshot("x", value, ram).utilization for value in (-1.0, 0.5, 7.0)] == [0.0, 0.5, 1.0]
    assert processor_snapshot("x", 0.0, ram).memory_used_bytes == 6


def test_gpu_backends_are_told_by_their_libraries() -> None:
    assert has_gpu_backend(["libggml-base.so", "libggml-cuda.so"])
    assert not has_gpu_backend(["libggml-base.so", "libggml-cpu.so.0", "libllama.so"])


def test_imports_stay_light() -> None:
    program = (
        "import sys, server.hardware.devices, server.hardware.memory, server.runners.pool\n"
        "print([name for name in ('psutil', 'pynvml', 'numpy', 'llama_cpp') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
