"""Anthropic's Python package: messages and their stream events, token counts, models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.clients.asked import (
    CAPITAL,
    CAPITAL_ANSWER,
    CITY_SCHEMA,
    ENDLESS,
    NOW_SCHEMA,
    TOO_LONG,
    WEATHER,
    WEATHER_SCHEMA,
    assert_city,
    picture_base64,
    user,
)
from tests.clients.serving import Server

WEATHER_TOOL: Any = {
    "name": "get_weather",
    "description": "Weather of a city",
    "input_schema": WEATHER_SCHEMA,
}
NOW_TOOL: Any = {"name": "now", "description": "The time", "input_schema": NOW_SCHEMA}
NO_THOUGHTS: Any = {"type": "disabled"}
THOUGHTS: Any = {"type": "enabled", "budget_tokens": 1024}
GREEDY = {"temperature": 0}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=server.url, api_key="unused", max_retries=0) as client:
        yield client


def ask(client: anthropic.Anthropic, messages: list[Any], **fields: Any) -> Any:
    given: dict[str, Any] = {"model": "plain", "max_tokens": 200, "extra_body": GREEDY, **fields}
    return client.messages.create(messages=messages, **given)


def kinds(events: list[Any]) -> list[str]:
    """Event types in order, deltas of a block taken together."""
    names: list[str] = []
    for event in events:
        if not (names and names[-1] == event.type == "content_block_delta"):
            names.append(event.type)
    return names


BLOCK = ["content_block_start", "content_block_delta", "content_block_stop"]


def test_an_answer_whole_and_streamed(client: anthropic.Anthropic) -> None:
    whole = ask(client, user(CAPITAL))
    assert [(block.type, block.text) for block in whole.content] == [("text", CAPITAL_ANSWER)]
    assert (whole.type, whole.role, whole.stop_reason, whole.stop_sequence) == (
        "message",
        "assistant",
        "end_turn",
        None,
    )
    events = list(ask(client, user(CAPITAL), stream=True))
    assert kinds(events) == ["message_start", *BLOCK, "message_delta", "message_stop"]
    counted = client.messages.count_tokens(model="plain", messages=user(CAPITAL)).input_tokens
    start = events[0].message
    assert start.usage.input_tokens + (start.usage.cache_read_input_tokens or 0) == counted
    assert (start.stop_reason, events[-2].delta.stop_reason) == (None, "end_turn")
    assert events[-2].usage.output_tokens == whole.usage.output_tokens


def test_the_clients_own_stream_puts_the_message_together(client: anthropic.Anthropic) -> None:
    with client.messages.stream(
        model="plain", max_tokens=60, messages=user(CAPITAL), extra_body=GREEDY
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == CAPITAL_ANSWER
    assert final.stop_reason == "end_turn"


def test_a_system_prompt_stop_sequences_and_bounds(client: anthropic.Anthropic) -> None:
    bare = client.messages.count_tokens(model="plain", messages=user(CAPITAL)).input_tokens
    long = client.messages.count_tokens(model="plain", messages=user(CAPITAL), system="Be brief.")
    assert long.input_tokens > bare
    stopped = ask(client, user(CAPITAL), stop_sequences=[" France", "nowhere"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", " France")
    assert stopped.content[0].text == "The capital of"
    cut = ask(client, user(CAPITAL), max_tokens=2)
    assert (cut.stop_reason, cut.usage.output_tokens) == ("max_tokens", 2)


@pytest.mark.parametrize("model", ["spark", "native"])
def test_thoughts_are_a_block_of_their_own(client: anthropic.Anthropic, model: str) -> None:
    whole = ask(client, user(CAPITAL), model=model, max_tokens=2000, thinking=THOUGHTS)
    assert [block.type for block in whole.content] == ["thinking", "text"]
    assert "The user asks for the capital of France" in whole.content[0].thinking
    assert whole.content[0].signature
    assert whole.content[1].text.strip() == CAPITAL_ANSWER
    events = list(ask(client, user(CAPITAL), model=model, max_tokens=2000, thinking=THOUGHTS, stream=True))
    assert kinds(events) == ["message_start", *BLOCK, *BLOCK, "message_delta", "message_stop"]
    first = [event.delta for event in events if event.type == "content_block_delta" and event.index == 0]
    assert [delta.type for delta in first] == ["thinking_delta"] * (len(first) - 1) + ["signature_delta"]
    assert "".join(delta.thinking for delta in first[:-1]) == whole.content[0].thinking
    given_back = [
        *user(CAPITAL),
        {"role": "assistant", "content": [block.model_dump() for block in whole.content]},
        *user("And of Japan?"),
    ]
    again = ask(client, given_back, model=model, thinking=NO_THOUGHTS)
    assert [block.type for block in again.content] == ["text"]


@pytest.mark.parametrize("model", ["spark", "native"])
def test_tools_plain_streamed_and_their_results(client: anthropic.Anthropic, model: str) -> None:
    fields: dict[str, Any] = {"model": model, "tools": [WEATHER_TOOL], "thinking": NO_THOUGHTS}
    whole = ask(client, user(WEATHER), **fields)
    (call,) = whole.content
    assert (call.type, call.name, call.input) == ("tool_use", "get_weather", {"city": "Paris"})
    assert whole.stop_reason == "tool_use"
    events = list(ask(client, user(WEATHER), stream=True, **fields))
    assert kinds(events) == ["message_start", *BLOCK, "message_delta", "message_stop"]
    deltas = [event.delta for event in events if event.type == "content_block_delta"]
    assert {delta.type for delta in deltas} == {"input_json_delta"}
    assert json.loads("".join(delta.partial_json for delta in deltas)) == {"city": "Paris"}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "18 C and sunny"}
    conversation = [
        *user(WEATHER),
        {"role": "assistant", "content": [call.model_dump()]},
        {"role": "user", "content": [result]},
    ]
    assert ask(client, conversation, **fields).content[0].text


@pytest.mark.parametrize("stream", [False, True])
def test_tools_forced_named_and_forbidden(client: anthropic.Anthropic, stream: bool) -> None:
    fields: dict[str, Any] = {"model": "spark", "tools": [WEATHER_TOOL, NOW_TOOL], "thinking": NO_THOUGHTS}

    def called(text: str, choice: Any) -> list[str]:
        got = ask(client, user(text), tool_choice=choice, stream=stream, **fields)
        blocks = (
            [event.content_block for event in got if event.type == "content_block_start"]
            if stream
            else got.content
        )
        return [block.name for block in blocks if block.type == "tool_use"]

    assert len(called("Hello!", {"type": "any", "disable_parallel_tool_use": True})) == 1
    assert set(called("Hello!", {"type": "tool", "name": "now"})) == {"now"}
    assert called(WEATHER, {"type": "none"}) == []
    assert called(WEATHER, {"type": "auto"}) == ["get_weather"]


def test_structured_output(client: anthropic.Anthropic) -> None:
    form = {"format": {"type": "json_schema", "schema": CITY_SCHEMA}}
    got = ask(client, user(CAPITAL), output_config=form)
    assert_city(json.loads(got.content[0].text))


def test_images_used_and_refused(client: anthropic.Anthropic) -> None:
    def looked(model: str, seed: int) -> Any:
        source = {"type": "base64", "media_type": "image/png", "data": picture_base64(seed)}
        parts = [{"type": "image", "source": source}, {"type": "text", "text": "What is this?"}]
        return ask(client, [{"role": "user", "content": parts}], model=model, max_tokens=12)

    first, second = looked("eyes", 1), looked("eyes", 2)
    n_tokens = [one.usage.input_tokens + (one.usage.cache_read_input_tokens or 0) for one in (first, second)]
    assert n_tokens[0] == n_tokens[1] > 64
    assert first.content[0].text != second.content[0].text
    with pytest.raises(anthropic.BadRequestError, match="multimodal"):
        looked("plain", 1)


def test_models_are_listed_and_read(client: anthropic.Anthropic) -> None:
    assert {"spark:latest", "minilm:latest"} <= {model.id for model in client.models.list()}
    assert client.models.retrieve("spark").id == "spark"


def test_a_broken_off_stream_frees_its_slot(client: anthropic.Anthropic, server: Server) -> None:
    with (
        server.broken_off("endless"),
        client.messages.stream(model="endless", max_tokens=20_000, messages=user(ENDLESS)) as stream,
    ):
        assert next(iter(stream.text_stream))


def test_a_timeout_frees_its_slot(client: anthropic.Anthropic, server: Server) -> None:
    ask(client, user(ENDLESS), model="endless", max_tokens=1)
    with server.broken_off("endless"), pytest.raises(anthropic.APITimeoutError):
        ask(client, user(ENDLESS), model="endless", max_tokens=20_000, timeout=0.5)


@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_clients_own_classes(client: anthropic.Anthropic, stream: bool) -> None:
    with pytest.raises(anthropic.NotFoundError, match="model 'nope' not found") as caught:
        ask(client, user("Hi"), model="nope", stream=stream)
    assert caught.value.body["type"] == "error"  # type: ignore[index]
    assert caught.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]
    with pytest.raises(anthropic.BadRequestError):
        ask(client, user(TOO_LONG), model="native", stream=stream)
    with pytest.raises(anthropic.BadRequestError, match="tools"):
        ask(client, user(WEATHER), tools=[WEATHER_TOOL], stream=stream)


async def test_the_asynchronous_client(server: Server) -> None:
    async with anthropic.AsyncAnthropic(base_url=server.url, auth_token="unused", max_retries=0) as client:
        fields: dict[str, Any] = {"model": "plain", "max_tokens": 60, "extra_body": GREEDY}
        replies = await asyncio.gather(
            *[client.messages.create(messages=user(CAPITAL), **fields) for _ in range(4)]
        )
        assert {reply.content[0].text for reply in replies} == {CAPITAL_ANSWER}
        async with client.messages.stream(messages=user(CAPITAL), **fields) as stream:
            assert "".join([text async for text in stream.text_stream]) == CAPITAL_ANSWER
        with server.broken_off("endless"):
            async with client.messages.stream(
                model="endless", max_tokens=20_000, messages=user(ENDLESS)
            ) as stream:
                async for _ in stream.text_stream:
                    break
