"""What a draft model adds to the memory of the model that it guesses for. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from server.gguf.memory_shape import MemoryShape
from server.hardware.memory_plan import MemoryPlan, compute_bytes

N_BATCH: Final = 256
"""Tokens that it reads at once: `server.engine.draft_loading.N_BATCH`."""


def with_draft_model(shape: MemoryShape, draft: MemoryShape) -> MemoryShape:
    """Both models as one: each token of context costs both, and each slot has a context of both."""
    return msgspec.structs.replace(
        shape,
        weights_bytes=shape.weights_bytes + draft.weights_bytes,
        full_bytes_per_token=shape.full_bytes_per_token + draft.kv_bytes_per_token,
    )


def draft_buffer_bytes(
    draft: MemoryShape, plan: MemoryPlan, *, n_ctx: int, flash_attention: bool | None
) -> int:
    """Buffers for its steps, and one row of logits for each slot."""
    computing = compute_bytes(draft, plan, n_ctx=n_ctx, n_batch=N_BATCH, flash_attention=flash_attention)
    return computing + 4 * draft.n_vocab * plan.n_slots
