"""`/v1/responses`: what is read, and that a stream says what the whole reply says."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidRequest
from server.types.generation import Chunk, Completed, GenerationEvent, Origin, Timings, TokenLogprob
from server.types.messages import Message, ToolCall
from server.wire.folding import Answer, fold
from server.wire.openai.responses.items import messages_from_items
from server.wire.openai.responses.replies import Head, ResponseWriter, output_items, response_body, status_of
from server.wire.openai.responses.requests import ResponsesCall, responses_from_body

PIXEL = "data:image/png;base64," + base64.b64encode(b"png").decode()
TOOL = {"type": "function", "name": "f", "description": "F", "parameters": {"type": "object"}, "strict": True}
SCHEMA = {"type": "json_schema", "name": "n", "schema": {"type": "object"}}


def call(**fields: Any) -> ResponsesCall:
    return responses_from_body(json.dumps({"model": "m", "input": "Hi", **fields}).encode(), Origin())


def messages(*items: Any, **fields: Any) -> tuple[Message, ...]:
    return call(input=list(items), **fields).chat([]).messages


def fault(**fields: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        call(**fields)
    return caught.value.message


def test_a_text_is_a_message_of_the_user_behind_the_instructions() -> None:
    made = call(instructions="Be brief.")
    assert made.chat([]).messages == (
        Message(role="system", content="Be brief."),
        Message(role="user", content="Hi"),
    )
    (item,) = made.items
    assert item["content"] == [{"type": "input_text", "text": "Hi"}]
    assert item["id"].startswith("msg_")


def test_what_the_assistant_did_is_one_message() -> None:
    assert messages(
        {"role": "developer", "content": "D"},
        {
            "role": "user",
            "content": [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": PIXEL}],
        },
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Wait."}]},
        {"type": "function_call", "call_id": "c2", "name": "f", "arguments": ""},
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
        {"type": "web_search_call", "id": "ws", "status": "completed"},
        {"role": "user", "content": "b"},
    ) == (
        Message(role="system", content="D"),
        Message(role="user", content="a", images=(b"png",)),
        Message(
            role="assistant",
            content="Wait.",
            thinking="hm",
            tool_calls=(ToolCall("f", {"a": 1}, "c1", 0), ToolCall("f", {}, "c2", 1)),
        ),
        Message(role="tool", content="one", tool_call_id="c1"),
        Message(role="tool", content="two", tool_call_id="c2"),
        Message(role="user", content="b"),
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": ""}, "model is required"),
        ({"input": 1}, "input must be a string or array"),
        ({"input": [1]}, "input[0]: an item must be an object"),
        ({"input": [{}]}, "input[0]: input item missing required 'type' field"),
        ({"input": [{"type": "what"}]}, 'input[0]: unknown input item type: "what"'),
        (
            {"input": [{"role": "user", "content": [{"type": "x"}]}]},
            "input[0]: content[0]: unknown content type: x",
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "file inputs are not currently"),
        ({"input": [{"role": "robot", "content": ""}]}, "unknown role"),
        (
            {"input": [{"type": "function_call", "name": "f", "arguments": "{"}]},
            "failed to parse function call",
        ),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "[]"}]}, "must be an object"),
        ({"conversation": "c"}, "conversation: conversations are not kept"),
        ({"prompt": {"id": "p"}}, "prompt: stored prompts are not kept"),
        ({"truncation": "weird"}, "truncation must be"),
        ({"max_output_tokens": 0}, "max_output_tokens must be positive"),
        ({"tool_choice": "required"}, "only allowed when functions are given"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "g"}}, "not among the tools"),
        ({"tools": [TOOL], "tool_choice": {"type": "web_search"}}, "does not run"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema must be"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type must be"),
        ({"reasoning": {"effort": "weird"}}, "invalid reasoning value"),
        ({"background": True, "stream": True}, "background needs store"),
        ({"background": True, "store": False}, "background needs store"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], words: str) -> None:
    assert words in fault(**fields)


def test_options() -> None:
    assert call().request.options == {"temperature": 1.0}
    assert not call().request.truncate
    made = call(
        temperature=0, top_p=0.5, max_output_tokens=7, truncation="auto", reasoning={"effort": "none"}
    )
    assert made.request.options == {"temperature": 0.0, "top_p": 0.5, "num_predict": 7}
    assert (made.request.truncate, made.request.think) == (True, False)
    assert call(text={"format": SCHEMA}).request.format == {"type": "object"}
    assert call(text={"format": {"type": "json_object"}}).request.format == "json"
    assert call(include=["message.output_text.logprobs"]).request.logprobs
    assert call(top_logprobs=2).request.n_top_logprobs == 2


def test_tools() -> None:
    space = {"type": "namespace", "name": "ns", "tools": [{**TOOL, "name": "g"}]}
    tools = [TOOL, space, {"type": "web_search"}, {"type": "custom", "name": "x"}]
    made = call(tools=tools, parallel_tool_calls=False)
    assert [tool.name for tool in made.request.tools] == ["f", "ns.g"]
    assert made.ignored == ("tools.web_search", "tools.custom")
    assert not made.request.parallel_tool_calls

    def chosen(choice: Any) -> tuple[list[str], str]:
        request = call(tools=tools, tool_choice=choice).request
        return [tool.name for tool in request.tools], request.tool_choice

    assert chosen("none") == ([], "auto")
    assert chosen("required") == (["f", "ns.g"], "required")
    assert chosen({"type": "function", "name": "f"}) == (["f"], "required")
    allowed = {"type": "allowed_tools", "tools": [{"type": "function", "name": "ns.g"}]}
    assert chosen({**allowed, "mode": "auto"}) == (["ns.g"], "auto")
    assert chosen({**allowed, "mode": "required"}) == (["ns.g"], "required")


CALL = ToolCall("f", {"a": 1}, "c1", 0)
texts = st.text(max_size=3)
logprobs = st.sampled_from(((), (TokenLogprob("x", -0.5, b"x"),)))
chunks = st.lists(
    st.builds(
        Chunk, content=texts, thinking=texts, tool_calls=st.sampled_from(((), (CALL,))), logprobs=logprobs
    ),
    max_size=6,
)
ends = st.builds(
    Completed,
    reason=st.sampled_from(("stop", "length")),
    tool_calls=st.sampled_from(((), (CALL,))),
    timings=st.just(Timings(n_prompt_tokens=5, n_cached_tokens=2, n_output_tokens=3)),
)
HEAD = Head(id="resp_1", model="m", created_s=1, previous_id="", echo=call().echo)


def folded(got: list[GenerationEvent]) -> Answer:
    async def stream() -> AsyncIterator[GenerationEvent]:
        for event in got:
            yield event

    return asyncio.run(fold(stream()))


def events_of(pieces: list[bytes]) -> list[dict[str, Any]]:
    events = []
    for block in b"".join(pieces).decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


def checked_items(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The finished items; every event between the ends of an item is about it."""
    items: list[dict[str, Any]] = []
    open_id = ""
    said = ""
    for event in events:
        kind = event["type"]
        if kind == "response.output_item.added":
            assert open_id == ""
            open_id, said = event["item"]["id"], ""
            assert event["output_index"] == len(items)
        elif kind == "response.output_item.done":
            assert event["item"]["id"] == open_id
            items.append(event["item"])
            open_id = ""
        elif "item_id" in event:
            assert (event["item_id"], event["output_index"]) == (open_id, len(items))
            said += event["delta"] if kind.endswith(".delta") else ""
            if kind.endswith(("_text.done", "_arguments.done")):
                assert event.get("text", event.get("arguments")) == said
    assert open_id == ""
    return items


