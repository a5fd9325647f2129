"""litellm by its three ways: Ollama's chat, OpenAI's and Anthropic's."""

from __future__ import annotations

import json
from typing import Any

import litellm
import pytest

from tests.clients.asked import (
    CAPITAL,
    CAPITAL_ANSWER,
    CITY_SCHEMA,
    ENDLESS,
    NOW_TOOL,
    SKY,
    WEATHER,
    WEATHER_TOOL,
    assert_city,
    assert_near,
    picture_base64,
    user,
)
from tests.clients.serving import Server

WAYS = ("ollama_chat", "openai", "anthropic")


def base(server: Server, way: str) -> str:
    return f"{server.url}/v1" if way == "openai" else server.url


def ask(server: Server, way: str, model: str, messages: list[Any], **fields: Any) -> Any:
    given: dict[str, Any] = {"temperature": 0, "max_tokens": 200, "num_retries": 0, **fields}
    return litellm.completion(
        f"{way}/{model}", messages=messages, api_base=base(server, way), api_key="unused", **given
    )


def no_thoughts(way: str) -> dict[str, Any]:
    return {
        "ollama_chat": {"think": False},
        "openai": {"extra_body": {"reasoning_effort": "none"}},
        "anthropic": {"thinking": {"type": "disabled"}, "allowed_openai_params": ["thinking"]},
    }[way]


@pytest.mark.parametrize("way", WAYS)
def test_chat_whole_and_streamed(server: Server, way: str) -> None:
    whole = ask(server, way, "plain", user(CAPITAL))
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (CAPITAL_ANSWER, "stop")
    assert whole.usage.completion_tokens in (8, 9)
    chunks = list(ask(server, way, "plain", user(CAPITAL), stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == CAPITAL_ANSWER
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason] == ["stop"]
    cut = ask(server, way, "plain", user(CAPITAL), max_tokens=3)
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 3)


@pytest.mark.parametrize("way", WAYS)
async def test_chat_asynchronously(server: Server, way: str) -> None:
    fields: dict[str, Any] = {"temperature": 0, "max_tokens": 60}
    where: dict[str, Any] = {"api_base": base(server, way), "api_key": "unused"}
    whole = await litellm.acompletion(f"{way}/plain", messages=user(CAPITAL), **fields, **where)
    assert whole.choices[0].message.content == CAPITAL_ANSWER
    stream = await litellm.acompletion(f"{way}/plain", messages=user(CAPITAL), stream=True, **fields, **where)
    assert "".join([part.choices[0].delta.content or "" async for part in stream]) == CAPITAL_ANSWER


@pytest.mark.parametrize("way", WAYS)
def test_thinking_stands_apart(server: Server, way: str) -> None:
    fields = {
        "ollama_chat": {"think": True},
        "openai": {},
        "anthropic": {
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "allowed_openai_params": ["thinking"],
            "max_tokens": 2000,
        },
    }[way]
    message = ask(server, way, "spark", user(CAPITAL), **fields).choices[0].message
    assert "The user asks for the capital of France" in message.reasoning_content
    assert message.content == CAPITAL_ANSWER
    deltas = [
        chunk.choices[0].delta for chunk in ask(server, way, "spark", user(CAPITAL), stream=True, **fields)
    ]
    thoughts = [getattr(delta, "reasoning_content", None) or "" for delta in deltas]
    assert "".join(thoughts) == message.reasoning_content
    assert "".join(delta.content or "" for delta in deltas) == CAPITAL_ANSWER
    off = ask(server, way, "spark", user(CAPITAL), **no_thoughts(way)).choices[0].message
    assert off.content == CAPITAL_ANSWER and not getattr(off, "reasoning_content", None)


