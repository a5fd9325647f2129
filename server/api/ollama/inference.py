"""`/api/generate`, `/api/chat`, `/api/embed` and `/api/embeddings`."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from server.api.endpoint import Call, Endpoint
from server.api.replies import NDJSON, Reply, StreamReply
from server.api.routing import Route
from server.errors import InvalidRequest, InvalidTemplate, ModelNotFound, OllaError
from server.services.protocols import Services
from server.types.generation import EmbedRequest, GenerationEvent
from server.types.models import ShowRequest
from server.wire.codec import encode
from server.wire.folding import fold
from server.wire.ollama.inference import (
    ChatCall,
    GenerateCall,
    chat_from_body,
    embed_from_body,
    embeddings_from_body,
    generate_from_body,
)
from server.wire.ollama.replies import (
    chat_reply,
    embed_reply,
    embeddings_reply,
    generate_reply,
    whole_chat_reply,
    whole_generate_reply,
)


def routes(services: Services) -> list[Route]:
    """The routes of this module."""
    chat = Endpoint(services, _decode_chat, _chat)
    # A template of the request's own that does not parse is 500 in Ollama, as is a model's.
    generate = Endpoint(services, _decode_generate, _generate, statuses={InvalidTemplate: 500})
    embed = Endpoint(services, _decode_embed, _embed, reword=pull_first)
    embeddings = Endpoint(services, _decode_embeddings, _embeddings, reword=pull_first)
    return [
        Route("POST", "/api/chat", chat),
        Route("POST", "/api/generate", generate),
        Route("POST", "/api/embed", embed),
        Route("POST", "/api/embeddings", embeddings),
    ]


def require_model(model: str) -> None:
    """Raises: InvalidRequest for a request that names no model."""
    if not model:
        raise InvalidRequest("model is required")


async def _checked(
    events: AsyncGenerator[GenerationEvent, None], services: Services, model: str, fault: OllaError | None
) -> AsyncGenerator[GenerationEvent, None]:
    """`events`, unless there is a fault, which Ollama looks for only when it has found the model.

    Raises: ModelNotFound, or the fault; and what `events` raises.
    """
    async with aclosing(events):
        if fault is not None:
            await require_installed(services, model)
            raise fault
        async for event in events:
            yield event


async def require_installed(services: Services, model: str) -> None:
    """Raises: ModelNotFound, under the name that the caller wrote."""
    try:
        await services.models.show(ShowRequest(model=model))
    except ModelNotFound:
        raise ModelNotFound(model) from None


def pull_first(error: OllaError) -> OllaError:
    """A missing model in the words of the embedding routes."""
    if isinstance(error, ModelNotFound) and error.name:
        error.message = f'model "{error.name}" not found, try pulling it first'
    return error


def _decode_chat(call: Call) -> ChatCall:
    decoded = chat_from_body(call.body, call.origin)
    require_model(decoded.request.model)
    return decoded


async def _chat(call: Call, decoded: ChatCall) -> Reply | StreamReply:
    request, details = decoded.request, decoded.details
    events = _checked(call.services.inference.chat(request), call.services, request.model, decoded.late_error)
    if decoded.stream and request.messages and not request.render_only:
        return StreamReply(_chat_lines(events, request.model, details), NDJSON)
    async with aclosing(events):
        answer = await fold(events)
    return Reply.of(whole_chat_reply(request.model, answer, time.time_ns(), details=details))


async def _chat_lines(
    events: AsyncGenerator[GenerationEvent, None], model: str, details: bool
) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        async for event in events:
            yield encode(chat_reply(model, event, time.time_ns(), details=details)) + b"\n"


def _decode_generate(call: Call) -> GenerateCall:
    decoded = generate_from_body(call.body, call.origin)
    if not decoded.request.model:
        raise ModelNotFound("")
    return decoded


async def _generate(call: Call, decoded: GenerateCall) -> Reply | StreamReply:
    request, details = decoded.request, decoded.details
    events = _checked(
        call.services.inference.generate(request), call.services, request.model, decoded.late_error
    )
    if decoded.stream and request.prompt and not request.render_only:
        return StreamReply(_generate_lines(events, request.model, details), NDJSON)
    async with aclosing(events):
        answer = await fold(events)
    return Reply.of(whole_generate_reply(request.model, answer, time.time_ns(), details=details))


async def _generate_lines(
    events: AsyncGenerator[GenerationEvent, None], model: str, details: bool
) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        async for event in events:
            yield encode(generate_reply(model, event, time.time_ns(), details=details)) + b"\n"


def _decode_embed(call: Call) -> EmbedRequest:
    request = embed_from_body(call.body, call.origin)
    if not request.model:
        raise ModelNotFound("")
    return request


async def _embed(call: Call, request: EmbedRequest) -> Reply:
    return Reply.of(embed_reply(request.model, await call.services.inference.embed(request)))


def _decode_embeddings(call: Call) -> EmbedRequest:
    request = embeddings_from_body(call.body, call.origin)
    require_model(request.model)
    return request


async def _embeddings(call: Call, request: EmbedRequest) -> Reply:
    return Reply.of(embeddings_reply(await call.services.inference.embed(request)))
