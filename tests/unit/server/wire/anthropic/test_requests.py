"""Requests of `/v1/messages`: what is read, and what is refused with which words."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from server.errors import InvalidRequest
from server.types.generation import ChatRequest, Origin
from server.types.messages import Message, ToolCall
from server.wire.anthropic.requests import MessagesCall, messages_from_body

PIXEL = base64.b64encode(b"png").decode()
WEATHER = {
    "name": "get_weather",
    "description": "Weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
CLOCK = {"name": "now", "input_schema": {"type": "object", "properties": {}}}
USER = {"role": "user", "content": "Hi"}


def call(*, counts: bool = False, **fields: Any) -> MessagesCall:
    body = {"model": "m", "max_tokens": 5, "messages": [USER], **fields}
    return messages_from_body(json.dumps(body).encode(), Origin(), counts=counts)


def request(**fields: Any) -> ChatRequest:
    return call(**fields).request


def message(*blocks: Any, role: str = "user") -> tuple[Message, ...]:
    return request(messages=[{"role": role, "content": list(blocks)}]).messages


def fault(**fields: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        call(**fields)
    return caught.value.message


def test_only_what_is_given_becomes_an_option() -> None:
    assert request().options == {"num_predict": 5}
    given = request(temperature=0, top_p=0.5, top_k=3, stop_sequences=["a", "b"], metadata={"user_id": "u"})
    assert given.options == {
        "num_predict": 5,
        "temperature": 0.0,
        "top_p": 0.5,
        "top_k": 3,
        "stop": ["a", "b"],
    }
    assert not call().stream
    assert call(stream=True).stream


def test_a_count_needs_no_bound_on_the_answer() -> None:
    body = json.dumps({"model": "m", "messages": [USER]}).encode()
    assert messages_from_body(body, Origin(), counts=True).request.options == {}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": ""}, "model is required"),
        ({"max_tokens": None}, "max_tokens is required and must be positive"),
        ({"max_tokens": 0}, "max_tokens is required and must be positive"),
        ({"messages": []}, "messages is required"),
        ({"messages": [{"role": "tool", "content": "x"}]}, 'must have the role "user" or "assistant"'),
        ({"messages": [{"role": "user", "content": 1}]}, "must be a string or a list of blocks"),
        ({"messages": [{"role": "user", "content": [{"type": "what"}]}]}, "'what' are not supported"),
        ({"system": 1}, "system must be a string or a list of text blocks"),
        ({"system": [{"type": "image"}]}, "system takes blocks of type text"),
        ({"tool_choice": {"type": "any"}}, "only allowed when tools are given"),
        ({"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}}, "not among the tools"),
        ({"tools": [WEATHER], "tool_choice": {"type": "weird"}}, "tool_choice.type must be"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "run at Anthropic and are not supported"),
        ({"tools": [{"input_schema": {}}]}, "tools must have a name"),
        (
            {"tools": [{"name": "f", "input_schema": {"type": "object", "properties": 1}}]},
            'invalid input_schema for tool "f"',
        ),
        ({"thinking": {"type": "enabled", "budget_tokens": -1}}, "thinking.budget_tokens must be"),
        ({"output_config": {"format": {"type": "json_schema"}}}, "output_config.format must be"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], words: str) -> None:
    assert words in fault(**fields)


def test_system_texts_come_first() -> None:
    blocks = [{"type": "text", "text": "A"}, {"type": "text", "text": "B", "cache_control": {}}]
    for system in ("AB", blocks):
        assert request(system=system).messages == (
            Message(role="system", content="AB"),
            Message(role="user", content="Hi"),
        )


def test_blocks_become_one_message_and_results_come_before_it() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    results = [
        {"type": "tool_result", "tool_use_id": "c1", "content": "12 C"},
        {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "no"}, image]},
        {"type": "tool_result", "tool_use_id": "c3", "is_error": True, "content": "gone"},
        {"type": "tool_result", "tool_use_id": "c4"},
    ]
    assert message({"type": "text", "text": "And "}, image, *results, {"type": "text", "text": "now?"}) == (
        Message(role="tool", content="12 C", tool_call_id="c1"),
        Message(role="tool", content="no", images=(b"png",), tool_call_id="c2"),
        Message(role="tool", content="Error: gone", tool_call_id="c3"),
        Message(role="tool", tool_call_id="c4"),
        Message(role="user", content="And now?", images=(b"png",)),
    )


def test_an_answer_given_back_keeps_its_thoughts_and_calls() -> None:
    assert message(
        {"type": "thinking", "thinking": "hm", "signature": "x"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "Let me see."},
        {"type": "tool_use", "id": "c1", "name": "get_weather", "input": {"city": "Oslo"}},
        {"type": "tool_use", "id": "c2", "name": "now", "input": {}},
        role="assistant",
    ) == (
        Message(
            role="assistant",
            content="Let me see.",
            thinking="hm",
            tool_calls=(ToolCall("get_weather", {"city": "Oslo"}, "c1", 0), ToolCall("now", {}, "c2", 1)),
        ),
    )


def test_a_message_without_content_says_nothing() -> None:
    contents: tuple[Any, ...] = (None, [])
    for content in contents:
        assert request(messages=[{"role": "assistant", "content": content}, USER]).messages == (
            Message(role="user", content="Hi"),
        )


def test_instructions_may_stand_anywhere() -> None:
    messages = [USER, {"role": "system", "content": "A"}, {"role": "developer", "content": "B"}]
    assert [message.role for message in request(messages=messages).messages] == ["user", "system", "system"]


def test_documents_and_search_results_are_text() -> None:
    (made,) = message(
        {"type": "document", "title": "T", "source": {"type": "text", "data": "body"}},
        {
            "type": "search_result",
            "title": "S",
            "source": "u",
            "content": [{"type": "text", "text": "found"}],
        },
    )
    assert made.content == 'T\n\nbody\n\n{"title":"S","source":"u"}\nfound\n\n'
    pdf = {"type": "document", "source": {"type": "base64", "data": ""}}
    assert "documents of source type 'base64'" in fault(messages=[{"role": "user", "content": [pdf]}])


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (None, "invalid image source"),
        (
            {"type": "url", "url": "http://x"},
            "invalid image source type: url. Only base64 images are supported.",
        ),
        ({"type": "base64", "data": "!"}, "invalid base64 image data: illegal base64 data at input byte 0"),
    ],
)
def test_images_that_cannot_be_read_are_refused(source: Any, words: str) -> None:
    block = {"type": "image", "source": source}
    assert fault(messages=[{"role": "user", "content": [block]}]) == words


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"type": "tool_use", "name": "f"}, "tool_use block missing required 'id' field"),
        ({"type": "tool_use", "id": "c"}, "tool_use block missing required 'name' field"),
    ],
)
def test_calls_need_an_id_and_a_name(block: Any, words: str) -> None:
    assert fault(messages=[{"role": "assistant", "content": [block]}]) == words


def test_tool_choices() -> None:
    tools = [WEATHER, {"type": "custom", **CLOCK}]

    def chosen(choice: Any) -> tuple[list[str], str, bool]:
        made = request(tools=tools, tool_choice=choice)
        return [tool.name for tool in made.tools], made.tool_choice, made.parallel_tool_calls

    both = ["get_weather", "now"]
    assert chosen(None) == (both, "auto", True)
    assert chosen({"type": "auto", "disable_parallel_tool_use": True}) == (both, "auto", False)
    assert chosen({"type": "any"}) == (both, "required", True)
    assert chosen({"type": "tool", "name": "now"}) == (["now"], "required", True)
    assert chosen({"type": "none"}) == ([], "auto", True)
    assert request(tools=tools).tools[0].parameters["required"] == ["city"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, (None, None)),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, (True, 2000)),
        ({"thinking": {"type": "enabled"}}, (True, None)),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, (False, None)),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "xhigh"}}, ("high", None)),
        ({"output_config": {"effort": "weird"}}, (None, None)),
    ],
)
def test_thinking(fields: dict[str, Any], expected: Any) -> None:
    made = request(**fields)
    assert (made.think, made.think_budget) == expected


@pytest.mark.parametrize("field", ["output_config", "output_format"])
def test_a_schema_is_enforced(field: str) -> None:
    wanted = {"type": "json_schema", "schema": {"type": "object"}}
    value = {"format": wanted} if field == "output_config" else wanted
    assert request(**{field: value}).format == {"type": "object"}


def test_fields_without_effect_are_named() -> None:
    assert call().ignored == ()
    assert call(mcp_servers=[{"url": "x"}], container="c").ignored == ("container", "mcp_servers")