@pytest.mark.parametrize("way", WAYS)
def test_tools_plain_streamed_and_their_results(server: Server, way: str) -> None:
    fields: dict[str, Any] = {"tools": [WEATHER_TOOL], **no_thoughts(way)}
    (choice,) = ask(server, way, "spark", user(WEATHER), **fields).choices
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, call.function.name) == ("tool_calls", "get_weather")
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    chunks = list(ask(server, way, "spark", user(WEATHER), stream=True, **fields))
    built = litellm.stream_chunk_builder(chunks)
    (streamed,) = built.choices[0].message.tool_calls
    assert streamed.function.name == "get_weather"
    assert json.loads(streamed.function.arguments) == {"city": "Paris"}
    result = {"role": "tool", "tool_call_id": call.id, "content": "18 C and sunny"}
    conversation = [*user(WEATHER), choice.message.model_dump(exclude_none=True), result]
    assert ask(server, way, "spark", conversation, **fields).choices[0].message.content


@pytest.mark.parametrize("way", ["openai", "anthropic"])
def test_tools_forced_named_and_forbidden(server: Server, way: str) -> None:
    fields: dict[str, Any] = {"tools": [WEATHER_TOOL, NOW_TOOL], **no_thoughts(way)}

    def called(text: str, choice: Any) -> list[str]:
        message = ask(server, way, "spark", user(text), tool_choice=choice, **fields).choices[0].message
        return [call.function.name for call in message.tool_calls or []]

    assert called("Hello!", "required")
    assert set(called("Hello!", {"type": "function", "function": {"name": "now"}})) == {"now"}
    assert called(WEATHER, "none") == []


@pytest.mark.parametrize("way", ["ollama_chat", "openai"])
def test_structured_output(server: Server, way: str) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY_SCHEMA, "strict": True}}
    got = ask(server, way, "plain", user(CAPITAL), response_format=form)
    assert_city(json.loads(got.choices[0].message.content))


@pytest.mark.parametrize("way", ["ollama", "openai"])
def test_embeddings(server: Server, way: str) -> None:
    got = litellm.embedding(f"{way}/minilm", input=SKY, api_base=base(server, way), api_key="unused")
    assert_near([item["embedding"] for item in got.data])


@pytest.mark.parametrize("way", WAYS)
def test_images_used_and_refused(server: Server, way: str) -> None:
    def looked(model: str, seed: int) -> Any:
        url = f"data:image/png;base64,{picture_base64(seed)}"
        parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
        return ask(server, way, model, [{"role": "user", "content": parts}], max_tokens=12)

    first, second = looked("eyes", 1), looked("eyes", 2)
    assert first.usage.prompt_tokens == second.usage.prompt_tokens > 64
    assert first.choices[0].message.content != second.choices[0].message.content
    with pytest.raises(litellm.BadRequestError, match="multimodal"):
        looked("plain", 1)


def test_what_a_model_can_is_read_from_show(server: Server) -> None:
    info = litellm.get_model_info("ollama_chat/spark", api_base=server.url)
    assert info["supports_function_calling"] is True
    assert info["max_tokens"] == 2048


@pytest.mark.parametrize("way", WAYS)
def test_a_broken_off_stream_frees_its_slot(server: Server, way: str) -> None:
    ask(server, way, "endless", user(ENDLESS), max_tokens=1)
    with server.broken_off("endless"):
        stream = ask(server, way, "endless", user(ENDLESS), max_tokens=20_000, stream=True)
        assert next(stream).choices
        del stream


@pytest.mark.parametrize("way", WAYS)
def test_a_timeout_frees_its_slot(server: Server, way: str) -> None:
    ask(server, way, "endless", user(ENDLESS), max_tokens=1)
    with server.broken_off("endless"), pytest.raises(litellm.Timeout):
        ask(server, way, "endless", user(ENDLESS), max_tokens=20_000, timeout=0.5)


@pytest.mark.parametrize("way", WAYS)
def test_errors_are_the_clients_own_classes(server: Server, way: str) -> None:
    with pytest.raises(litellm.NotFoundError, match="model 'nope' not found"):
        ask(server, way, "nope", user("Hi"))


@pytest.mark.parametrize("way", ["openai", "anthropic"])
def test_tools_of_a_model_without_them_are_refused(server: Server, way: str) -> None:
    with pytest.raises(litellm.BadRequestError, match="tools"):
        ask(server, way, "plain", user(WEATHER), tools=[WEATHER_TOOL])
