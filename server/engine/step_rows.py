"""The rows of a step: into the batch before it is decoded, into the books after it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from server.engine.batch import Batch
from server.engine.draft import Match
from server.engine.generation import Generation
from server.engine.kv_cache import SlotCache
from server.engine.sequence import Plan


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
    slots = [sequence.slot for sequence in plan.decoding]
    tokens = [generations[sequence.request_id].last_token for sequence in plan.decoding]
    positions = [cache.length(slot) for slot in slots]
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
        batch.add(sequence.slot, part, start, output="last" if chunk.is_last else "none")
