"""`/v1/embeddings`."""

from __future__ import annotations

from server.api.endpoint import Call, Endpoint
from server.api.errors import JSON, OPENAI
from server.api.ollama.inference import pull_first
from server.api.replies import Reply
from server.api.routing import Route
from server.errors import ModelNotFound
from server.services.protocols import Services
from server.wire.openai.embeddings import EmbeddingsCall, embeddings_from_body, embeddings_reply


def routes(services: Services) -> list[Route]:
    """The route of this module."""
    app = Endpoint(services, _decode, _embed, faults=OPENAI, reword=pull_first)
    return [Route("POST", "/v1/embeddings", app)]


def _decode(call: Call) -> EmbeddingsCall:
    return embeddings_from_body(call.body, call.origin)


async def _embed(call: Call, decoded: EmbeddingsCall) -> Reply:
    request = decoded.request
    if not request.model:
        raise ModelNotFound("")
    result = await call.services.inference.embed(request)
    return Reply.of(embeddings_reply(request.model, result, as_base64=decoded.as_base64), content_type=JSON)
