"""What to do without when a model's context does not fit in memory. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from server.types.generation import LoadParams

LEAST_BATCH: Final = 128
"""Prompts are slow in smaller batches, and their buffers are no large part of the memory any more."""


def smaller_load(params: LoadParams, *, n_ctx: int) -> LoadParams | None:
    """The same load with less memory: a smaller batch first, then fewer slots. None: nothing is left to save.

    `n_ctx`: tokens of context of each request, which stay as they are.
    """
    if params.n_batch > LEAST_BATCH:
        return msgspec.structs.replace(params, n_batch=max(LEAST_BATCH, params.n_batch // 2))
    if params.n_slots == 1:
        return None
    n_slots = params.n_slots // 2
    n_checkpoints = params.n_checkpoints // 2
    n_pool_cells = params.n_pool_cells
    if n_pool_cells:
        n_pool_cells = max(n_pool_cells // 2, n_ctx)
    if n_slots == 1 and not n_checkpoints:
        n_pool_cells = 0
    return msgspec.structs.replace(
        params, n_slots=n_slots, n_checkpoints=n_checkpoints, n_pool_cells=n_pool_cells
    )
