"""`/v1/chat/completions`."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from server.api.endpoint import Call, Endpoint
from server.api.errors import JSON, OPENAI
from server.api.ollama.inference import require_installed, require_model
from server.api.replies import SSE, Reply, StreamReply
from server.api.routing import Route
from server.services.protocols import Services
from server.types.generation import ChatRequest, Completed, GenerationEvent, Rendered
from server.wire.folding import Answer, fold
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
    id_ = f"chatcmpl-{secrets.token_hex(12)}"
    if decoded.stream and not request.render_only:
        return StreamReply(_stream(call.services, decoded, id_), SSE)
    answers = await _answers(call.services, decoded)
    return Reply.of(completion(id_, request.model, answers, int(time.time())), content_type=JSON)


def _choices(decoded: ChatCall) -> list[ChatRequest]:
    """A request for each answer; a seed is counted up, or all answers would be the same."""
    seed = decoded.request.options.get("seed")
    requests = [decoded.request]
    for index in range(1, decoded.n):
        options = (
            decoded.request.options if seed is None else {**decoded.request.options, "seed": seed + index}
        )
        requests.append(msgspec.structs.replace(decoded.request, options=options))
    return requests


async def _answers(services: Services, decoded: ChatCall) -> list[Answer]:
    async def answer(request: ChatRequest) -> Answer:
        async with aclosing(services.inference.chat(request)) as events:
            return await fold(events)

    requests = _choices(decoded)
    if len(requests) == 1:
        return [await answer(requests[0])]
    tasks = [asyncio.create_task(answer(request)) for request in requests]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await _end(tasks)


async def _stream(services: Services, decoded: ChatCall, id_: str) -> AsyncGenerator[bytes, None]:
    created_s = int(time.time())
    requests = _choices(decoded)
    model = decoded.request.model
    writers = [ChunkWriter(id_, model, created_s, index=index) for index in range(len(requests))]
    ends: list[Completed] = []
    async with aclosing(_joined(services, requests)) as events:
        async for index, event in events:
            if isinstance(event, Rendered):
                continue
            if isinstance(event, Completed):
                ends.append(event)
            for piece in writers[index].pieces(event):
                yield piece
    if decoded.include_usage:
        n_output = sum(end.timings.n_output_tokens for end in ends)
        yield writers[0].usage_piece(usage(ends[0].timings, n_output))
    yield DONE


async def _joined(
    services: Services, requests: list[ChatRequest]
) -> AsyncGenerator[tuple[int, GenerationEvent], None]:
    """The events of all answers as they come, each with the number of its answer."""
    if len(requests) == 1:
        async with aclosing(services.inference.chat(requests[0])) as events:
            async for event in events:
                yield 0, event
        return
    arrived: asyncio.Queue[tuple[int, GenerationEvent | Exception | None]] = asyncio.Queue(len(requests))

    async def pump(index: int, request: ChatRequest) -> None:
        last: Exception | None = None
        try:
            async with aclosing(services.inference.chat(request)) as events:
                async for event in events:
                    await arrived.put((index, event))
        except Exception as error:
            last = error
        await arrived.put((index, last))

    tasks = [asyncio.create_task(pump(index, request)) for index, request in enumerate(requests)]
    n_open = len(tasks)
    try:
        while n_open:
            index, item = await arrived.get()
            if item is None:
                n_open -= 1
            elif isinstance(item, Exception):
                raise item
            else:
                yield index, item
    finally:
        await _end(tasks)


async def _end(tasks: list[asyncio.Task[Answer]] | list[asyncio.Task[None]]) -> None:
    """Cancel what still runs and wait for it, so that every request has given its slot back."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
