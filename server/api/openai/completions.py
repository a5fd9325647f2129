"""`/v1/completions`."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from server.api.endpoint import Call, Endpoint
from server.api.errors import JSON, OPENAI
from server.api.replies import SSE, Reply, StreamReply
from server.api.routing import Route
from server.errors import ModelNotFound
from server.services.protocols import Services
from server.types.generation import Chunk, Completed
from server.wire.folding import fold
from server.wire.openai.completions import (
    CompletionCall,
    completion,
    completion_from_body,
    text_piece,
    usage_piece,
)
from server.wire.openai.options import DONE


def routes(services: Services) -> list[Route]:
    """The route of this module."""
    return [Route("POST", "/v1/completions", Endpoint(services, _decode, _complete, faults=OPENAI))]


def _decode(call: Call) -> CompletionCall:
    return completion_from_body(call.body, call.origin)


async def _complete(call: Call, decoded: CompletionCall) -> Reply | StreamReply:
    request = decoded.request
    if not request.model:
        raise ModelNotFound("")
    id_ = f"cmpl-{secrets.token_hex(12)}"
    if decoded.stream and not request.render_only:
        return StreamReply(_stream(call.services, decoded, id_), SSE)
    async with aclosing(call.services.inference.generate(request)) as events:
        answer = await fold(events)
    return Reply.of(completion(id_, request.model, answer, int(time.time())), content_type=JSON)


async def _stream(services: Services, decoded: CompletionCall, id_: str) -> AsyncGenerator[bytes, None]:
    created_s = int(time.time())
    model, with_usage = decoded.request.model, decoded.include_usage
    async with aclosing(services.inference.generate(decoded.request)) as events:
        async for event in events:
            if isinstance(event, Chunk) and event.content:
                yield text_piece(id_, model, created_s, event.content, with_usage=with_usage)
            elif isinstance(event, Completed):
                yield text_piece(id_, model, created_s, "", reason=event.reason, with_usage=with_usage)
                if with_usage:
                    yield usage_piece(id_, model, created_s, event)
    yield DONE
