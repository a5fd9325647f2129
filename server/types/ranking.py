"""Requests to rank documents, and what comes back."""

from __future__ import annotations

from typing import Any

import msgspec

from server.types.generation import Origin


class RerankRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A query and the documents to score by how well they answer it.

    Attributes:
        n_top: only the best so many; 0: all.
        truncate: cut a document that is too long instead of refusing it.
    """

    model: str
    query: str
    documents: tuple[str, ...] = ()
    n_top: int = 0
    truncate: bool = True
    options: dict[str, Any] = {}
    keep_alive_s: float | None = None
    origin: Origin = Origin()


class Ranked(msgspec.Struct, frozen=True):
    """A document's place in the request and its score as the model gives it: a higher one is better.

    Attributes:
        n_dropped_tokens: what was cut off it, because it is too long.
    """

    index: int
    score: float
    n_dropped_tokens: int = 0


class RerankResult(msgspec.Struct, frozen=True, kw_only=True):
    """Documents, the best first.

    Attributes:
        n_prompt_tokens: sum over the pairs of query and document, of what was read.
        n_dropped_tokens: what was cut off documents that are too long, all together.
        n_ctx: tokens of one pair that fit.
    """

    ranking: tuple[Ranked, ...]
    n_prompt_tokens: int = 0
    n_dropped_tokens: int = 0
    n_ctx: int = 0
    total_duration_ns: int = 0
    load_duration_ns: int = 0
