"""How many requests a model decodes together, and the memory that they take. Pure.

Each slot has a context of its own as long as enough of them fit: that is fastest. Otherwise the slots share
one pool of cells, which holds at least one whole context.
"""

from __future__ import annotations

from typing import Final

import msgspec

from server.gguf.memory_shape import MemoryShape

MIB: Final = 1 << 20

MIN_SLOTS: Final = 4
MAX_SLOTS: Final = 32

KV_SHARE: Final = 0.25
"""Share of the memory beside the weights that the contexts of one model may take by default."""

ASKED_KV_SHARE: Final = 0.75
"""The same where somebody has said how many slots there are to be."""

HOST_KV_BYTES: Final = 512 * MIB
"""In the host's memory llama.cpp writes to each page of the contexts before the first answer: beyond the
least number of slots they take at most this and once more what the weights take, so that loading stays fast.
"""

SIDE_BYTES: Final = 256 * MIB
MIN_SIDE_CELLS: Final = 1024
"""A pool beside the slots takes at most so much; with fewer cells it would seldom be of use."""

POOL_TOKENS_PER_SLOT: Final = 4096
"""A pool has a slot for so many of its cells: few requests fill a long context."""

CHECKPOINTS_PER_SLOT: Final = 2
"""States that a recurrent model keeps beside each slot, to go back to."""

CELL_PADDING: Final = 256
"""llama.cpp rounds the cells of a context up to a multiple of this."""

PROCESS_BYTES: Final = 160 * MIB
"""A worker before it loads: interpreter, libraries and their buffers, as measured."""

N_DRAFT_ROWS: Final = 31
"""Rows of logits that a step may have beside one for each slot: `server.engine.draft.MAX_DRAFT_TOKENS`."""

_WIDTH: Final = 2048
"""Width that a model counts with whose file does not tell."""


class MemoryPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How the memory of a context is divided.

    Attributes:
        n_slots: requests decoded together.
        n_pool_cells: cells that all slots share; 0: each has its own.
        n_side_cells: of a pool for requests that share a long beginning, beside slots with their own.
        n_checkpoints: states of recurrent models beside the slots.
        swa_full: layers with a sliding window keep everything, so that any beginning can be used again.
    """

    n_slots: int
    n_pool_cells: int = 0
    n_side_cells: int = 0
    n_checkpoints: int = 0
    swa_full: bool = True


def plan_memory(
    shape: MemoryShape, *, n_ctx: int, n_batch: int, room_bytes: int, on_gpu: bool = False, n_asked: int = 0
) -> MemoryPlan:
    """The most slots whose contexts fit their share of the memory, and a pool beside them where it fits.

    Args:
        n_ctx: tokens of context of each request.
        room_bytes: memory beside the weights.
        n_asked: slots, where somebody has said how many; 0: 4 to 32.
    """
    most, least = n_asked or MAX_SLOTS, n_asked or MIN_SLOTS
    share = int(max(room_bytes, 0) * (ASKED_KV_SHARE if n_asked else KV_SHARE))
    cheap = share if on_gpu else min(share, shape.weights_bytes + HOST_KV_BYTES)
    for swa_full in (True, False) if shape.n_window else (True,):
        for n_slots in range(most, least - 1, -1):
            plan = _own_contexts(shape, n_slots, n_ctx, swa_full=swa_full)
            limit = share if n_slots == least else cheap
            if kv_bytes(shape, plan, n_ctx=n_ctx, n_batch=n_batch) <= limit:
                with_side = plan if on_gpu else _with_side_pool(shape, plan, n_ctx=n_ctx)
                fits = kv_bytes(shape, with_side, n_ctx=n_ctx, n_batch=n_batch) <= share
                return with_side if fits else plan
    if not shape.can_share:
        return _own_contexts(shape, n_asked or 1, n_ctx, swa_full=False)
    return _pool(shape, share, n_ctx=n_ctx, n_batch=n_batch, n_asked=n_asked)


def kv_bytes(shape: MemoryShape, plan: MemoryPlan, *, n_ctx: int, n_batch: int) -> int:
    """KV cache and recurrent states of all slots."""
    n_cells = plan.n_pool_cells or n_ctx
    n_streams = 1 if plan.n_pool_cells else plan.n_slots
    n_window_cells = n_cells
    if shape.n_window and not plan.swa_full:
        n_windows = plan.n_slots if plan.n_pool_cells else 1
        n_window_cells = min(padded(n_cells), shape.n_window * n_windows + n_batch)
    per_stream = shape.full_bytes_per_token * padded(n_cells)
    per_stream += shape.window_bytes_per_token * padded(n_window_cells)
    side_bytes = shape.full_bytes_per_token * padded(plan.n_side_cells)
    return per_stream * n_streams + side_bytes + shape.state_bytes * (plan.n_slots + plan.n_checkpoints)


def compute_bytes(
    shape: MemoryShape, plan: MemoryPlan, *, n_ctx: int, n_batch: int, flash_attention: bool | None
) -> int:
    """llama.cpp's buffer for the steps of a graph, which share their memory: it is as large as the largest.

    In turn that is the attention (a mask, and without flash attention the scores of all heads), the
    feed-forward layer and the rows of logits. Measured for widths of 256 to 2048.
    """
    n_tokens_max = plan.n_pool_cells or n_ctx * plan.n_slots
    n_ubatch = min(max(n_batch, plan.n_slots), n_tokens_max)
    width = shape.n_embd or _WIDTH
    mask_bytes = n_ubatch * padded(plan.n_pool_cells or n_ctx) * (4 if flash_attention is False else 2)
    scores_bytes = mask_bytes * shape.n_head if flash_attention is False else 0
    hidden_bytes = 4 * n_ubatch * 6 * width
    feed_forward_bytes = 4 * n_ubatch * 2 * (shape.n_ff or 4 * width)
    logits_bytes = output_bytes(shape, plan) + 4 * n_ubatch * 2 * width
    return max(mask_bytes + hidden_bytes + max(scores_bytes, feed_forward_bytes), logits_bytes)


def output_bytes(shape: MemoryShape, plan: MemoryPlan) -> int:
    """Rows of logits, as llama.cpp keeps them for us."""
    return 4 * shape.n_vocab * (plan.n_slots + N_DRAFT_ROWS)


def load_bytes(
    shape: MemoryShape, plan: MemoryPlan, *, n_ctx: int, n_batch: int, flash_attention: bool | None = None
) -> int:
    """All bytes that a loaded model is expected to take."""
    computing = compute_bytes(shape, plan, n_ctx=n_ctx, n_batch=n_batch, flash_attention=flash_attention)
    contexts = kv_bytes(shape, plan, n_ctx=n_ctx, n_batch=n_batch)
    return shape.weights_bytes + contexts + computing + output_bytes(shape, plan) + PROCESS_BYTES


def padded(n_cells: int) -> int:
    """Cells that llama.cpp makes of so many."""
    return -(-n_cells // CELL_PADDING) * CELL_PADDING


def _own_contexts(shape: MemoryShape, n_slots: int, n_ctx: int, *, swa_full: bool) -> MemoryPlan:
    """A hybrid model's checkpoints share the cells of the slots, so all of these are in one pool there."""
    n_checkpoints = CHECKPOINTS_PER_SLOT * n_slots if shape.is_recurrent and shape.can_share else 0
    n_pool_cells = n_slots * n_ctx if n_checkpoints and shape.kv_bytes_per_token else 0
    return MemoryPlan(
        n_slots=n_slots, n_pool_cells=n_pool_cells, n_checkpoints=n_checkpoints, swa_full=swa_full
    )


