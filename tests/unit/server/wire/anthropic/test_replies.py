"""Replies of `/v1/messages`: a stream says what the whole reply says, in events of the right order."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from server.types.generation import Chunk, Completed, GenerationEvent, PromptUse, Timings
from server.types.messages import ToolCall
from server.wire.anthropic.replies import MessageWriter, message, signature
from server.wire.folding import Answer, fold

CALL = ToolCall("f", {"a": 1}, "c1", 0)
TIMINGS = Timings(n_prompt_tokens=10, n_cached_tokens=4, n_output_tokens=7)

texts = st.text(max_size=3)
chunks = st.lists(
    st.builds(Chunk, content=texts, thinking=texts, tool_calls=st.sampled_from(((), (CALL,), (CALL, CALL)))),
    max_size=6,
)
ends = st.builds(
    Completed,
    reason=st.sampled_from(("stop", "length")),
    stop_text=st.sampled_from(("", "END", "<|im_end|>")),
    tool_calls=st.sampled_from(((), (CALL,))),
    timings=st.just(TIMINGS),
)


def events_of(got: list[Any], stop: tuple[str, ...] = ("END",)) -> list[dict[str, Any]]:
    writer = MessageWriter("msg_1", "m", stop)
    raw = b"".join(piece for event in got for piece in writer.pieces(event)).decode()
    events = []
    for block in raw.split("\n\n")[:-1]:
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def folded(got: list[GenerationEvent]) -> Answer:
    async def stream() -> AsyncIterator[GenerationEvent]:
        for event in got:
            yield event

    return asyncio.run(fold(stream()))


def rebuilt(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The blocks that a client puts together."""
    blocks: list[dict[str, Any]] = []
    open_at = -1
    for event in events:
        kind = event["type"]
        if kind == "content_block_start":
            assert open_at == -1
            open_at = event["index"]
            assert open_at == len(blocks)
            blocks.append(dict(event["content_block"]))
        elif kind == "content_block_delta":
            assert event["index"] == open_at
            delta = event["delta"]
            block = blocks[-1]
            if delta["type"] == "input_json_delta":
                block["input"] = json.loads(delta["partial_json"])
            else:
                key = delta["type"].removesuffix("_delta")
                block[key] += delta[key]
        elif kind == "content_block_stop":
            assert event["index"] == open_at
            open_at = -1
    assert open_at == -1
    return blocks


@given(chunks, ends)
def test_a_stream_says_what_the_whole_reply_says(pieces: list[Chunk], end: Completed) -> None:
    whole = msgspec.to_builtins(message("msg_1", "m", folded([*pieces, end]), ("END",)))
    events = events_of([*pieces, end])
    assert [event["type"] for event in events[:2]] == ["message_start", "ping"]
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    assert events[0]["message"]["stop_reason"] is None
    assert events[-2]["delta"] == {key: whole[key] for key in ("stop_reason", "stop_sequence")}
    assert events[-2]["usage"] == whole["usage"]
    blocks = rebuilt(events)
    for kind, key in (("text", "text"), ("thinking", "thinking")):
        assert "".join(block[key] for block in blocks if block["type"] == kind) == "".join(
            block[key] for block in whole["content"] if block["type"] == kind
        )
    calls = [block for block in blocks if block["type"] == "tool_use"]
    assert calls == [block for block in whole["content"] if block["type"] == "tool_use"]
    for block in blocks:
        if block["type"] == "thinking":
            assert block["signature"] == signature(block["thinking"])


def test_the_beginning_tells_the_true_length_of_the_prompt() -> None:
    (begun, *_) = events_of([Chunk(content="Hi", prompt=PromptUse(14, 5)), Completed(reason="stop")])
    assert begun["message"]["usage"] == {
        "input_tokens": 9,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 5,
        "output_tokens": 0,
    }


def test_stop_reasons() -> None:
    def reason(called: bool = False, **fields: Any) -> tuple[Any, Any]:
        end = Completed(**{"reason": "stop", **fields})
        answer = Answer(completed=end, piece_tool_calls=(CALL,) if called else ())
        body = message("i", "m", answer, ("END",))
        return body.stop_reason, body.stop_sequence

    assert reason() == ("end_turn", None)
    assert reason(stop_text="END") == ("stop_sequence", "END")
    assert reason(stop_text="<|im_end|>") == ("end_turn", None)
    assert reason(reason="length") == ("max_tokens", None)
    assert reason(called=True) == ("tool_use", None)