@given(chunks, ends)
def test_a_stream_says_what_the_whole_reply_says(pieces: list[Chunk], end: Completed) -> None:
    answer = folded([*pieces, end])
    whole = output_items(answer)
    writer = ResponseWriter(HEAD)
    raw = [piece for chunk in pieces for piece in writer.chunk(chunk)]
    last, body = writer.end(end, 2)
    events = events_of([*raw, *last])
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1]["type"] == f"response.{status_of(end)}"
    items = checked_items(events)
    assert items == body["output"] == events[-1]["response"]["output"]
    assert messages_from_items(items) or not items
    for kind in ("message", "function_call"):
        of_kind = [item for item in items if item["type"] == kind]
        expected = [item for item in whole if item["type"] == kind]
        if kind == "message":
            said = ["".join(item["content"][0]["text"] for item in list_) for list_ in (of_kind, expected)]
            assert said[0] == said[1]
        else:
            keys = ("name", "arguments", "call_id", "status")
            assert [[item[key] for key in keys] for item in of_kind] == [
                [item[key] for key in keys] for item in expected
            ]
    thoughts = "".join(item["encrypted_content"] for item in items if item["type"] == "reasoning")
    assert thoughts == answer.thinking
    complete = response_body(HEAD, status_of(end), whole, completed=end, completed_s=2)
    assert {**complete, "output": 0} == {**body, "output": 0}


def test_an_error_in_mid_stream_closes_what_is_open() -> None:
    writer = ResponseWriter(HEAD)
    raw = writer.chunk(Chunk(content="a"))
    last, body = writer.fail({"code": "server_error", "message": "gone"})
    events = events_of([*raw, *last])
    assert [item["status"] for item in checked_items(events)] == ["incomplete"]
    assert events[-1]["type"] == "response.failed"
    assert body["error"] == {"code": "server_error", "message": "gone"}


def test_an_answer_that_follows_its_own_items_keeps_thoughts_and_calls() -> None:
    answer = folded([Chunk(thinking="hm", content="Sure."), Completed(reason="stop", tool_calls=(CALL,))])
    assert messages_from_items(output_items(answer)) == (
        Message(role="assistant", content="Sure.", thinking="hm", tool_calls=(CALL,)),
    )