def _with_side_pool(shape: MemoryShape, plan: MemoryPlan, *, n_ctx: int) -> MemoryPlan:
    """A pool as long as one context or shorter, for models of which sequences can share cells."""
    if plan.n_pool_cells or plan.n_slots < MIN_SLOTS or shape.is_recurrent or shape.n_window:
        return plan
    n_cells = SIDE_BYTES // max(shape.full_bytes_per_token, 1)
    n_cells = min(n_cells, n_ctx) // CELL_PADDING * CELL_PADDING
    is_of_use = shape.can_share and shape.full_bytes_per_token > 0 and n_cells >= MIN_SIDE_CELLS
    return msgspec.structs.replace(plan, n_side_cells=n_cells) if is_of_use else plan


def _pool(shape: MemoryShape, budget: int, *, n_ctx: int, n_batch: int, n_asked: int) -> MemoryPlan:
    """Slots that share the cells that fit; one whole context at least, even beyond the budget."""
    n_least = padded(n_ctx)
    plan = MemoryPlan(n_slots=n_asked or MIN_SLOTS, n_pool_cells=n_least, swa_full=not shape.n_window)
    if shape.is_recurrent:
        while plan.n_slots > 1 and shape.state_bytes * plan.n_slots * (1 + CHECKPOINTS_PER_SLOT) > budget:
            plan = msgspec.structs.replace(plan, n_slots=plan.n_slots - 1)
        plan = msgspec.structs.replace(plan, n_checkpoints=CHECKPOINTS_PER_SLOT * plan.n_slots)
    if not shape.full_bytes_per_token:
        return msgspec.structs.replace(plan, n_pool_cells=0)
    rest = budget - kv_bytes(shape, plan, n_ctx=n_ctx, n_batch=n_batch)
    n_cells = n_least + max(rest, 0) // shape.full_bytes_per_token // CELL_PADDING * CELL_PADDING
    n_cells = min(n_cells, plan.n_slots * n_least)
    n_slots = n_asked or min(max(n_cells // POOL_TOKENS_PER_SLOT, MIN_SLOTS), MAX_SLOTS)
    if shape.is_recurrent:
        n_slots = plan.n_slots
    return msgspec.structs.replace(plan, n_slots=n_slots, n_pool_cells=n_cells)
