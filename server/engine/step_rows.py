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
    """Fill a batch with what a plan says: a row for each request that decodes, then the parts of prompts.

    `generations` and `drafts` by request id. Raises: InvalidBatch, BadRequest.
    """
    batch.clear()
    if plan.media is not None:
        return
    slots = [sequence.slot for sequence in plan.decoding]
    tokens = [generations[sequence.request_id].last_token for sequence in plan.decoding]
    positions = [cache.position(slot, cache.length(slot)) for slot in slots]
    if drafts:
        for sequence, token, position in zip(plan.decoding, tokens, positions, strict=True):
            draft = drafts.get(sequence.request_id)
            row = np.array([token, *(draft.tokens if draft else ())], np.int32)
            batch.add(sequence.slot, row, position, output="all")
    else:
        batch.add_rows(slots, tokens, positions)
    for chunk in plan.chunks:
        sequence = chunk.sequence
        start = sequence.n_prefilled
        part = sequence.tokens[start : start + chunk.n_tokens]
        position = cache.position(sequence.slot, start)
        batch.add(sequence.slot, part, position, output="last" if chunk.is_last else "none")


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
