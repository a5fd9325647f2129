from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.hardware.memory import (
    GIB,
    GRAPH_BYTES,
    MAX_DEFAULT_SLOTS,
    PROCESS_BYTES,
    default_context_length,
    default_n_slots,
    free_memory,
    load_bytes,
    total_memory,
)

COUNTS = st.integers(0, 1 << 20)


def test_context_length_follows_the_tiers() -> None:
    tiers = {0: 4096, 23 * GIB - 1: 4096, 23 * GIB: 32768, 47 * GIB - 1: 32768, 47 * GIB: 262144}
    assert {vram: default_context_length(vram) for vram in tiers} == tiers


def test_a_graph_is_as_wide_as_the_model() -> None:
    """A file that does not tell its width counts as one of 2048."""
    sizes = {"weights_bytes": 7, "kv_bytes_per_token": 100, "n_ctx": 50, "n_slots": 4, "n_vocab": 1000}
    rest = 7 + 100 * 50 * 4 + 4 * 1000 * 4 + PROCESS_BYTES
    for n_embd, graph_bytes in ((0, GRAPH_BYTES), (2048, GRAPH_BYTES), (8192, 4 * GRAPH_BYTES)):
        assert load_bytes(**sizes, n_embd=n_embd) == rest + graph_bytes


@given(COUNTS, COUNTS, st.integers(1, 1 << 17), st.integers(1, 64), COUNTS)
def test_more_of_anything_needs_no_less(
    weights: int, kv: int, n_ctx: int, n_slots: int, n_vocab: int
) -> None:
    def needed(**more: int) -> int:
        values = {
            "weights_bytes": weights,
            "kv_bytes_per_token": kv,
            "n_ctx": n_ctx,
            "n_slots": n_slots,
            "n_vocab": n_vocab,
            "n_embd": 64,
        }
        return load_bytes(**{name: value + more.get(name, 0) for name, value in values.items()})

    base = needed()
    assert base >= weights + kv * n_ctx * n_slots
    for name in ("weights_bytes", "kv_bytes_per_token", "n_ctx", "n_slots", "n_vocab"):
        assert needed(**{name: 1}) >= base


@given(st.integers(-GIB, 1000 * GIB), st.integers(0, 100 * GIB))
def test_slots_are_bounded_and_fit_their_share(free: int, kv_per_slot: int) -> None:
    n_slots = default_n_slots(free, kv_per_slot)
    assert 1 <= n_slots <= MAX_DEFAULT_SLOTS
    assert n_slots == 1 or n_slots * kv_per_slot <= max(free, 0) / 4


def test_slots_by_memory() -> None:
    assert default_n_slots(16 * GIB, GIB) == 4
    assert default_n_slots(GIB, GIB) == 1
    assert default_n_slots(1000 * GIB, GIB) == MAX_DEFAULT_SLOTS
    assert default_n_slots(0, 0) == MAX_DEFAULT_SLOTS


def test_this_machine_has_memory() -> None:
    assert 0 < free_memory() <= total_memory()
