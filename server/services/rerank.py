"""Documents in the order of how well they answer a query."""

from __future__ import annotations

from collections.abc import Sequence

from server.backends.base import Backend
from server.types.ranking import Ranked, RerankRequest


async def ranked(backend: Backend, request: RerankRequest) -> tuple[tuple[Ranked, ...], int]:
    """The request's documents, best first, and the tokens of all pairs of query and document.

    Raises: ContextExceeded, InvalidRequest, Busy, EngineError.
    """
    scores, n_tokens = await backend.rerank(request.query, request.documents, truncate=request.truncate)
    return best_first(scores, request.n_top), sum(n_tokens)


def best_first(scores: Sequence[float], n_top: int) -> tuple[Ranked, ...]:
    """Scores with their places, the highest first, equal ones in their order. `n_top`: so many; 0: all."""
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    return tuple(Ranked(index, scores[index]) for index in (order[:n_top] if n_top else order))
