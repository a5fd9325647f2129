"""The memory there is for models, and the context that they get by default."""

from __future__ import annotations

from typing import Final

from server.hardware.engine_build import engine_uses_gpus
from server.hardware.nvml import open_nvml
from server.hardware.ram import ram_now

GIB: Final = 1 << 30


def default_context_length(vram_bytes: int) -> int:
    """Tokens of context where nobody has said how many, by Ollama's tiers of GPU memory."""
    if vram_bytes >= 47 * GIB:
        return 262_144
    return 32_768 if vram_bytes >= 23 * GIB else 4_096


def free_memory() -> int:
    """Bytes that a model can have now: of the GPUs that the engine can use, else of the host's memory."""
    nvml, _ = open_nvml()
    if nvml is not None and engine_uses_gpus():
        return nvml.memory_bytes()[0]
    return ram_now().available_bytes


def total_memory() -> int:
    """As `free_memory`, if nothing else were loaded."""
    nvml, _ = open_nvml()
    if nvml is not None and engine_uses_gpus():
        return nvml.memory_bytes()[1]
    return ram_now().total_bytes
