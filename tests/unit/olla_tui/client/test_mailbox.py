"""Joining loses and reorders nothing, whatever comes and whenever it is taken."""

from __future__ import annotations

import asyncio
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from olla_tui.client.mailbox import Mailbox
from server.errors import Cancelled, EngineCrashed
from server.types.generation import Chunk, Completed, GenerationEvent, TokenLogprob
from server.types.messages import ToolCall
from server.types.models import CreateProgress

calls = st.builds(lambda name: (ToolCall(name, {}),), st.sampled_from("fgh"))
chunks = st.builds(
    lambda content, thinking, tool_calls, n: Chunk(
        content=content,
        thinking=thinking,
        tool_calls=tool_calls,
        logprobs=tuple(TokenLogprob(f"t{i}", -1.0, b"t") for i in range(n)),
    ),
    st.text("ab", max_size=3),
    st.text("yz", max_size=3),
    st.one_of(st.just(()), calls),
    st.integers(0, 2),
)


def pieces(events: list[GenerationEvent]) -> list[tuple[str, str]]:
    """What a reader sees, in order: runs of thinking, of content, and single calls."""
    seen: list[tuple[str, str]] = []
    for event in events:
        assert isinstance(event, Chunk)
        seen += [("thinking", char) for char in event.thinking]
        seen += [("content", char) for char in event.content]
        seen += [("call", call.name) for call in event.tool_calls]
    return [
        (kind, "".join(text for _, text in run)) for kind, run in groupby(seen, key=lambda piece: piece[0])
    ]


@given(st.lists(chunks, max_size=12), st.sets(st.integers(0, 12)))
def test_joined_chunks_read_as_the_chunks_themselves(items: list[Chunk], takes: set[int]) -> None:
    async def check() -> None:
        mailbox: Mailbox[GenerationEvent] = Mailbox(asyncio.get_running_loop())
        got: list[GenerationEvent] = []
        for index, item in enumerate(items):
            assert mailbox.put(item)
            if index in takes:
                got += mailbox.take()[0]
        mailbox.end(None)
        rest, over = mailbox.take()
        got += rest
        assert over
        assert pieces(got) == pieces(list(items))
        n_logprobs = sum(len(event.logprobs) for event in got if isinstance(event, Chunk))
        assert n_logprobs == sum(len(item.logprobs) for item in items)

    asyncio.run(check())


async def test_what_is_not_taken_is_one_chunk() -> None:
    mailbox: Mailbox[GenerationEvent] = Mailbox(asyncio.get_running_loop())
    for _ in range(10_000):
        mailbox.put(Chunk(content="x"))
    mailbox.put(Completed(reason="stop"))
    mailbox.end(None)
    await mailbox.wait()
    items, over = mailbox.take()
    assert over
    assert items == [Chunk(content="x" * 10_000), Completed(reason="stop")]


async def test_the_newest_line_of_progress_is_kept() -> None:
    mailbox: Mailbox[CreateProgress] = Mailbox(asyncio.get_running_loop())
    for n_bytes in range(100):
        mailbox.put(CreateProgress("copying", "sha256:a", 100, n_bytes))
    mailbox.put(CreateProgress("success"))
    assert mailbox.take()[0] == [CreateProgress("copying", "sha256:a", 100, 99), CreateProgress("success")]


async def test_the_failure_comes_behind_the_last_item() -> None:
    mailbox: Mailbox[GenerationEvent] = Mailbox(asyncio.get_running_loop())
    mailbox.put(Chunk(content="x"))
    mailbox.end(EngineCrashed("the worker ended"))
    items, over = mailbox.take()
    assert (items, over) == ([Chunk(content="x")], True)
    with pytest.raises(EngineCrashed):
        mailbox.raise_failure()


async def test_a_closed_mailbox_takes_nothing() -> None:
    mailbox: Mailbox[GenerationEvent] = Mailbox(asyncio.get_running_loop())
    mailbox.put(Chunk(content="x"))
    mailbox.fail(Cancelled("closed"))
    assert not mailbox.put(Chunk(content="y"))
    assert mailbox.take() == ([], True)


def test_a_reader_whose_loop_is_closed_is_noticed() -> None:
    loop = asyncio.new_event_loop()
    mailbox: Mailbox[GenerationEvent] = Mailbox(loop)
    waiting = loop.create_task(mailbox.wait())
    loop.call_soon(loop.stop)
    loop.run_forever()
    waiting.cancel()
    loop.run_until_complete(asyncio.gather(waiting, return_exceptions=True))
    loop.close()
    assert not mailbox.put(Chunk(content="x"))
