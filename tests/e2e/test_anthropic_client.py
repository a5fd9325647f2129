"""Anthropic's official Python client, unmodified."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.e2e.conftest import Served

ASKED = "What is the capital of France?"
CAPITAL: list[Any] = [{"role": "user", "content": ASKED}]
WEATHER_ASKED: list[Any] = [{"role": "user", "content": "What is the weather in Paris?"}]
TOOL: Any = {
    "name": "get_weather",
    "description": "Get the current weather in a city",
    "input_schema": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "The name of the city"}},
        "required": ["city"],
    },
}
NO_THOUGHTS: Any = {"type": "disabled"}
GREEDY = {"temperature": 0}


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=served.url, api_key="unused", max_retries=0) as client:
        yield client


def ask(client: anthropic.Anthropic, messages: list[Any], **fields: Any) -> anthropic.types.Message:
    given: dict[str, Any] = {"model": "plain", "max_tokens": 60, "extra_body": GREEDY, **fields}
    reply: anthropic.types.Message = client.messages.create(messages=messages, **given)
    return reply


def events(client: anthropic.Anthropic, messages: list[Any], **fields: Any) -> list[Any]:
    given: dict[str, Any] = {"model": "plain", "max_tokens": 60, "extra_body": GREEDY, **fields}
    return list(client.messages.create(messages=messages, stream=True, **given))


def kinds(got: list[Any]) -> list[str]:
    """Event types in order, repeats of deltas taken together."""
    names: list[str] = []
    for event in got:
        if not (names and names[-1] == event.type == "content_block_delta"):
            names.append(event.type)
    return names


def n_input(usage: Any) -> int:
    return int(usage.input_tokens + (usage.cache_read_input_tokens or 0))


def test_an_answer_whole_and_streamed_are_equal(client: anthropic.Anthropic) -> None:
    whole = ask(client, CAPITAL)
    assert [block.type for block in whole.content] == ["text"]
    assert "Paris" in whole.content[0].text  # type: ignore[union-attr]
    assert (whole.stop_reason, whole.stop_sequence, whole.role) == ("end_turn", None, "assistant")
    with client.messages.stream(model="plain", max_tokens=60, messages=CAPITAL, extra_body=GREEDY) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == whole.content[0].text  # type: ignore[union-attr]
    assert final.stop_reason == "end_turn"
    assert n_input(final.usage) == n_input(whole.usage)


def test_events_come_in_order_and_the_first_tells_the_true_length(client: anthropic.Anthropic) -> None:
    counted = client.messages.count_tokens(model="plain", messages=CAPITAL).input_tokens
    got = events(client, CAPITAL)
    assert kinds(got) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert n_input(got[0].message.usage) == n_input(got[-2].usage) == counted
    assert got[0].message.stop_reason is None


def test_what_was_read_before_counts_as_cached(client: anthropic.Anthropic) -> None:
    long: list[Any] = [{"role": "user", "content": "Tell me about lakes, rivers and the sea. " * 4}]
    first, second = (ask(client, long, max_tokens=2).usage for _ in range(2))
    assert n_input(first) == n_input(second)
    assert (second.cache_read_input_tokens or 0) > n_input(second) // 2


def test_thoughts_are_a_block_of_their_own_with_a_signature(client: anthropic.Anthropic) -> None:
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    whole = ask(client, CAPITAL, model="spark", max_tokens=400, thinking=thinking)
    assert [block.type for block in whole.content] == ["thinking", "text"]
    assert whole.content[0].signature  # type: ignore[union-attr]
    got = events(client, CAPITAL, model="spark", max_tokens=400, thinking=thinking)
    deltas = [event.delta.type for event in got if event.type == "content_block_delta"]
    assert deltas.index("signature_delta") == deltas.count("thinking_delta")
    given_back = [
        *CAPITAL,
        {"role": "assistant", "content": [block.model_dump() for block in whole.content]},
        {"role": "user", "content": "And of Japan?"},
    ]
    assert ask(client, given_back, model="spark", thinking=NO_THOUGHTS).content[-1].type == "text"


def test_thoughts_end_where_their_budget_does(client: anthropic.Anthropic) -> None:
    got = ask(
        client, CAPITAL, model="spark", max_tokens=200, thinking={"type": "enabled", "budget_tokens": 3}
    )
    free = ask(
        client, CAPITAL, model="spark", max_tokens=200, thinking={"type": "enabled", "budget_tokens": 1024}
    )
    assert got.content[0].type == free.content[0].type == "thinking"
    assert len(got.content[0].thinking) < len(free.content[0].thinking)
    assert got.content[1].type == "text"


def test_tools_whole_streamed_and_their_results(client: anthropic.Anthropic) -> None:
    fields: dict[str, Any] = {"model": "spark", "tools": [TOOL], "thinking": NO_THOUGHTS}
    whole = ask(client, WEATHER_ASKED, **fields)
    (call,) = [block for block in whole.content if block.type == "tool_use"]
    assert (call.name, call.input, whole.stop_reason) == ("get_weather", {"city": "Paris"}, "tool_use")
    got = events(client, WEATHER_ASKED, **fields)
    (delta,) = [event.delta for event in got if event.type == "content_block_delta"]
    assert json.loads(delta.partial_json) == {"city": "Paris"}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "18 C and sunny"}
    conversation = [
        *WEATHER_ASKED,
        {"role": "assistant", "content": [call.model_dump()]},
        {"role": "user", "content": [result]},
    ]
    assert ask(client, conversation, **fields).content[0].type == "text"


def test_tools_forced_named_and_forbidden(client: anthropic.Anthropic) -> None:
    zone = {"type": "string", "enum": ["utc"]}
    schema = {"type": "object", "properties": {"zone": zone}, "required": ["zone"]}
    other = {**TOOL, "name": "now", "input_schema": schema}
    fields: dict[str, Any] = {"model": "spark", "tools": [TOOL, other], "thinking": NO_THOUGHTS}
    hello: list[Any] = [{"role": "user", "content": "Hello!"}]
    one = {"type": "any", "disable_parallel_tool_use": True}
    assert [block.type for block in ask(client, hello, tool_choice=one, **fields).content] == ["tool_use"]
    named = ask(client, hello, tool_choice={"type": "tool", "name": "now"}, **fields)
    assert {block.name for block in named.content if block.type == "tool_use"} == {"now"}
    forbidden = ask(client, WEATHER_ASKED, tool_choice={"type": "none"}, **fields)
    assert "tool_use" not in {block.type for block in forbidden.content}


def test_a_stop_sequence_is_named(client: anthropic.Anthropic) -> None:
    got = ask(client, CAPITAL, stop_sequences=[" France", "nowhere"])
    assert (got.stop_reason, got.stop_sequence) == ("stop_sequence", " France")
    assert ask(client, CAPITAL, max_tokens=1).stop_reason == "max_tokens"


def test_a_system_prompt_counts(client: anthropic.Anthropic) -> None:
    bare = client.messages.count_tokens(model="plain", messages=CAPITAL).input_tokens
    text: Any = [{"type": "text", "text": "Answer briefly."}]
    for system in ("Answer briefly.", text):
        assert (
            client.messages.count_tokens(model="plain", messages=CAPITAL, system=system).input_tokens > bare
        )


@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_clients_own_classes(client: anthropic.Anthropic, stream: bool) -> None:
    with pytest.raises(anthropic.NotFoundError, match="model 'nope' not found"):
        client.messages.create(model="nope", max_tokens=5, messages=CAPITAL, stream=stream)
    pixel = base64.b64encode(b"\x89PNG\r\n").decode()
    source = {"type": "base64", "media_type": "image/png", "data": pixel}
    picture: list[Any] = [{"role": "user", "content": [{"type": "image", "source": source}]}]
    with pytest.raises(anthropic.BadRequestError, match="does not support multimodal"):
        client.messages.create(model="plain", max_tokens=5, messages=picture, stream=stream)
    long: list[Any] = [{"role": "user", "content": "one two three " * 20_000}]
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model="native", max_tokens=5, messages=long, stream=stream)


async def test_the_asynchronous_client_streams(served: Served) -> None:
    async with anthropic.AsyncAnthropic(base_url=served.url, api_key="unused", max_retries=0) as client:
        async with client.messages.stream(
            model="plain", max_tokens=60, messages=CAPITAL, extra_body=GREEDY
        ) as stream:
            assert "Paris" in "".join([text async for text in stream.text_stream])
