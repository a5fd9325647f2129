"""Requests of Ollama's generation routes: what is read and refused, and that clients write what is read."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.errors import InvalidFormat, InvalidRequest
from server.types.generation import ChatRequest, EmbedRequest, GenerateRequest, Origin
from server.types.messages import Message, Tool, ToolCall
from server.wire.ollama.inference import (
    UnknownFormat,
    chat_body,
    chat_from_body,
    embed_body,
    embed_from_body,
    embeddings_from_body,
    format_from_body,
    generate_body,
    generate_from_body,
)

ORIGIN = Origin("/api/chat", "127.0.0.1 test")

json_objects = st.dictionaries(
    st.text(max_size=5), st.none() | st.booleans() | st.integers(0, 9) | st.text(max_size=5), max_size=3
)
calls = st.builds(
    ToolCall, st.text(max_size=5), json_objects, id=st.text(max_size=5), index=st.integers(0, 3)
)
messages = st.builds(
    Message,
    role=st.sampled_from(("system", "user", "assistant", "tool")),
    content=st.text(max_size=20),
    thinking=st.text(max_size=5),
    images=st.lists(st.binary(max_size=8), max_size=2).map(tuple),
    tool_calls=st.lists(calls, max_size=2).map(tuple),
    tool_name=st.text(max_size=5),
    tool_call_id=st.text(max_size=5),
)
tools = st.builds(
    Tool,
    name=st.text(max_size=5),
    description=st.text(max_size=5),
    parameters=st.just({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}),
)
common: dict[str, st.SearchStrategy[Any]] = {
    "model": st.text(max_size=10),
    "format": st.none() | st.just("json") | st.just({"type": "object"}),
    "think": st.sampled_from((None, True, False, "low", "medium", "high", "max")),
    "options": json_objects,
    "keep_alive_s": st.none() | st.just(math.inf) | st.integers(0, 10**6).map(float),
    "truncate": st.booleans(),
    "shift": st.booleans(),
    "logprobs": st.booleans(),
    "n_top_logprobs": st.integers(0, 20),
    "logit_bias": st.dictionaries(st.integers(0, 99), st.integers(-100, 100).map(float), max_size=2),
    "render_only": st.booleans(),
    "origin": st.just(ORIGIN),
}
chat_requests = st.builds(
    ChatRequest,
    messages=st.lists(messages, max_size=3).map(tuple),
    tools=st.lists(tools, max_size=2).map(tuple),
    drop_think_when_incapable=st.booleans(),
    tool_choice=st.sampled_from(("auto", "required")),
    parallel_tool_calls=st.booleans(),
    think_budget=st.none() | st.integers(0, 99),
    **common,
)
generate_requests = st.builds(
    GenerateRequest,
    prompt=st.text(max_size=10),
    suffix=st.text(max_size=5),
    system=st.none() | st.text(min_size=1, max_size=5),
    template=st.none() | st.text(min_size=1, max_size=5),
    context=st.lists(st.integers(0, 999), max_size=3).map(tuple),
    images=st.lists(st.binary(max_size=8), max_size=2).map(tuple),
    raw=st.booleans(),
    **common,
)


def chat(**fields: Any) -> ChatRequest:
    return chat_from_body(json.dumps({"model": "m", **fields}).encode(), ORIGIN).request


def chat_error(**fields: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        chat(**fields)
    return caught.value.message


@given(chat_requests, st.booleans())
def test_a_chat_that_a_client_writes_is_what_the_server_reads(request: ChatRequest, stream: bool) -> None:
    read = chat_from_body(chat_body(request, stream=stream), ORIGIN)
    assert read.request == request
    assert (read.stream, read.details, read.late_error) == (stream, True, None)


@given(generate_requests, st.booleans())
def test_a_completion_that_a_client_writes_is_what_the_server_reads(
    request: GenerateRequest, stream: bool
) -> None:
    read = generate_from_body(generate_body(request, stream=stream), ORIGIN)
    assert read.request == request
    assert read.stream == stream


@given(
    st.builds(
        EmbedRequest,
        model=st.text(),
        inputs=st.lists(st.text(), max_size=3).map(tuple),
        truncate=st.booleans(),
        n_dimensions=st.integers(0, 9),
        options=json_objects,
        keep_alive_s=common["keep_alive_s"],
        origin=st.just(ORIGIN),
    )
)
def test_texts_to_embed_that_a_client_writes_are_what_the_server_reads(request: EmbedRequest) -> None:
    assert embed_from_body(embed_body(request), ORIGIN) == request


@given(st.binary() | json_objects.map(lambda value: json.dumps(value).encode()))
def test_no_body_raises_anything_but_invalid_request(body: bytes) -> None:
    for read in (chat_from_body, generate_from_body, embed_from_body, embeddings_from_body):
        try:
            read(body, ORIGIN)
        except InvalidRequest as error:
            assert error.message


def test_defaults() -> None:
    call = chat_from_body(b'{"model":"m"}', ORIGIN)
    assert call.stream
    assert not call.details
    assert call.request == ChatRequest(model="m", origin=ORIGIN)


def test_roles_are_lowered_and_null_content_is_empty() -> None:
    (message,) = chat(messages=[{"role": "USER", "content": None}]).messages
    assert message == Message(role="user")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "json: cannot unmarshal array into Go struct field ChatRequest.messages.content of type string",
        ),
        (
            {"stream": "true"},
            "json: cannot unmarshal string into Go struct field ChatRequest.stream of type bool",
        ),
        (
            {"think": "extreme"},
            'invalid think value: "extreme" (must be "high", "medium", "low", "max", true, or false)',
        ),
        ({"think": 1}, 'think must be a boolean or string ("high", "medium", "low", "max", true, or false)'),
        ({"top_logprobs": 21}, "top_logprobs must be between 0 and 20"),
        ({"top_logprobs": -1}, "top_logprobs must be between 0 and 20"),
        ({"keep_alive": "10"}, 'time: missing unit in duration "10"'),
        ({"keep_alive": True}, "Unsupported type: 'bool'"),
        (
            {"messages": [{"role": "user", "images": ["data:image/png;base64,AA=="]}]},
            "illegal base64 data at input byte 4",
        ),
        ({"olla": {"logit_bias": {"x": 1}}}, "logit_bias must map token ids to numbers"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], message: str) -> None:
    assert chat_error(**fields) == message


def test_arguments_of_a_call_must_be_an_object() -> None:
    call = {"function": {"name": "f", "arguments": '{"a": 1}'}}
    message = chat_error(messages=[{"role": "assistant", "tool_calls": [call]}])
    assert "string into Go struct field ChatRequest.messages.tool_calls.function.arguments" in message


def test_a_bad_format_is_kept_for_later() -> None:
    call = chat_from_body(b'{"model":"m","format":"xml"}', ORIGIN)
    assert call.late_error is not None
    expected = 'invalid format: "\\"xml\\""; expected "json" or a valid JSON Schema object'
    assert call.late_error.message == expected


@pytest.mark.parametrize(("value", "is_text"), [("xml", True), (42, False), (True, False), ([1], False)])
def test_a_format_of_a_wrong_type_is_the_callers_fault(value: Any, is_text: bool) -> None:
    with pytest.raises(InvalidFormat, match=r"^invalid format: ") as caught:
        format_from_body(value)
    assert isinstance(caught.value, UnknownFormat) == is_text


@pytest.mark.parametrize(("value", "expected"), [(None, None), ("", None), ("json", "json"), ({}, {})])
def test_formats(value: Any, expected: Any) -> None:
    assert format_from_body(value) == expected


@pytest.mark.parametrize("value", ["xml", 1, ["json"], True])
def test_no_formats(value: Any) -> None:
    with pytest.raises(InvalidFormat):
        format_from_body(value)


def test_tools_are_cut_down_to_what_ollama_passes_on() -> None:
    schema = {
        "properties": {
            "b": {"minimum": 1, "type": ["integer"], "description": "B", "enum": [1, 2]},
            "a": {
                "type": ["string", "null"],
                "default": "x",
                "anyOf": [{"type": "string", "format": "date"}],
            },
            "c": {
                "type": "object",
                "required": ["d"],
                "properties": {"d": {"items": {"x": 1}, "type": "array"}},
            },
        },
        "additionalProperties": False,
        "required": ["b"],
        "$defs": {"D": {}},
        "type": "object",
    }
    (tool,) = chat(tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}]).tools
    assert json.dumps(tool.parameters) == json.dumps(
        {
            "type": "object",
            "$defs": {"D": {}},
            "required": ["b"],
            "properties": {
                "b": {"type": "integer", "description": "B", "enum": [1, 2]},
                "a": {"anyOf": [{"type": "string"}], "type": ["string", "null"]},
                "c": {
                    "type": "object",
                    "properties": {"d": {"type": "array", "items": {"x": 1}}},
                    "required": ["d"],
                },
            },
        }
    )


def test_a_tool_without_parameters() -> None:
    (tool,) = chat(tools=[{"type": "function", "function": {"name": "f"}}]).tools
    assert tool.parameters == {"type": "", "properties": None}


def test_a_schema_may_not_be_nested_without_end() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(80):
        schema = {"type": "object", "properties": {"x": schema}}
    assert "nested deeper" in chat_error(tools=[{"function": {"name": "f", "parameters": schema}}])


@pytest.mark.parametrize("value", [[1], 1, {"a": 1}, ["x", None], [["x"]]])
def test_inputs_that_are_no_texts(value: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"^invalid input type$"):
        embed_from_body(json.dumps({"model": "m", "input": value}).encode(), ORIGIN)


@pytest.mark.parametrize(("value", "inputs"), [("", ()), ([], ()), (None, ()), ("a", ("a",)), ([""], ("",))])
def test_inputs(value: Any, inputs: tuple[str, ...]) -> None:
    assert embed_from_body(json.dumps({"input": value}).encode(), ORIGIN).inputs == inputs


def test_the_older_route_takes_one_text() -> None:
    assert embeddings_from_body(b'{"model":"m","prompt":"a"}', ORIGIN).inputs == ("a",)
    assert embeddings_from_body(b'{"model":"m","prompt":""}', ORIGIN).inputs == ()


def test_token_ids_do_not_fit_into_ollamas_json() -> None:
    with pytest.raises(InvalidRequest):
        embed_body(EmbedRequest(model="m", inputs=((1, 2),)))


def _chosen(choice: Any, *names: str) -> tuple[tuple[str, ...], str]:
    tools = [{"type": "function", "function": {"name": name}} for name in names]
    body = json.dumps({"model": "m", "tools": tools, "tool_choice": choice})
    request = chat_from_body(body.encode(), ORIGIN).request
    return tuple(tool.name for tool in request.tools), request.tool_choice


def test_a_tool_choice_beside_the_tools_is_honoured() -> None:
    assert _chosen("none", "a", "b") == ((), "auto")
    assert _chosen("required", "a", "b") == (("a", "b"), "required")
    for named in ({"type": "function", "name": "b"}, {"type": "function", "function": {"name": "b"}}):
        assert _chosen(named, "a", "b") == (("b",), "required")
        with pytest.raises(InvalidRequest, match="not among the tools"):
            _chosen(named, "a")


@pytest.mark.parametrize("choice", [None, "auto", "any", 3, [], {"type": "web_search_preview"}])
def test_a_tool_choice_without_a_known_form_has_no_effect(choice: Any) -> None:
    assert _chosen(choice, "a") == (("a",), "auto")


def test_a_tool_choice_without_tools_has_no_effect() -> None:
    assert _chosen("required") == ((), "auto")
