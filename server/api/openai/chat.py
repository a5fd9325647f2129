"""`/v1/chat/completions`."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from server.api.endpoint import Call, Endpoint
from server.api.errors import JSON, OPENAI
from server.api.ollama.inference import require_installed, require_model
from server.api.openai.choices import answers, seeded, written
from server.api.replies import SSE, Reply, StreamReply
from server.api.routing import Route
from server.services.protocols import Services
from server.types.generation import Completed
from server.wire.headers import ignored_headers
from server.wire.openai.chat import ChatCall, chat_from_body
from server.wire.openai.chat_replies import ChunkWriter, completion
from server.wire.openai.options import DONE, usage


def routes(services: Services) -> list[Route]:
    """The route of this module."""
    return [Route("POST", "/v1/chat/completions", Endpoint(services, _decode, _chat, faults=OPENAI))]


def _decode(call: Call) -> ChatCall:
    return chat_from_body(call.body, call.origin)


async def _chat(call: Call, decoded: ChatCall) -> Reply | StreamReply:
    request = decoded.request
    require_model(request.model)
    if decoded.late_error is not None:
        await require_installed(call.services, request.model)
        raise decoded.late_error
    headers = ignored_headers(decoded.ignored)
    id_ = f"chatcmpl-{secrets.token_hex(12)}"
    if decoded.stream and not request.render_only:
        return StreamReply(_stream(call.services, decoded, id_), SSE, headers=headers)
    made = await answers(call.services.inference.chat, seeded(request, decoded.n))
    body = completion(id_, request.model, made, int(time.time()))
    return Reply.of(body, content_type=JSON, headers=headers)


async def _stream(services: Services, decoded: ChatCall, id_: str) -> AsyncGenerator[bytes, None]:
    created_s = int(time.time())
    requests = seeded(decoded.request, decoded.n)
    model = decoded.request.model
    writers = [ChunkWriter(id_, model, created_s, index=index) for index in range(len(requests))]
    ends: list[Completed] = []
    async with aclosing(written(services.inference.chat, requests, writers, ends)) as pieces:
        async for piece in pieces:
            yield piece
    if decoded.include_usage:
        n_output = sum(end.timings.n_output_tokens for end in ends)
        yield writers[0].usage_piece(usage(ends[0].timings, n_output))
    yield DONE
