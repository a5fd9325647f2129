"""`/api/rerank`, and the paths under which other servers have the same."""

from __future__ import annotations

from server.api.endpoint import Call, Endpoint
from server.api.errors import JSON, JSON_UTF8, NATIVE, OPENAI
from server.api.ollama.inference import pull_first
from server.api.replies import Reply
from server.api.routing import Route
from server.services.protocols import Services
from server.wire.rerank import RerankCall, rerank_from_body, rerank_reply

NATIVE_PATH = "/api/rerank"
OTHER_PATHS = ("/v1/rerank", "/v1/reranking", "/rerank", "/reranking")
"""llama-server's, the first of which is also Jina's and Cohere's."""


def routes(services: Services) -> list[Route]:
    """The routes of this module."""
    native = Endpoint(services, _decode, _rerank_native, faults=NATIVE, reword=pull_first)
    other = Endpoint(services, _decode, _rerank, faults=OPENAI, reword=pull_first)
    return [Route("POST", NATIVE_PATH, native), *[Route("POST", path, other) for path in OTHER_PATHS]]


def _decode(call: Call) -> RerankCall:
    return rerank_from_body(call.body, call.origin)


async def _rerank_native(call: Call, decoded: RerankCall) -> Reply:
    result = await call.services.inference.rerank(decoded.request)
    return Reply.of(rerank_reply(decoded, result, is_native=True), content_type=JSON_UTF8)


async def _rerank(call: Call, decoded: RerankCall) -> Reply:
    result = await call.services.inference.rerank(decoded.request)
    return Reply.of(rerank_reply(decoded, result, is_native=False), content_type=JSON)
