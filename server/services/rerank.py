"""Documents in the order of how well they answer a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from server.backends.base import Backend
from server.types.ranking import Ranked, RerankRequest


class Ranking(NamedTuple):
    """Documents, best first, and of all pairs of query and document the tokens read and those cut off."""

    ranked: tuple[Ranked, ...]
    n_tokens: int
    n_dropped_tokens: int


async def ranked(backend: Backend, request: RerankRequest) -> Ranking:
    """The request's documents, ranked. Raises: ContextExceeded, InvalidRequest, Busy, EngineError."""
    scores, n_tokens, n_dropped = await backend.rerank(
        request.query, request.documents, truncate=request.truncate
    )
    return Ranking(best_first(scores, n_dropped, request.n_top), sum(n_tokens), sum(n_dropped))


def best_first(scores: Sequence[float], n_dropped: Sequence[int], n_top: int) -> tuple[Ranked, ...]:
    """Scores with their places, the highest first, equal ones in their order. `n_top`: so many; 0: all."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    return tuple(
        Ranked(index, scores[index], n_dropped[index]) for index in (order[:n_top] if n_top else order)
    )
