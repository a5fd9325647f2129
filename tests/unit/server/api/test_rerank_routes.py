"""The rerank routes over scripted services."""

from __future__ import annotations

import httpx
import pytest

from server.errors import Busy, CapabilityMissing, ModelNotFound
from server.types.ranking import Ranked, RerankRequest, RerankResult
from tests.support.scripted_services import ScriptedServices

BODY = {"model": "m", "query": "q", "documents": ["a", "b"]}
PATHS = ("/api/rerank", "/v1/rerank", "/v1/reranking", "/rerank", "/reranking")


@pytest.mark.parametrize("path", PATHS)
async def test_each_path_ranks(services: ScriptedServices, client: httpx.AsyncClient, path: str) -> None:
    services.scripted_inference.ranked = RerankResult(ranking=(Ranked(1, 0.5), Ranked(0, 0.25)))
    reply = await client.post(path, json={**BODY, "top_n": 2})
    assert reply.status_code == 200
    assert [list(one.values()) for one in reply.json()["results"]] == [[1, 0.5], [0, 0.25]]
    (request,) = services.scripted_inference.asked
    assert isinstance(request, RerankRequest)
    assert (request.query, request.documents, request.n_top, request.origin.route) == (
        "q",
        ("a", "b"),
        2,
        path,
    )


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (CapabilityMissing('"m" does not support rerank'), 400),
        (ModelNotFound("m"), 404),
        (Busy("too many inputs wait"), 503),
    ],
)
async def test_errors_come_in_the_words_of_the_route(
    services: ScriptedServices, client: httpx.AsyncClient, error: Exception, status: int
) -> None:
    services.scripted_inference.ranked = error
    native, other = [await client.post(path, json=BODY) for path in ("/api/rerank", "/v1/rerank")]
    assert native.status_code == other.status_code == status
    assert native.json()["error"] == other.json()["error"]["message"]
    if status == 404:
        assert native.json()["error"] == 'model "m" not found, try pulling it first'


async def test_a_bad_body_is_refused(client: httpx.AsyncClient) -> None:
    reply = await client.post("/v1/rerank", json={"model": "m", "query": "q"})
    assert reply.status_code == 400
    assert reply.json()["error"]["message"] == "documents must be a list of texts, at least one"
