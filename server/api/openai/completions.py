"""`/v1/completions`."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from server.api.endpoint import Call, Endpoint
from server.api.errors import JSON, OPENAI
from server.api.openai.choices import answers, seeded, written
from server.api.replies import SSE, Reply, StreamReply
from server.api.routing import Route
from server.errors import ModelNotFound
from server.services.protocols import Services
from server.types.generation import Completed, GenerateRequest
from server.wire.headers import ignored_headers
from server.wire.openai.completions import (
    CompletionCall,
    TextWriter,
    completion,
    completion_from_body,
    usage_piece,
)
from server.wire.openai.options import DONE


def routes(services: Services) -> list[Route]:
    """The route of this module."""
    return [Route("POST", "/v1/completions", Endpoint(services, _decode, _complete, faults=OPENAI))]


def _decode(call: Call) -> CompletionCall:
    return completion_from_body(call.body, call.origin)


async def _complete(call: Call, decoded: CompletionCall) -> Reply | StreamReply:
    model = decoded.requests[0].model
    if not model:
        raise ModelNotFound("")
    requests = list(decoded.requests)
    for index, tokens in decoded.tokens.items():
        text = await call.services.inference.detokenize(model, tokens)
        requests[index] = msgspec.structs.replace(
            requests[index], prompt=text, prompt_tokens=tokens, raw=not requests[index].suffix
        )
    requests = [one for request in requests for one in seeded(request, decoded.n)]
    prompts = [request.prompt if decoded.echo else "" for request in requests]
    headers = ignored_headers(decoded.ignored)
    id_ = f"cmpl-{secrets.token_hex(12)}"
    if decoded.stream and not requests[0].render_only:
        pieces = _stream(call.services, requests, prompts, id_, with_usage=decoded.include_usage)
        return StreamReply(pieces, SSE, headers=headers)
    made = await answers(call.services.inference.generate, requests)
    body = completion(id_, model, made, prompts, int(time.time()))
    return Reply.of(body, content_type=JSON, headers=headers)


async def _stream(
    services: Services, requests: list[GenerateRequest], prompts: list[str], id_: str, *, with_usage: bool
) -> AsyncGenerator[bytes, None]:
    created_s, model = int(time.time()), requests[0].model
    writers = [
        TextWriter(id_, model, created_s, index=index, prompt=prompt, with_usage=with_usage)
        for index, prompt in enumerate(prompts)
    ]
    ends: list[Completed] = []
    async with aclosing(written(services.inference.generate, requests, writers, ends)) as pieces:
        async for piece in pieces:
            yield piece
    if with_usage:
        yield usage_piece(id_, model, created_s, ends)
    yield DONE
