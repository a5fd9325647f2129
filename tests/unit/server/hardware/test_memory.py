from __future__ import annotations

from server.hardware.memory import GIB, default_context_length, free_memory, total_memory


def test_context_length_follows_the_tiers() -> None:
    tiers = {0: 4096, 23 * GIB - 1: 4096, 23 * GIB: 32768, 47 * GIB - 1: 32768, 47 * GIB: 262144}
    assert {vram: default_context_length(vram) for vram in tiers} == tiers


def test_this_machine_has_memory() -> None:
    assert 0 < free_memory() <= total_memory()
