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


class StepRows:
    """Who has rows in a step, in the order of its batch. The same object serves all steps of one plan.

    Attributes:
        entries: each request, with its part of a prompt, or None where it decodes.
        slots: of the entries.
        request_ids: of the entries.
        decoding: the requests that decode.
        is_alone: a step of one request that is decoded alone.
        reports_at_once: one of the requests has to be reported each token before the next is decoded.
    """

    def __init__(self, plan: Plan, generations: Mapping[int, Generation]) -> None:
        """`generations` by request id."""
        self.plan = plan
        rows = plan.rows()
        self.entries = [(generations[sequence.request_id], chunk) for sequence, chunk in rows]
        self.slots = tuple(sequence.slot for sequence, _ in rows)
        self.request_ids = frozenset(sequence.request_id for sequence, _ in rows)
        self.decoding = [generations[sequence.request_id] for sequence in plan.decoding]
        self.is_alone = plan.is_alone
        self._all = [generation for generation, _ in self.entries]
        self.reports_at_once = any(generation.params.reports_at_once for generation in self._all)

    def fill(self, batch: Batch, cache: SlotCache, drafts: Mapping[int, Match]) -> None:
        """Fill a batch. `drafts` by request id. Raises: InvalidBatch, BadRequest."""
        batch.clear()
        if self.plan.media is not None:
            return
        if not drafts and not self.plan.chunks:
            tokens = [generation.last_token for generation in self._all]
            batch.add_rows(self.slots, tokens, cache.next_positions(self.slots))
            return
        for generation, chunk in self.entries:
            sequence = generation.sequence
            slot = sequence.slot
            if chunk is None:
                draft = drafts.get(sequence.request_id)
                run = np.array([generation.last_token, *(draft.tokens if draft else ())], np.int32)
                batch.add(slot, run, cache.position(slot, cache.length(slot)), output="all")
            else:
                start = sequence.n_prefilled
                part = sequence.tokens[start : start + chunk.n_tokens]
                output = "all" if sequence.is_scored else "last" if chunk.is_last else "none"
                batch.add(slot, part, cache.position(slot, start), output=output)

    def record_decoded(self, cache: SlotCache) -> list[Generation] | None:
        """Record a step without parts of prompts; returns its requests in order. None for other steps."""
        if self.plan.chunks:
            return None
        for slot, generation in zip(self.slots, self._all, strict=True):
            cache.append(slot, generation.last_token)
        return self._all


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
