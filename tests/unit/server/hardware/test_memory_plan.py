"""Slots by memory: as many contexts as fit, else one pool; estimates never shrink when anything grows."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.gguf.memory_shape import MemoryShape
from server.hardware.memory_plan import (
    ASKED_KV_SHARE,
    KV_SHARE,
    MAX_SLOTS,
    MIB,
    MIN_SIDE_CELLS,
    MIN_SLOTS,
    SIDE_BYTES,
    MemoryPlan,
    compute_bytes,
    kv_bytes,
    load_bytes,
    padded,
    plan_memory,
)

GIB = 1 << 30
LLAMA_8B = MemoryShape(
    full_bytes_per_token=131072, weights_bytes=5 * GIB, n_vocab=128256, n_embd=4096, n_ff=14336, n_head=32
)
GEMMA_27B = MemoryShape(
    full_bytes_per_token=80 * 1024,
    window_bytes_per_token=416 * 1024,
    n_window=1024,
    weights_bytes=16 * GIB,
    n_vocab=262144,
    n_embd=5376,
    n_ff=21504,
    n_head=32,
)
MAMBA = MemoryShape(state_bytes=25 * MIB, weights_bytes=3 * GIB, n_vocab=50280, n_embd=2560)
HYBRID = msgspec.structs.replace(LLAMA_8B, state_bytes=10 * MIB, full_bytes_per_token=24 * 1024)


def plan(shape: MemoryShape, n_ctx: int, room: float, n_asked: int = 0, on_gpu: bool = False) -> MemoryPlan:
    return plan_memory(shape, n_ctx=n_ctx, n_batch=512, room_bytes=int(room), on_gpu=on_gpu, n_asked=n_asked)


shapes = st.builds(
    MemoryShape,
    full_bytes_per_token=st.integers(0, 1 << 20),
    window_bytes_per_token=st.integers(0, 1 << 20),
    n_window=st.sampled_from([0, 64, 4096]),
    state_bytes=st.sampled_from([0, 0, 1 << 16, 1 << 26]),
    weights_bytes=st.integers(0, 1 << 36),
    n_vocab=st.integers(0, 1 << 18),
    n_embd=st.integers(0, 1 << 14),
    n_ff=st.integers(0, 1 << 15),
    n_head=st.integers(0, 128),
    can_share=st.booleans(),
)
contexts = st.integers(4, 1 << 17)
rooms = st.integers(-GIB, 1 << 37)


@given(shapes, contexts, rooms, st.booleans(), st.integers(0, 64))
def test_every_plan_has_slots_and_room_for_one_whole_context(
    shape: MemoryShape, n_ctx: int, room: int, on_gpu: bool, n_asked: int
) -> None:
    chosen = plan(shape, n_ctx, room, n_asked, on_gpu)
    assert 1 <= chosen.n_slots <= (n_asked or MAX_SLOTS)
    assert not chosen.n_pool_cells or n_ctx <= chosen.n_pool_cells <= padded(n_ctx) * chosen.n_slots
    if not shape.is_recurrent and shape.can_share:
        assert chosen.n_slots >= (n_asked or MIN_SLOTS)
        assert not n_asked or chosen.n_slots == n_asked
    if chosen.n_pool_cells > padded(n_ctx) or (chosen.n_slots > 1 and not chosen.n_pool_cells):
        share = ASKED_KV_SHARE if n_asked else KV_SHARE
        used = kv_bytes(shape, chosen, n_ctx=n_ctx, n_batch=512)
        fits = used <= max(room, 0) * share
        # What cannot share, or holds nothing per token, is as large as it is.
        assert fits or not shape.can_share or not shape.full_bytes_per_token or shape.n_window
    assert plan(shape, n_ctx, room, n_asked, on_gpu) == chosen


@given(shapes, contexts, rooms)
def test_more_memory_never_means_fewer_slots_of_their_own(shape: MemoryShape, n_ctx: int, room: int) -> None:
    less, more = plan(shape, n_ctx, room), plan(shape, n_ctx, room + GIB)
    if not less.n_pool_cells and less.swa_full and shape.can_share:
        assert not more.n_pool_cells or shape.is_recurrent
        assert more.n_slots >= less.n_slots


@pytest.mark.parametrize(
    ("shape", "n_ctx", "room", "expected"),
    [
        (LLAMA_8B, 4096, 19 * GIB, MemoryPlan(n_slots=9, n_side_cells=2048)),
        (LLAMA_8B, 4096, 9 * GIB, MemoryPlan(n_slots=4, n_side_cells=2048)),
        (LLAMA_8B, 4096, 8.9 * GIB, MemoryPlan(n_slots=4)),
        (LLAMA_8B, 4096, 1000 * GIB, MemoryPlan(n_slots=11, n_side_cells=2048)),
        (LLAMA_8B, 512, 19 * GIB, MemoryPlan(n_slots=32)),
        (LLAMA_8B, 32768, 19 * GIB, MemoryPlan(n_slots=9, n_pool_cells=38912)),
        (LLAMA_8B, 131072, 19 * GIB, MemoryPlan(n_slots=32, n_pool_cells=131072)),
        (GEMMA_27B, 4096, 40 * GIB, MemoryPlan(n_slots=5)),
        (GEMMA_27B, 32768, 100 * GIB, MemoryPlan(n_slots=5, swa_full=False)),
        (MAMBA, 4096, 19 * GIB, MemoryPlan(n_slots=32, n_checkpoints=64)),
        (MAMBA, 4096, GIB // 2, MemoryPlan(n_slots=1, n_checkpoints=2)),
        (HYBRID, 4096, 19 * GIB, MemoryPlan(n_slots=32, n_pool_cells=32 * 4096, n_checkpoints=64)),
    ],
)
def test_plans_of_known_models(shape: MemoryShape, n_ctx: int, room: float, expected: MemoryPlan) -> None:
    assert plan(shape, n_ctx, room) == expected


def test_a_gpu_gets_as_many_slots_as_fit() -> None:
    assert plan(LLAMA_8B, 4096, 75 * GIB, on_gpu=True) == MemoryPlan(n_slots=32)


@given(shapes, contexts, rooms, st.integers(0, 64))
def test_a_pool_beside_the_slots_is_small(shape: MemoryShape, n_ctx: int, room: int, n_asked: int) -> None:
    chosen = plan(shape, n_ctx, room, n_asked)
    if chosen.n_side_cells:
        assert MIN_SIDE_CELLS <= chosen.n_side_cells <= n_ctx
        assert chosen.n_side_cells * shape.full_bytes_per_token <= SIDE_BYTES
        assert chosen.n_slots >= MIN_SLOTS
        assert not (chosen.n_pool_cells or shape.is_recurrent or shape.n_window)


def test_a_number_that_was_asked_for_is_kept() -> None:
    assert plan(LLAMA_8B, 4096, 19 * GIB, n_asked=1) == MemoryPlan(n_slots=1)
    assert plan(LLAMA_8B, 4096, 19 * GIB, n_asked=28).n_pool_cells == 0
    crowded = plan(LLAMA_8B, 4096, 19 * GIB, n_asked=64)
    assert crowded.n_slots == 64
    assert 4096 < crowded.n_pool_cells < 64 * 4096


@given(shapes, contexts, st.integers(1, 64), st.booleans())
def test_more_of_anything_needs_no_less(shape: MemoryShape, n_ctx: int, n_slots: int, swa_full: bool) -> None:
    own = MemoryPlan(n_slots=n_slots, swa_full=swa_full)
    base = load_bytes(shape, own, n_ctx=n_ctx, n_batch=512)
    assert base >= shape.weights_bytes + kv_bytes(shape, own, n_ctx=n_ctx, n_batch=512)
    for name in ("full_bytes_per_token", "weights_bytes", "n_vocab", "n_head", "state_bytes"):
        larger = msgspec.structs.replace(shape, **{name: getattr(shape, name) + 1})
        assert load_bytes(larger, own, n_ctx=n_ctx, n_batch=512) >= base
    assert load_bytes(shape, own, n_ctx=n_ctx + 1, n_batch=512) >= base
    assert load_bytes(shape, own, n_ctx=n_ctx, n_batch=513) >= base
    more = msgspec.structs.replace(own, n_slots=n_slots + 1)
    assert load_bytes(shape, more, n_ctx=n_ctx, n_batch=512) >= base


def test_without_flash_attention_the_scores_of_all_heads_count() -> None:
    own = MemoryPlan(n_slots=4)
    with_it, without = (
        compute_bytes(LLAMA_8B, own, n_ctx=8192, n_batch=512, flash_attention=choice)
        for choice in (None, False)
    )
    assert without - with_it > 8192 * 512 * 4 * 28
