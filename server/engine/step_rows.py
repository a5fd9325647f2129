"""The rows of a step: into the batch before it is decoded, into the books after it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from server.engine.batch import Batch, TokenArray
from server.engine.draft import Match
from server.engine.embedding_batch import EmbeddingBatch
from server.engine.generation import Generation
from server.engine.kv_cache import SlotCache
from server.engine.media import Placed
from server.engine.sequence import Chunk, Plan


def fill(
    batch: Batch,
    cache: SlotCache,
    plan: Plan,
    generations: Mapping[int, Generation],
    drafts: Mapping[int, Match],
) -> None:
    """Fill a batch with what a plan says, in the order of its rows.

    `generations` and `drafts` by request id. Raises: InvalidBatch, BadRequest.
    """
    batch.clear()
    if plan.media is not None:
        return
    rows = plan.rows()
    if not drafts and not plan.chunks:
        slots = [sequence.slot for sequence, _ in rows]
        tokens = [generations[sequence.request_id].last_token for sequence, _ in rows]
        batch.add_rows(slots, tokens, [cache.position(slot, cache.length(slot)) for slot in slots])
        return
    for sequence, chunk in rows:
        slot = sequence.slot
        if chunk is None:
            draft = drafts.get(sequence.request_id)
            last = generations[sequence.request_id].last_token
            run = np.array([last, *(draft.tokens if draft else ())], np.int32)
            batch.add(slot, run, cache.position(slot, cache.length(slot)), output="all")
        else:
            start = sequence.n_prefilled
            part = sequence.tokens[start : start + chunk.n_tokens]
            output = "all" if sequence.is_scored else "last" if chunk.is_last else "none"
            batch.add(slot, part, cache.position(slot, start), output=output)


def media_batch(cache: SlotCache, chunk: Chunk, placed: Placed) -> EmbeddingBatch:
    """The batch of a part of a picture or sound."""
    slot = chunk.sequence.slot
    first = chunk.sequence.n_prefilled - placed.start
    part = slice(first, first + chunk.n_tokens)
    return EmbeddingBatch(
        slot,
        placed.span.embeddings[part],
        placed.span.positions(cache.position(slot, placed.start))[:, part],
        has_output=chunk.is_last,
    )


def record_chunk(cache: SlotCache, chunk: Chunk) -> None:
    """A part of a prompt is in memory."""
    sequence, placed = chunk.sequence, chunk.placed
    start = sequence.n_prefilled
    tokens = sequence.tokens[start : start + chunk.n_tokens]
    positions: TokenArray | None = None
    if placed is not None:
        first_pos = cache.position(sequence.slot, placed.start)
        after = np.int32(first_pos + placed.span.n_pos)
        first = start - placed.start
        whole = np.append(placed.span.positions(first_pos)[0], after)
        positions = whole[first : first + chunk.n_tokens + 1]
    cache.append(sequence.slot, tokens, positions=positions)
