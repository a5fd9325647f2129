"""Two real loops in two threads: a server's loop that streams, and a consumer's that pulls."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterator
from contextlib import aclosing
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from olla_tui.client.crossloop import Bridge, fetched
from server.errors import Cancelled, EngineCrashed, ModelNotFound, ShuttingDown
from server.types.generation import Chunk, Completed, GenerationEvent

T = TypeVar("T")
WAIT_S = 5.0


class ServerLoop:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def on_loop(self, function: Callable[[], T]) -> T:
        async def call() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(call(), self.loop).result(WAIT_S)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT_S)
        self.loop.close()


@pytest.fixture
def server() -> Iterator[ServerLoop]:
    server = ServerLoop()
    yield server
    if not server.loop.is_closed():
        server.stop()


class Source:
    """A stream that tells on which thread it ran and how it ended. `gate` holds it before its last item."""

    def __init__(self, items: list[GenerationEvent], *, failure: Exception | None = None) -> None:
        self.items = items
        self.failure = failure
        self.thread: int | None = None
        self.closed = threading.Event()
        self.started = threading.Event()
        self.n_sent = 0
        self.gate: asyncio.Event | None = None

    async def stream(self) -> AsyncGenerator[GenerationEvent, None]:
        self.thread = threading.get_ident()
        self.started.set()
        try:
            for index, item in enumerate(self.items):
                if self.gate is not None and index == len(self.items) - 1:
                    await self.gate.wait()
                yield item
                self.n_sent += 1
                await asyncio.sleep(0)
            if self.failure is not None:
                raise self.failure
        finally:
            self.closed.set()


def text_of(events: list[GenerationEvent]) -> str:
    return "".join(event.content for event in events if isinstance(event, Chunk))


def story(n_chunks: int) -> list[GenerationEvent]:
    return [*(Chunk(content=f"{i} ") for i in range(n_chunks)), Completed(reason="stop")]


async def read(bridge: Bridge, source: Source) -> list[GenerationEvent]:
    async with aclosing(bridge.stream(source.stream)) as stream:
        return [event async for event in stream]


async def test_a_stream_arrives_whole_and_ran_on_the_servers_thread(server: ServerLoop) -> None:
    source = Source(story(500))
    events = await read(Bridge(server.loop, pull_interval_s=0.001), source)
    assert text_of(events) == "".join(f"{i} " for i in range(500))
    assert events[-1] == Completed(reason="stop")
    assert source.thread not in (None, threading.get_ident())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.text("ab ", max_size=3), max_size=40), st.booleans())
def test_any_stream_arrives_whole(texts: list[str], fails: bool) -> None:
    server = ServerLoop()
    try:
        source = Source(
            [Chunk(content=text) for text in texts], failure=EngineCrashed("gone") if fails else None
        )
        got: list[GenerationEvent] = []

        async def consume() -> None:
            async with aclosing(Bridge(server.loop, pull_interval_s=0).stream(source.stream)) as stream:
                async for event in stream:
                    got.append(event)

        with pytest.raises(EngineCrashed) if fails else contextlib.nullcontext():
            asyncio.run(consume())
        assert text_of(got) == "".join(texts)
        assert source.closed.wait(WAIT_S)
    finally:
        server.stop()


async def test_a_reader_that_stands_still_holds_nobody_up(server: ServerLoop) -> None:
    source = Source(story(2000))
    async with aclosing(Bridge(server.loop, pull_interval_s=0).stream(source.stream)) as stream:
        first = await anext(stream)
        # This blocks the consumer's loop, as a stalled terminal does; the server's side must run to its end.
        assert source.closed.wait(WAIT_S)
        rest = [event async for event in stream]
    assert text_of([first, *rest]) == "".join(f"{i} " for i in range(2000))
    assert len(rest) <= 3


async def test_closing_closes_the_stream_on_the_servers_loop(server: ServerLoop) -> None:
    source = Source(story(2))
    source.gate = server.on_loop(asyncio.Event)
    async with aclosing(Bridge(server.loop).stream(source.stream)) as stream:
        await anext(stream)
    assert source.closed.is_set()
    assert source.n_sent < 3


async def test_cancelling_the_reader_closes_the_stream(server: ServerLoop) -> None:
    source = Source(story(1))
    source.gate = server.on_loop(asyncio.Event)
    source.items = source.items[-1:]
    task = asyncio.create_task(read(Bridge(server.loop), source))
    assert await asyncio.to_thread(source.started.wait, WAIT_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert source.closed.is_set()


async def test_ending_all_streams_raises_cancelled_to_their_readers(server: ServerLoop) -> None:
    source = Source(story(1))
    source.items = source.items[-1:]
    source.gate = server.on_loop(asyncio.Event)
    bridge = Bridge(server.loop)
    task = asyncio.create_task(read(bridge, source))
    assert await asyncio.to_thread(source.started.wait, WAIT_S)
    bridge.end_streams()
    with pytest.raises(Cancelled):
        await task
    assert source.closed.is_set()


async def test_a_call_gives_the_result_or_raises_the_error(server: ServerLoop) -> None:
    async def answer() -> int:
        return threading.get_ident()

    async def fail() -> None:
        raise ModelNotFound("x")

    bridge = Bridge(server.loop)
    assert await bridge.call(answer()) != threading.get_ident()
    with pytest.raises(ModelNotFound):
        await bridge.call(fail())


async def test_cancelling_a_call_cancels_it_on_the_servers_loop(server: ServerLoop) -> None:
    started, cancelled = threading.Event(), threading.Event()

    async def wait() -> None:
        started.set()
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    task = asyncio.create_task(Bridge(server.loop).call(wait()))
    assert await asyncio.to_thread(started.wait, WAIT_S)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(cancelled.wait, WAIT_S)


async def test_a_server_that_has_ended_is_said_so(server: ServerLoop) -> None:
    server.stop()
    bridge = Bridge(server.loop)

    async def answer() -> int:
        return 1

    with pytest.raises(ShuttingDown):
        await bridge.call(answer())
    with pytest.raises(ShuttingDown):
        await read(bridge, Source(story(1)))


async def test_an_upload_is_read_from_the_consumers_loop(server: ServerLoop) -> None:
    async def body() -> AsyncGenerator[bytes, None]:
        for piece in (b"a", b"b", b"c"):
            await asyncio.sleep(0)
            yield piece

    async def store(pieces: AsyncIterable[bytes]) -> bytes:
        return b"".join([piece async for piece in pieces])

    here = asyncio.get_running_loop()
    assert await Bridge(server.loop).call(store(fetched(aiter(body()), here))) == b"abc"


async def test_the_reader_is_woken_at_most_once_for_what_it_has_not_taken(
    server: ServerLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = asyncio.get_running_loop()
    n_calls = 0
    original = here.call_soon_threadsafe

    def counted(*arguments: Any, **keywords: Any) -> Any:
        nonlocal n_calls
        n_calls += 1
        return original(*arguments, **keywords)

    monkeypatch.setattr(here, "call_soon_threadsafe", counted)
    source = Source(story(3000))
    began = time.monotonic()
    await read(Bridge(server.loop, pull_interval_s=0.02), source)
    n_looks = (time.monotonic() - began) / 0.02 + 2
    assert n_calls <= n_looks
