"""Replies of Ollama's generation routes: keys and their order, and that clients read what servers write."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidRequest
from server.types.generation import (
    Chunk,
    Completed,
    EmbedResult,
    Rendered,
    Timings,
    TokenLogprob,
    TopLogprob,
)
from server.types.messages import ToolCall
from server.wire.codec import decode, encode
from server.wire.folding import Answer
from server.wire.ollama.replies import (
    chat_events,
    chat_reply,
    embed_reply,
    embed_result,
    embeddings_reply,
    generate_events,
    generate_reply,
    whole_chat_reply,
    whole_generate_reply,
)

NOW_NS = 1_795_419_155_225_975_792
METRICS = Timings(
    total_duration_ns=6,
    load_duration_ns=5,
    queue_duration_ns=9,
    n_prompt_tokens=4,
    n_cached_tokens=2,
    prompt_duration_ns=3,
    n_output_tokens=2,
    output_duration_ns=1,
)
CALL = ToolCall("f", {"x": 1}, "call_1", 0)

texts = st.text(max_size=8)
logprobs = st.lists(
    st.builds(
        TokenLogprob,
        texts,
        st.floats(-99, 0),
        st.binary(max_size=3),
        st.lists(st.builds(TopLogprob, texts, st.floats(-99, 0), st.binary(max_size=3)), max_size=2).map(
            tuple
        ),
    ),
    max_size=2,
).map(tuple)
calls = st.lists(
    st.builds(
        ToolCall, texts, st.dictionaries(texts, st.integers(0, 9), max_size=2), id=texts, index=st.just(0)
    ),
    max_size=2,
).map(tuple)
chunks = st.builds(Chunk, content=texts, thinking=texts, tool_calls=calls, logprobs=logprobs)
ends = st.builds(
    Completed,
    reason=st.sampled_from(("stop", "length", "load", "unload")),
    timings=st.builds(Timings, **{name: st.integers(0, 2**40) for name in Timings.__struct_fields__}),
    tool_calls=calls,
    stop_text=texts,
    n_dropped_messages=st.integers(0, 9),
    n_dropped_tokens=st.integers(0, 9),
)


def written(reply: Any) -> Any:
    return decode(encode(reply))


def text_of(reply: Any) -> str:
    return encode(reply).decode()


@given(chunks | ends | st.builds(Rendered, prompt=texts, n_images=st.integers(0, 3)))
def test_what_a_server_writes_is_what_a_client_reads(event: Any) -> None:
    assert chat_events(written(chat_reply("m", event, NOW_NS, details=True))) == (event,)
    assert generate_events(written(generate_reply("m", event, NOW_NS, details=True))) == (event,)


@given(st.lists(st.integers(0, 9), max_size=3))
def test_a_context_comes_back(tokens: list[int]) -> None:
    end = Completed(reason="stop", context=tuple(tokens))
    assert generate_events(written(generate_reply("m", end, NOW_NS))) == (end,)


def test_a_last_line_with_text_is_a_piece_and_an_end() -> None:
    line = {"message": {"role": "assistant", "content": "x"}, "done": True, "done_reason": "length"}
    assert chat_events(line) == (Chunk(content="x"), Completed(reason="length"))


@pytest.mark.parametrize("line", [[], {"done": 1}, {"message": "x"}, {"done": True, "eval_count": "1"}])
def test_a_line_of_another_shape_is_refused(line: Any) -> None:
    with pytest.raises(InvalidRequest):
        chat_events(line)


def test_a_piece_of_a_chat() -> None:
    assert text_of(chat_reply("m", Chunk(content="a"), NOW_NS)) == (
        '{"model":"m","created_at":"2026-11-23T07:32:35.225975792Z",'
        '"message":{"role":"assistant","content":"a"},"done":false}'
    )


def test_a_thought_keeps_the_empty_content() -> None:
    message = written(chat_reply("m", Chunk(thinking="hm"), NOW_NS))["message"]
    assert message == {"role": "assistant", "content": "", "thinking": "hm"}


def test_a_whole_chat_in_ollamas_order() -> None:
    answer = Answer(
        completed=Completed(reason="stop", timings=METRICS),
        content="a",
        thinking="t",
        piece_tool_calls=(CALL,),
        logprobs=(TokenLogprob("a", -0.5, b"a", (TopLogprob("b", -1.5, b"b"),)),),
    )
    assert text_of(whole_chat_reply("m", answer, 0)) == (
        '{"model":"m","created_at":"1970-01-01T00:00:00Z","message":{"role":"assistant","content":"a",'
        '"thinking":"t","tool_calls":[{"id":"call_1","function":{"index":0,"name":"f","arguments":{"x":1}}}]},'
        '"done":true,"done_reason":"stop","logprobs":[{"token":"a","logprob":-0.5,"bytes":[97],'
        '"top_logprobs":[{"token":"b","logprob":-1.5,"bytes":[98]}]}],"total_duration":6,"load_duration":5,'
        '"prompt_eval_count":4,"prompt_eval_duration":3,"eval_count":2,"eval_duration":1}'
    )


def test_a_whole_completion_in_ollamas_order() -> None:
    answer = Answer(
        completed=Completed(reason="length", timings=METRICS, context=(1, 2)), content="a", thinking="t"
    )
    assert text_of(whole_generate_reply("m", answer, 0)) == (
        '{"model":"m","created_at":"1970-01-01T00:00:00Z","response":"a","thinking":"t","done":true,'
        '"done_reason":"length","context":[1,2],"total_duration":6,"load_duration":5,"prompt_eval_count":4,'
        '"prompt_eval_duration":3,"eval_count":2,"eval_duration":1}'
    )


def test_a_load_tells_no_metrics() -> None:
    assert text_of(generate_reply("m", Completed(reason="load"), 0)) == (
        '{"model":"m","created_at":"1970-01-01T00:00:00Z","response":"","done":true,"done_reason":"load"}'
    )


def test_a_rendered_prompt() -> None:
    reply = written(
        whole_chat_reply("m", Answer(completed=Completed(reason="stop"), rendered=Rendered(prompt="p")), 0)
    )
    assert reply["message"] == {"role": "", "content": ""}
    assert (reply["done"], reply["_debug_info"]) == (False, {"rendered_template": "p"})
    assert "done_reason" not in reply


def test_details_are_sent_only_when_asked_for() -> None:
    end = Completed(reason="stop", timings=METRICS, stop_text="x")
    assert "olla" not in written(chat_reply("m", end, 0))
    details = written(chat_reply("m", end, 0, details=True))["olla"]
    assert details == {"n_cached_tokens": 2, "queue_duration": 9, "stop_text": "x"}


@given(
    st.lists(
        st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-1, max_value=1), min_size=1
    )
)
def test_vectors_keep_every_bit(numbers: list[float]) -> None:
    vector = struct.pack(f"<{len(numbers)}f", *numbers)
    result = EmbedResult(vectors=(vector,), n_prompt_tokens=3, total_duration_ns=2, load_duration_ns=1)
    reply = written(embed_reply("m", result))
    assert list(reply) == ["model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"]
    assert embed_result(reply).vectors == (vector,) or 0.0 in numbers
    assert embeddings_reply(result)["embedding"] == numbers


def test_no_vectors() -> None:
    assert text_of(embed_reply("m", EmbedResult(vectors=()))) == '{"model":"m","embeddings":[]}'
    assert embeddings_reply(EmbedResult(vectors=())) == {"embedding": []}


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_no_number_is_refused(number: float) -> None:
    result = EmbedResult(vectors=(struct.pack("<2f", number, 1.0),))
    with pytest.raises(InvalidRequest, match=r"^embedding contains NaN or Inf values$"):
        embed_reply("m", result)


def test_vectors_of_another_shape_are_refused() -> None:
    with pytest.raises(InvalidRequest):
        embed_result({"embeddings": [["x"]]})


def test_replies_are_json_in_one_line() -> None:
    assert "\n" not in text_of(chat_reply("m", Chunk(content="a\nb"), 0))
    assert (
        json.loads(text_of(chat_reply("m", Chunk(content="\u2028<&>"), 0)))["message"]["content"]
        == "\u2028<&>"
    )
