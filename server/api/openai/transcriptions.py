"""`/v1/audio/transcriptions`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from server.api.endpoint import Call, Endpoint
from server.api.errors import JSON, OPENAI
from server.api.replies import SSE, Reply, StreamReply
from server.api.routing import Route
from server.services.protocols import Services
from server.types.generation import Chunk, Completed
from server.wire.codec import encode
from server.wire.folding import fold
from server.wire.multipart import parse_form
from server.wire.openai.transcription import (
    TranscriptionCall,
    delta_event,
    done_event,
    transcription,
    transcription_from_form,
)


def routes(services: Services) -> list[Route]:
    """The route of this module."""
    return [
        Route("POST", "/v1/audio/transcriptions", Endpoint(services, _decode, _transcribe, faults=OPENAI))
    ]


def _decode(call: Call) -> TranscriptionCall:
    return transcription_from_form(parse_form(call.body, call.content_type), call.origin)


async def _transcribe(call: Call, decoded: TranscriptionCall) -> Reply | StreamReply:
    if decoded.stream:
        return StreamReply(_stream(call.services, decoded), SSE)
    async with aclosing(call.services.inference.chat(decoded.request)) as events:
        answer = await fold(events)
    text = answer.content.strip()
    if decoded.format == "text":
        return Reply(text.encode(), content_type="text/plain; charset=utf-8")
    timings = answer.completed.timings
    body = transcription(
        text, n_prompt_tokens=timings.n_prompt_tokens, n_output_tokens=timings.n_output_tokens
    )
    return Reply.of(body, content_type=JSON)


async def _stream(services: Services, decoded: TranscriptionCall) -> AsyncGenerator[bytes, None]:
    text = ""
    async with aclosing(services.inference.chat(decoded.request)) as events:
        async for event in events:
            if isinstance(event, Chunk) and event.content:
                text += event.content
                yield _event(delta_event(event.content))
            elif isinstance(event, Completed):
                timings = event.timings
                end = done_event(
                    text.strip(),
                    n_prompt_tokens=timings.n_prompt_tokens,
                    n_output_tokens=timings.n_output_tokens,
                )
                yield _event(end)


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + encode(value) + b"\n\n"
