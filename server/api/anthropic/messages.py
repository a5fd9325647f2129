"""`/v1/messages` and `/v1/messages/count_tokens`."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from contextlib import aclosing

from server.api.counting import count_prompt_tokens
from server.api.endpoint import Call, Endpoint
from server.api.errors import ANTHROPIC, JSON
from server.api.replies import SSE, Reply, StreamReply
from server.api.routing import Route
from server.api.silence import with_silences
from server.services.protocols import Services
from server.types.generation import Rendered
from server.wire.anthropic.replies import PING, MessageWriter, TokenCount, message
from server.wire.anthropic.requests import MessagesCall, messages_from_body
from server.wire.folding import fold
from server.wire.headers import ignored_headers

PING_AFTER_S = 10.0
"""A stream is silent while a call is written; proxies between take longer silences for the end."""


def routes(services: Services) -> list[Route]:
    """The routes of this module."""
    count = Endpoint(services, _decode_count, _count, faults=ANTHROPIC)
    return [
        Route("POST", "/v1/messages", Endpoint(services, _decode, _message, faults=ANTHROPIC)),
        Route("POST", "/v1/messages/count_tokens", count),
    ]


def _decode(call: Call) -> MessagesCall:
    return messages_from_body(call.body, call.origin)


async def _message(call: Call, decoded: MessagesCall) -> Reply | StreamReply:
    request = decoded.request
    id_ = f"msg_{secrets.token_hex(12)}"
    headers = (("request-id", f"req_{secrets.token_hex(12)}"), *ignored_headers(decoded.ignored))
    if decoded.stream:
        headers = (("cache-control", "no-cache"), *headers)
        return StreamReply(_stream(call.services, decoded, id_), SSE, headers=headers)
    async with aclosing(call.services.inference.chat(request)) as events:
        answer = await fold(events)
    body = message(id_, request.model, answer, _stop_sequences(decoded))
    return Reply.of(body, content_type=JSON, headers=headers)


async def _stream(services: Services, decoded: MessagesCall, id_: str) -> AsyncGenerator[bytes, None]:
    request = decoded.request
    writer = MessageWriter(id_, request.model, _stop_sequences(decoded))
    async with (
        aclosing(services.inference.chat(request)) as events,
        aclosing(with_silences(events, PING_AFTER_S)) as heard,
    ):
        async for event in heard:
            if event is None:
                if writer.has_begun:
                    yield PING
            elif not isinstance(event, Rendered):
                # One write for all events of a piece: a client that reads them together loses nothing.
                yield b"".join(writer.pieces(event))


def _stop_sequences(decoded: MessagesCall) -> tuple[str, ...]:
    return tuple(decoded.request.options.get("stop", ()))


def _decode_count(call: Call) -> MessagesCall:
    return messages_from_body(call.body, call.origin, counts=True)


async def _count(call: Call, decoded: MessagesCall) -> Reply:
    n_tokens = await count_prompt_tokens(call.services, decoded.request)
    return Reply.of(TokenCount(n_tokens), content_type=JSON)
