"""Answers put together from their pieces."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest

from server.errors import EngineError
from server.types.generation import Chunk, Completed, GenerationEvent, Rendered, TokenLogprob
from server.types.messages import ToolCall
from server.wire.folding import fold


async def stream(*events: GenerationEvent) -> AsyncGenerator[GenerationEvent, None]:
    for event in events:
        yield event


async def test_pieces_are_joined_and_calls_keep_their_order() -> None:
    first, last = ToolCall("a", {}), ToolCall("b", {})
    logprob = TokenLogprob("x", -1.0, b"x")
    answer = await fold(
        stream(
            Chunk(thinking="hm", logprobs=(logprob,)),
            Chunk(content="x", tool_calls=(first,)),
            Chunk(content="y"),
            Completed(reason="length", tool_calls=(last,)),
        )
    )
    assert (answer.content, answer.thinking) == ("xy", "hm")
    assert answer.tool_calls == (first, last)
    assert answer.logprobs == (logprob,)
    assert answer.completed.reason == "length"


async def test_a_rendered_prompt_is_an_answer() -> None:
    answer = await fold(stream(Rendered(prompt="p", n_images=1)))
    assert answer.rendered == Rendered(prompt="p", n_images=1)


async def test_a_stream_without_an_end_is_an_error() -> None:
    with pytest.raises(EngineError):
        await fold(stream(Chunk(content="x")))
