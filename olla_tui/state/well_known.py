"""Models to begin with, chosen by what this machine can hold.

Names of Ollama's library that have stood there for long. The sizes are those that it told in 2025; the pull
itself tells the real one, and says so when a registry no longer has a name.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from olla_tui.state.fit import needed_bytes
from olla_tui.state.numbers import bytes_text
from server.types.status import DeviceSnapshot

MAX_CHOSEN = 5
COMFORT_ON_CPU_BYTES = 6_000_000_000
"""A processor reads all weights for each token; with more of them nobody likes to wait."""


class WellKnown(NamedTuple):
    """A model and what it is for."""

    name: str
    size_bytes: int
    purpose: str


WELL_KNOWN: tuple[WellKnown, ...] = (
    WellKnown("gpt-oss:120b", 65_000_000_000, "tools, thinks"),
    WellKnown("llama3.3:70b", 43_000_000_000, "tools"),
    WellKnown("qwen3:32b", 20_000_000_000, "tools, thinks"),
    WellKnown("gemma3:27b", 17_000_000_000, "sees"),
    WellKnown("gpt-oss:20b", 14_000_000_000, "tools, thinks"),
    WellKnown("qwen3:14b", 9_300_000_000, "tools, thinks"),
    WellKnown("gemma3:12b", 8_100_000_000, "sees"),
    WellKnown("qwen3:8b", 5_200_000_000, "tools, thinks"),
    WellKnown("qwen2.5-coder:7b", 4_700_000_000, "code"),
    WellKnown("gemma3:4b", 3_300_000_000, "sees"),
    WellKnown("llama3.2:3b", 2_000_000_000, "tools"),
    WellKnown("qwen3:1.7b", 1_400_000_000, "tools, thinks"),
    WellKnown("gemma3:1b", 815_000_000, "short texts"),
    WellKnown("qwen3:0.6b", 523_000_000, "tools, thinks"),
    WellKnown("nomic-embed-text", 274_000_000, "embeddings"),
)
"""The largest first."""


def room_bytes(devices: Sequence[DeviceSnapshot]) -> int:
    """What a model may take to be answered by in comfort; 0 where nothing is known."""
    gpu_bytes = sum(device.memory_total_bytes for device in devices if device.kind == "gpu")
    cpu_bytes = sum(device.memory_total_bytes for device in devices if device.kind == "cpu")
    return gpu_bytes or min(cpu_bytes // 2, COMFORT_ON_CPU_BYTES)


def suited(
    devices: Sequence[DeviceSnapshot], stored: Collection[str], n_chosen: int
) -> list[tuple[str, str]]:
    """(name, size and purpose) of the largest that fit, the embedding model as the last of them.

    Args:
        stored: names that are in the store already.
    """
    room = room_bytes(devices)
    have = {name.removesuffix(":latest") for name in stored}
    found = [
        (known.name, f"{bytes_text(known.size_bytes)}, {known.purpose}")
        for known in WELL_KNOWN
        if needed_bytes(known.size_bytes, None, 0) <= room and known.name not in have
    ]
    if len(found) <= n_chosen or n_chosen < 2:
        return found[: max(0, n_chosen)]
    return [*found[: n_chosen - 1], found[-1]]
