"""Several answers to one request, each of them a request of its own, whole or streamed together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Protocol, TypeVar

import msgspec

from server.types.generation import (
    ChatRequest,
    Chunk,
    Completed,
    GenerateRequest,
    GenerationEvent,
    Rendered,
)
from server.wire.folding import Answer, fold

R = TypeVar("R", ChatRequest, GenerateRequest)
Start = Callable[[R], AsyncGenerator[GenerationEvent, None]]
"""Begins an answer."""


def seeded(request: R, n: int) -> list[R]:
    """A request for each of n answers; a seed is counted up, or all answers would be the same."""
    seed = request.options.get("seed")
    requests = [request]
    for index in range(1, n):
        options = request.options if seed is None else {**request.options, "seed": seed + index}
        requests.append(msgspec.structs.replace(request, options=options))
    return requests


async def answers(start: Start[R], requests: Sequence[R]) -> list[Answer]:
    """All answers, in the order of their requests. Raises: the first error, when all have ended."""

    async def answer(request: R) -> Answer:
        async with aclosing(start(request)) as events:
            return await fold(events)

    if len(requests) == 1:
        return [await answer(requests[0])]
    tasks = [asyncio.create_task(answer(request)) for request in requests]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await _end(tasks)


async def together(
    start: Start[R], requests: Sequence[R]
) -> AsyncGenerator[tuple[int, GenerationEvent], None]:
    """The events of all answers as they come, each with the number of its answer."""
    if len(requests) == 1:
        async with aclosing(start(requests[0])) as events:
            async for event in events:
                yield 0, event
        return
    arrived: asyncio.Queue[tuple[int, GenerationEvent | Exception | None]] = asyncio.Queue(len(requests))

    async def pump(index: int, request: R) -> None:
        last: Exception | None = None
        try:
            async with aclosing(start(request)) as events:
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


class Writer(Protocol):
    """What makes pieces of a streamed reply of one answer's events."""

    def pieces(self, event: Chunk | Completed) -> list[bytes]: ...


async def written(
    start: Start[R], requests: Sequence[R], writers: Sequence[Writer], ends: list[Completed]
) -> AsyncGenerator[bytes, None]:
    """The pieces of all answers as they come, each by its own writer; their ends are added to `ends`."""
    async with aclosing(together(start, requests)) as events:
        async for index, event in events:
            if isinstance(event, Rendered):
                continue
            if isinstance(event, Completed):
                ends.append(event)
            for piece in writers[index].pieces(event):
                yield piece


async def _end(tasks: list[asyncio.Task[Answer]] | list[asyncio.Task[None]]) -> None:
    """Cancel what still runs and wait for it, so that every request has given its slot back."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
