"""OpenAI's chat requests: what becomes of each field, and what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidRequest
from server.types.generation import ChatRequest, Origin
from server.types.messages import Message, ToolCall
from server.wire.openai.chat import ChatCall, chat_from_body

USER = {"role": "user", "content": "hi"}
PNG = base64.b64encode(b"png").decode()
CHOICES = 'tool_choice must be "none", "auto", "required" or {"type": "function", "function": {"name": ...}}'
TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("f", "g")]


def call(**fields: Any) -> ChatCall:
    return chat_from_body(json.dumps({"model": "m", "messages": [USER], **fields}).encode(), Origin())


def request(**fields: Any) -> ChatRequest:
    return call(**fields).request


def error(**fields: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        call(**fields)
    return caught.value.message


def messages(*items: dict[str, Any]) -> tuple[Message, ...]:
    return request(messages=items).messages


def test_temperature_and_top_p_are_one_unless_given() -> None:
    assert request().options == {"temperature": 1.0, "top_p": 1.0}
    assert not call().stream
    given_ = request(
        temperature=0, top_p=0.5, seed=1, max_tokens=3, presence_penalty=1, frequency_penalty=2, stop="x"
    )
    assert given_.options == {
        "temperature": 0.0,
        "top_p": 0.5,
        "seed": 1,
        "num_predict": 3,
        "presence_penalty": 1.0,
        "frequency_penalty": 2.0,
        "stop": ["x"],
    }


def test_the_newer_name_for_the_most_tokens_is_honoured() -> None:
    assert request(max_completion_tokens=5).options["num_predict"] == 5
    assert request(max_tokens=3, max_completion_tokens=5).options["num_predict"] == 5


def test_sampling_that_only_other_servers_have() -> None:
    given = {"top_k": 3, "min_p": 0.5, "typical_p": 0.9, "repeat_penalty": 1.1, "ignore_eos": True}
    assert request(**given).options == {"temperature": 1.0, "top_p": 1.0, **given}


def test_fields_without_effect_are_named() -> None:
    assert call().ignored == ()
    assert call(functions=[], function_call="none", verbosity="low", prediction={"x": 1}).ignored == (
        "prediction",
        "verbosity",
    )


def test_calls_are_parallel_unless_the_caller_wants_one() -> None:
    assert request().parallel_tool_calls
    assert not request(parallel_tool_calls=False).parallel_tool_calls


@pytest.mark.parametrize(
    ("stop", "expected"), [(["a", 1, "b"], ["a", "b"]), ("a", ["a"]), (1, None), (None, None)]
)
def test_stop_texts(stop: Any, expected: Any) -> None:
    assert request(stop=stop).options.get("stop") == expected


@pytest.mark.parametrize(
    ("wanted", "format_"),
    [
        ({"type": "json_object"}, "json"),
        ({"type": " JSON_Object "}, "json"),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
            {"type": "object"},
        ),
        ({"type": "text"}, None),
        (None, None),
    ],
)
def test_response_formats(wanted: Any, format_: Any) -> None:
    assert request(response_format=wanted).format == format_


def test_a_schema_that_is_none_is_kept_for_later() -> None:
    late = call(response_format={"type": "json_schema", "json_schema": {"schema": 1}}).late_error
    assert late is not None
    assert late.message.startswith("invalid format")


@pytest.mark.parametrize(
    ("effort", "think"),
    [
        ("none", False),
        ("minimal", "low"),
        ("low", "low"),
        ("high", "high"),
        ("xhigh", "max"),
        ("ultra", "max"),
        ("", None),
    ],
)
def test_reasoning_efforts(effort: str, think: Any) -> None:
    assert request(reasoning_effort=effort).think == think
    assert request(reasoning={"effort": effort}, reasoning_effort="weird").think == think


@pytest.mark.parametrize(
    ("choice", "names", "kept"),
    [
        ("none", [], "auto"),
        ("auto", ["f", "g"], "auto"),
        ("required", ["f", "g"], "required"),
        (None, ["f", "g"], "auto"),
        ({"type": "function", "function": {"name": "g"}}, ["g"], "required"),
    ],
)
def test_tool_choice_hides_tools_and_requires_calls(choice: Any, names: list[str], kept: str) -> None:
    asked = request(tools=TOOLS, tool_choice=choice)
    assert ([tool.name for tool in asked.tools], asked.tool_choice) == (names, kept)


@pytest.mark.parametrize("choice", ["none", "auto", None])
def test_a_choice_without_tools_that_asks_for_no_call(choice: Any) -> None:
    assert request(tool_choice=choice).tool_choice == "auto"


def test_other_fields() -> None:
    full = request(logprobs=True, top_logprobs=2, logit_bias={"5": -100}, _debug_render_only=True)
    assert (full.logprobs, full.n_top_logprobs, full.render_only) == (True, 2, True)
    assert full.logit_bias == {5: -100.0}
    assert call(stream=True, stream_options={"include_usage": True}, n=2)[1:4] == (True, True, 2)
    assert request(user="u", store=True, metadata={}, service_tier="auto", parallel_tool_calls=False)


def test_a_developer_speaks_as_the_system() -> None:
    assert messages({"role": "Developer", "content": "x"}) == (Message(role="system", content="x"),)


def test_an_assistants_turn() -> None:
    (message,) = messages(
        {
            "role": "assistant",
            "content": None,
            "reasoning": "hm",
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
            ],
        }
    )
    assert message == Message(role="assistant", thinking="hm", tool_calls=(ToolCall("f", {"a": 1}, "c1", 0),))


def test_a_tools_result_keeps_the_id_of_its_call_in_parts_too() -> None:
    result = {"role": "tool", "tool_call_id": "c1", "name": "f"}
    expected = Message(role="tool", content="21", tool_name="f", tool_call_id="c1")
    assert messages({**result, "content": "21"}) == (expected,)
    assert messages({**result, "content": [{"type": "text", "text": "21"}]}) == (expected,)


def test_each_text_is_a_message() -> None:
    assert messages(
        {"role": "user", "content": [{"type": "text", "text": "look"}, {"type": "text", "text": "here"}]}
    ) == (Message(role="user", content="look"), Message(role="user", content="here"))


def test_parts_with_images_are_one_message() -> None:
    assert messages(
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "look"},
                {"type": "text", "text": "here"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
                {"type": "image_url", "image_url": f"data:;base64,{PNG}"},
                {"type": "text", "text": "and hear"},
                {"type": "input_audio", "input_audio": {"data": PNG, "format": "wav"}},
            ],
        }
    ) == (Message(role="user", content="look\n\nhere[img][img]and hear[img]", images=(b"png",) * 3),)


def test_calls_stay_with_the_last_part() -> None:
    calls = [{"id": "c", "function": {"name": "f", "arguments": "{}"}}]
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    first, last = messages({"role": "assistant", "content": parts, "tool_calls": calls})
    assert (first.content, first.tool_calls) == ("a", ())
    assert (last.content, last.tool_calls) == ("b", (ToolCall("f", {}, "c", 0),))
    (alone,) = messages({"role": "assistant", "content": [], "tool_calls": calls})
    assert alone.tool_calls == (ToolCall("f", {}, "c", 0),)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"messages": []}, "[] is too short - 'messages'"),
        ({"messages": None}, "[] is too short - 'messages'"),
        ({"messages": [{"role": "user"}]}, "invalid message content type: <nil>"),
        ({"messages": [{"role": "user", "content": 1}]}, "invalid message content type: float64"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "invalid message format"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "invalid message format"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "invalid message format"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "invalid input_audio format",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
            "invalid input_audio format: missing data",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "!"}}]}
                ]
            },
            "invalid input_audio base64 data: illegal base64 data at input byte 0",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": ""}}]}]},
            "invalid tool call arguments",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": "[1]"}}]}]},
            "invalid tool call arguments",
        ),
        ({"top_logprobs": 21}, "top_logprobs must be between 0 and 20"),
        ({"n": 0}, "n must be between 1 and 16"),
        ({"n": 17}, "n must be between 1 and 16"),
        (
            {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice names a function that is not among the tools",
        ),
        ({"tool_choice": "required"}, "tool_choice is only allowed when tools are given"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema is required"),
        ({"tool_choice": {"function": {"name": "f"}}}, "tool_choice is only allowed when tools are given"),
        *(
            ({"tools": TOOLS, "tool_choice": choice}, CHOICES)
            for choice in ("any", 1, [], {"type": "custom"})
        ),
        ({"logit_bias": {"9" * 5000: 1}}, "logit_bias must map token ids to numbers"),
        ({"logit_bias": {str(2**31): 1}}, "logit_bias must map token ids to numbers"),
        (
            {"reasoning_effort": "weird"},
            'invalid reasoning value: "weird" (must be "minimal", "low", "medium", "high", "xhigh", "ultra", '
            '"max", or "none")',
        ),
    ],
)
def test_what_is_refused(fields: dict[str, Any], message: str) -> None:
    assert error(**fields) == message


@pytest.mark.parametrize(
    ("url", "message"),
    [
        (
            "https://example.com/a.png",
            "image URLs are not currently supported, please use base64 encoded data instead",
        ),
        (f"data:image/gif;base64,{PNG}", "invalid image input"),
        ("data:image/png;base64,!", "invalid image input"),
        ("x", "invalid image input"),
    ],
)
def test_images_that_are_refused(url: str, message: str) -> None:
    part = {"type": "image_url", "image_url": {"url": url}}
    assert error(messages=[{"role": "user", "content": [part]}]) == message


def test_an_empty_body() -> None:
    with pytest.raises(InvalidRequest, match=r"^EOF$"):
        chat_from_body(b"", Origin())


@given(
    st.binary()
    | st.dictionaries(
        st.sampled_from(("messages", "tools", "stop", "n", "response_format", "reasoning", "tool_choice")),
        st.recursive(
            st.none() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(("role", "content", "type", "text", "function", "tool_calls", "name")),
                    inner,
                )
            ),
            max_leaves=12,
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_no_body_raises_anything_but_invalid_request(body: bytes) -> None:
    try:
        chat_from_body(body, Origin())
    except InvalidRequest as refused:
        assert refused.message
