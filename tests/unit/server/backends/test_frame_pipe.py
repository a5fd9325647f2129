"""Messages come out of a pipe as they went in, in whatever pieces, until its end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.backends.frame_pipe import FramePipe
from server.ipc.framing import BrokenFrame, encode
from server.ipc.messages import Bye, FromEngine, Text

MESSAGES: tuple[FromEngine, ...] = (
    Text(request_id=1, text="a"),
    Text(request_id=2, text="ß" * 70_000),
    Text(request_id=3, text=""),
    Bye(),
)


@contextlib.asynccontextmanager
async def opened() -> AsyncIterator[tuple[FramePipe, int]]:
    """A pipe that is read from, and the end to write to, which the test may close."""
    pipe = FramePipe()
    write_fd = os.dup(pipe.write_fd)
    pipe.begin()
    try:
        yield pipe, write_fd
    finally:
        pipe.close()
        with contextlib.suppress(OSError):
            os.close(write_fd)


def write_in_thread(write_fd: int, pieces: list[bytes]) -> asyncio.Future[None]:
    def write() -> None:
        for piece in pieces:
            view = memoryview(piece)
            while view:
                view = view[os.write(write_fd, view) :]
        os.close(write_fd)

    return asyncio.get_running_loop().run_in_executor(None, write)


@given(cuts=st.lists(st.integers(0, 140_100), max_size=8))
@settings(max_examples=20, deadline=None)
def test_any_pieces_give_the_same_messages(cuts: list[int]) -> None:
    data = b"".join(encode(message) for message in MESSAGES)
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[start:end] for start, end in itertools.pairwise(edges)]

    async def run() -> list[FromEngine]:
        async with opened() as (pipe, write_fd):
            writing = write_in_thread(write_fd, pieces)
            received = []
            while (message := await pipe.receive()) is not None:
                received.append(message)
            await writing
            return received

    assert asyncio.run(run()) == list(MESSAGES)


async def test_what_came_before_a_delivery_is_delivered_first() -> None:
    async with opened() as (pipe, write_fd):
        await write_in_thread(write_fd, [encode(MESSAGES[0]) + encode(MESSAGES[2]) + encode(MESSAGES[3])])
        first = await pipe.receive()
        rest: list[FromEngine] = []
        await pipe.deliver(rest.append)
        assert [first, *rest] == [MESSAGES[0], MESSAGES[2], MESSAGES[3]]
        assert await pipe.receive() is None


async def test_an_end_within_a_frame_is_an_error_for_whoever_waits() -> None:
    async with opened() as (pipe, write_fd):
        await write_in_thread(write_fd, [encode(MESSAGES[0]), encode(MESSAGES[2])[:-1]])
        assert await pipe.receive() == MESSAGES[0]
        with pytest.raises(BrokenFrame, match="in the middle"):
            await pipe.receive()
        await pipe.drain()


async def test_bytes_that_are_no_message_end_a_delivery() -> None:
    async with opened() as (pipe, write_fd):
        received: list[FromEngine] = []
        delivering = asyncio.create_task(pipe.deliver(received.append))
        os.write(write_fd, encode(MESSAGES[0]) + b"\x01\0\0\0\xc1")
        with pytest.raises(BrokenFrame, match="cannot be read"):
            await delivering
        assert received == [MESSAGES[0]]


async def test_a_sink_that_fails_ends_the_delivery_with_its_error() -> None:
    def sink(message: FromEngine) -> None:
        raise KeyError("no such request")

    async with opened() as (pipe, write_fd):
        delivering = asyncio.create_task(pipe.deliver(sink))
        await asyncio.sleep(0)
        os.write(write_fd, encode(MESSAGES[0]))
        with pytest.raises(KeyError):
            await delivering


async def test_draining_reads_to_the_end_and_keeps_nothing() -> None:
    async with opened() as (pipe, write_fd):
        writing = write_in_thread(write_fd, [encode(MESSAGES[1])] * 3)
        await pipe.drain()
        await writing
        assert await pipe.receive() is None


async def test_a_wait_that_is_cancelled_loses_no_message() -> None:
    async with opened() as (pipe, write_fd):
        waiting = asyncio.create_task(pipe.receive())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        os.write(write_fd, encode(MESSAGES[0]))
        assert await pipe.receive() == MESSAGES[0]


async def test_closing_ends_a_wait_and_frees_the_descriptors() -> None:
    async with opened() as (pipe, _):
        read_fd = pipe._fd
        waiting = asyncio.create_task(pipe.receive())
        await asyncio.sleep(0)
        pipe.close()
        assert await waiting is None
        pipe.close()
        with pytest.raises(OSError, match="descriptor"):
            os.fstat(read_fd)
        with (
            socket.socket() as reused
        ):  # a second close must not hit a descriptor that is someone else's by now
            pipe.close()
            assert reused.fileno() >= 0
            os.fstat(reused.fileno())
