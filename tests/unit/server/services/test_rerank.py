"""The order of documents."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.backends.fake import FakeBackend
from server.services.rerank import best_first, ranked
from server.types.generation import LoadParams, ModelPaths
from server.types.ranking import RerankRequest


@given(st.lists(st.floats(allow_nan=False, width=32)), st.integers(0, 10))
def test_the_best_come_first_and_equal_ones_in_their_order(scores: list[float], n_top: int) -> None:
    ranking = best_first(scores, range(len(scores)), n_top)
    assert len(ranking) == (min(n_top, len(scores)) if n_top else len(scores))
    assert all((scores[one.index], one.index) == (one.score, one.n_dropped_tokens) for one in ranking)
    order = [(-one.score, one.index) for one in ranking]
    assert order == sorted((-score, index) for index, score in enumerate(scores))[: len(order)]


async def test_documents_are_ranked_by_the_backend() -> None:
    backend = FakeBackend()
    await backend.load(ModelPaths(model="m"), LoadParams(n_ctx=64, embedding=True), lambda fraction: None)
    request = RerankRequest(model="m", query="a fox", documents=("a dog", "the cat", "a red fox"), n_top=2)
    ranking = await ranked(backend, request)
    assert [one.index for one in ranking.ranked] == [2, 0]
    assert ranking.n_dropped_tokens == 0
    assert ranking.n_tokens == sum(len(request.query + document) for document in request.documents)
