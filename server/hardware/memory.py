"""Bytes that a load needs, and the defaults that follow from the memory there is."""

from __future__ import annotations

from typing import Final

from server.hardware.engine_build import engine_uses_gpus
from server.hardware.nvml import open_nvml
from server.hardware.ram import ram_now

GIB: Final = 1 << 30
MIB: Final = 1 << 20

MAX_DEFAULT_SLOTS: Final = 16
KV_SHARE: Final = 0.25
"""Share of the memory beside the weights that the KV cache of one model may take by default."""

PROCESS_BYTES: Final = 160 * MIB
"""A worker before it loads: interpreter, libraries and their buffers, as measured."""

GRAPH_BYTES: Final = 80 * MIB
"""llama.cpp's compute buffer at 512 tokens per ubatch without its rows of logits, for a width of 2048."""

GRAPH_WIDTH: Final = 2048


def load_bytes(
    *, weights_bytes: int, kv_bytes_per_token: int, n_ctx: int, n_slots: int, n_vocab: int, n_embd: int
) -> int:
    """Bytes that a model with `n_slots` contexts of `n_ctx` tokens each is expected to take.

    Beside weights and KV cache that is the worker itself, a graph that grows with the width of the model, and
    a float32 row of logits for each slot.

    Args:
        n_embd: width; 0 when the file does not tell.
    """
    kv_bytes = kv_bytes_per_token * n_ctx * n_slots
    graph_bytes = GRAPH_BYTES * (n_embd or GRAPH_WIDTH) // GRAPH_WIDTH
    return weights_bytes + kv_bytes + PROCESS_BYTES + graph_bytes + 4 * n_vocab * n_slots


def default_n_slots(free_bytes: int, kv_bytes_per_slot: int) -> int:
    """Requests decoded together where nobody has said how many: 1 to `MAX_DEFAULT_SLOTS`.

    Args:
        free_bytes: memory beside the weights.
        kv_bytes_per_slot: KV cache of one context at its full length; 0 for a model without one.
    """
    if kv_bytes_per_slot <= 0:
        return MAX_DEFAULT_SLOTS
    n_slots = int(max(free_bytes, 0) * KV_SHARE) // kv_bytes_per_slot
    return min(max(n_slots, 1), MAX_DEFAULT_SLOTS)


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
