"""OpenAI's chat replies: keys and their order, and what the chunks of a stream say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.types.generation import Chunk, Completed, DoneReason, Rendered, Timings, TokenLogprob
from server.types.messages import ToolCall
from server.wire.codec import encode
from server.wire.folding import Answer
from server.wire.openai.chat_replies import ChunkWriter, completion
from server.wire.openai.options import Usage

CALL = ToolCall("f", {"city": "Paris"}, "call_1", 0)
END = Completed(reason="stop", timings=Timings(n_prompt_tokens=3, n_output_tokens=2))


def stream(*events: Chunk | Completed) -> list[Any]:
    writer = ChunkWriter("chatcmpl-1", "m", 5)
    frames = [frame for event in events for frame in writer.pieces(event)]
    return [json.loads(frame.decode().removeprefix("data: ").removesuffix("\n\n")) for frame in frames]


def deltas(*events: Chunk | Completed) -> list[Any]:
    return [chunk["choices"][0]["delta"] for chunk in stream(*events)]


def reasons(*events: Chunk | Completed) -> list[Any]:
    return [chunk["choices"][0]["finish_reason"] for chunk in stream(*events)]


def test_a_whole_reply_in_ollamas_order() -> None:
    answer = Answer(completed=END, content="a", thinking="t", piece_tool_calls=(CALL,))
    assert encode(completion("chatcmpl-1", "m", [answer], 5)).decode() == (
        '{"id":"chatcmpl-1","object":"chat.completion","created":5,"model":"m",'
        '"system_fingerprint":"fp_ollama","choices":[{"index":0,"message":{"role":"assistant","content":"a",'
        '"reasoning":"t","tool_calls":[{"id":"call_1","index":0,"type":"function","function":{"name":"f",'
        '"arguments":"{\\"city\\":\\"Paris\\"}"}}]},"finish_reason":"tool_calls"}],'
        '"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}'
    )


@pytest.mark.parametrize(
    ("reason", "calls", "finish"),
    [
        ("stop", (), "stop"),
        ("stop", (CALL,), "tool_calls"),
        ("length", (CALL,), "length"),
        ("length", (), "length"),
    ],
)
def test_finish_reasons(reason: DoneReason, calls: tuple[ToolCall, ...], finish: str) -> None:
    answer = Answer(completed=Completed(reason=reason), piece_tool_calls=calls)
    assert completion("i", "m", [answer], 5).choices[0].finish_reason == finish
    assert reasons(Chunk(tool_calls=calls), Completed(reason=reason))[-1] == finish


def test_a_rendered_prompt() -> None:
    reply = completion("i", "m", [Answer(completed=END, rendered=Rendered(prompt="p"))], 5)
    body = json.loads(encode(reply))
    assert body["_debug_info"] == {"rendered_template": "p"}
    assert body["choices"][0]["finish_reason"] is None


def test_log_probabilities_go_with_the_choice() -> None:
    logprobs = (TokenLogprob("a", -0.5, b"a"),)
    body = json.loads(encode(completion("i", "m", [Answer(completed=END, logprobs=logprobs)], 5)))
    expected = {"content": [{"token": "a", "logprob": -0.5, "bytes": [97]}]}
    assert body["choices"][0]["logprobs"] == expected
    (chunk, _) = stream(Chunk(content="a", logprobs=logprobs), END)
    assert chunk["choices"][0]["logprobs"] == expected


def test_several_choices_share_one_prompt() -> None:
    reply = completion("i", "m", [Answer(completed=END), Answer(completed=END)], 5)
    assert [choice.index for choice in reply.choices] == [0, 1]
    assert reply.usage == Usage(3, 4, 7)


def test_the_role_comes_first_and_once_and_the_end_apart() -> None:
    assert deltas(Chunk(content="a"), Chunk(content="b"), END) == [
        {"role": "assistant", "content": "a"},
        {"content": "b"},
        {},
    ]
    assert reasons(Chunk(content="a"), Chunk(content="b"), END) == [None, None, "stop"]


def test_an_empty_answer_still_begins() -> None:
    assert deltas(END) == [{"role": "assistant", "content": ""}, {}]


def test_thoughts_and_content_of_one_piece_are_two_chunks() -> None:
    assert deltas(Chunk(thinking="t", content="a"), Chunk(thinking="u", tool_calls=(CALL,)))[0:3] == [
        {"role": "assistant", "reasoning": "t"},
        {"content": "a"},
        {"reasoning": "u"},
    ]
    assert deltas(Chunk(thinking="t")) == [{"role": "assistant", "content": "", "reasoning": "t"}]


def test_calls_that_come_with_the_end_have_a_chunk_of_their_own() -> None:
    chunks = stream(Chunk(content="a"), Completed(reason="stop", tool_calls=(CALL,)))
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == [None, None, "tool_calls"]
    (called,) = chunks[1]["choices"][0]["delta"]["tool_calls"]
    assert json.loads(called["function"]["arguments"]) == {"city": "Paris"}


def test_usage_belongs_to_no_choice() -> None:
    piece = ChunkWriter("i", "m", 5).usage_piece(Usage(1, 2, 3))
    body = json.loads(piece.decode().removeprefix("data: "))
    assert body["choices"] == []
    assert body["usage"] == {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


@given(st.lists(st.builds(Chunk, content=st.text(max_size=5), thinking=st.text(max_size=5)), max_size=5))
def test_the_chunks_say_all_that_the_pieces_say(chunks: list[Chunk]) -> None:
    said = deltas(*chunks, END)
    assert "".join(delta.get("content", "") for delta in said) == "".join(chunk.content for chunk in chunks)
    assert "".join(delta.get("reasoning", "") for delta in said) == "".join(
        chunk.thinking for chunk in chunks
    )
    assert sum("role" in delta for delta in said) == 1
