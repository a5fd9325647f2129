"""OpenAI's Python package: chat completions, completions, responses, embeddings and models."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pydantic
import pytest

from tests.clients.asked import (
    CAPITAL,
    CAPITAL_ANSWER,
    CITY_SCHEMA,
    ENDLESS,
    NOW_TOOL,
    SKY,
    TOO_LONG,
    WEATHER,
    WEATHER_TOOL,
    assert_city,
    assert_near,
    cosine,
    picture_base64,
    user,
)
from tests.clients.serving import Server

OFF: Any = {"reasoning_effort": "none"}


class City(pydantic.BaseModel):
    city: Literal["Paris", "Rome"]
    size: int


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, messages: list[Any], **fields: Any) -> Any:
    given: dict[str, Any] = {"model": "plain", "temperature": 0, "max_completion_tokens": 200, **fields}
    return client.chat.completions.create(messages=messages, **given)


def test_chat_whole_and_streamed(client: openai.OpenAI) -> None:
    whole = ask(client, user(CAPITAL))
    (choice,) = whole.choices
    assert (choice.message.role, choice.message.content) == ("assistant", CAPITAL_ANSWER)
    assert (choice.finish_reason, choice.index, whole.object) == ("stop", 0, "chat.completion")
    chunks = list(ask(client, user(CAPITAL), stream=True, stream_options={"include_usage": True}))
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == CAPITAL_ANSWER
    finishes = [chunk.choices[0].finish_reason for chunk in chunks[:-1]]
    assert finishes == [None] * (len(finishes) - 1) + ["stop"]
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], whole.usage.total_tokens)
    silent = list(ask(client, user(CAPITAL), stream=True))
    assert all(chunk.choices and chunk.usage is None for chunk in silent)


def test_the_clients_own_stream_puts_the_answer_together(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(model="plain", messages=user(CAPITAL), temperature=0) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert final.choices[0].message.content == CAPITAL_ANSWER
    assert {"chunk", "content.delta"} <= set(kinds) and kinds[-1] == "content.done"


def test_bounds_stops_choices_and_log_probabilities(client: openai.OpenAI) -> None:
    cut = ask(client, user(CAPITAL), max_completion_tokens=3)
    assert (cut.choices[0].finish_reason, cut.usage.completion_tokens) == ("length", 3)
    assert ask(client, user(CAPITAL), stop=" France").choices[0].message.content == "The capital of"
    two = ask(client, user(CAPITAL), n=2)
    assert [choice.index for choice in two.choices] == [0, 1]
    assert [choice.message.content for choice in two.choices] == [CAPITAL_ANSWER] * 2
    scored = ask(client, user(CAPITAL), logprobs=True, top_logprobs=2).choices[0].logprobs.content
    assert "".join(entry.token for entry in scored) == CAPITAL_ANSWER
    assert all(len(entry.top_logprobs) == 2 for entry in scored)


def test_thinking_stands_apart(client: openai.OpenAI) -> None:
    message = ask(client, user(CAPITAL), model="spark").choices[0].message
    assert message.content == CAPITAL_ANSWER
    assert "The user asks for the capital of France" in message.reasoning
    deltas = [chunk.choices[0].delta for chunk in ask(client, user(CAPITAL), model="spark", stream=True)]
    thoughts = [getattr(delta, "reasoning", None) for delta in deltas]
    assert "".join(thought or "" for thought in thoughts) == message.reasoning
    assert "".join(delta.content or "" for delta in deltas) == CAPITAL_ANSWER
    off = ask(client, user(CAPITAL), model="spark", **OFF).choices[0].message
    assert getattr(off, "reasoning", None) is None and off.content == CAPITAL_ANSWER


@pytest.mark.parametrize("model", ["spark", "native"])
def test_tools_plain_streamed_and_their_results(client: openai.OpenAI, model: str) -> None:
    fields: dict[str, Any] = {"model": model, "tools": [WEATHER_TOOL], **OFF}
    (choice,) = ask(client, user(WEATHER), **fields).choices
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, call.type, call.function.name) == ("tool_calls", "function", "get_weather")
    assert json.loads(call.function.arguments) == {"city": "Paris"}
    chunks = [chunk.choices[0] for chunk in ask(client, user(WEATHER), stream=True, **fields)]
    (delta,) = [one for chunk in chunks for one in chunk.delta.tool_calls or []]
    assert (delta.index, delta.type, delta.function.name) == (0, "function", "get_weather")
    assert delta.id and json.loads(delta.function.arguments) == {"city": "Paris"}
    assert chunks[-1].finish_reason == "tool_calls"
    result = {"role": "tool", "tool_call_id": call.id, "content": "18 C and sunny"}
    answer = ask(client, [*user(WEATHER), choice.message.model_dump(exclude_none=True), result], **fields)
    assert answer.choices[0].message.content


@pytest.mark.parametrize("stream", [False, True])
def test_tools_forced_named_and_forbidden(client: openai.OpenAI, stream: bool) -> None:
    fields: dict[str, Any] = {"model": "spark", "tools": [WEATHER_TOOL, NOW_TOOL], "stream": stream, **OFF}

    def called(text: str, **choice: Any) -> list[str]:
        got = ask(client, user(text), **fields, **choice)
        if not stream:
            return [call.function.name for call in got.choices[0].message.tool_calls or []]
        return [call.function.name for chunk in got for call in chunk.choices[0].delta.tool_calls or []]

    assert len(called("Hello!", tool_choice="required", parallel_tool_calls=False)) == 1
    named = {"type": "function", "function": {"name": "now"}}
    assert set(called("Hello!", tool_choice=named)) == {"now"}
    assert called(WEATHER, tool_choice="none") == []
    assert called(WEATHER, tool_choice="auto") == ["get_weather"]


def test_structured_output(client: openai.OpenAI) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": CITY_SCHEMA}}
    for model in ("plain", "spark", "native"):
        got = ask(client, user(CAPITAL), model=model, response_format=form)
        assert_city(json.loads(got.choices[0].message.content))
    loose = ask(client, user(CAPITAL), response_format={"type": "json_object"})
    assert isinstance(json.loads(loose.choices[0].message.content), dict)
    parsed = client.chat.completions.parse(
        model="plain", messages=user(CAPITAL), response_format=City, temperature=0
    )
    assert isinstance(parsed.choices[0].message.parsed, City)


def test_completions(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {"model": "plain", "prompt": CAPITAL, "temperature": 0, "max_tokens": 60}
    whole = client.completions.create(**fields)
    assert (whole.choices[0].text, whole.choices[0].finish_reason) == (CAPITAL_ANSWER, "stop")
    chunks = list(client.completions.create(**fields, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == CAPITAL_ANSWER
    assert chunks[-1].choices[0].finish_reason == "stop"
    filled = client.completions.create(model="spark", prompt="def add(", suffix="return a + b", max_tokens=8)
    assert filled.usage is not None and filled.usage.completion_tokens > 0


def test_responses_whole_and_streamed(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {"model": "plain", "input": CAPITAL, "temperature": 0}
    whole = client.responses.create(**fields)
    assert (whole.output_text, whole.status) == (CAPITAL_ANSWER, "completed")
    events = list(client.responses.create(**fields, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events if event.type != "response.output_text.delta"]
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    second = client.responses.create(
        model="plain", input="And of Japan?", previous_response_id=whole.id, temperature=0
    )
    assert second.usage.input_tokens > whole.usage.input_tokens
    counted = client.responses.input_tokens.count(model="plain", input=CAPITAL)
    assert counted.input_tokens == whole.usage.input_tokens
    parsed = client.responses.parse(model="plain", input=CAPITAL, text_format=City, temperature=0)
    assert isinstance(parsed.output_parsed, City)


def test_embeddings_in_base64_and_in_numbers(client: openai.OpenAI) -> None:
    packed = client.embeddings.create(model="minilm", input=SKY)
    assert_near([item.embedding for item in packed.data])
    assert [item.index for item in packed.data] == [0, 1, 2]
    plain = client.embeddings.create(model="minilm", input=SKY[0], encoding_format="float")
    assert cosine(packed.data[0].embedding, plain.data[0].embedding) > 0.999999
    short = client.embeddings.create(model="minilm", input=SKY[0], dimensions=64)
    assert len(short.data[0].embedding) == 64
    tokens = client.embeddings.create(model="minilm", input=[[101, 1996, 3712, 102]])
    assert len(tokens.data[0].embedding) == len(plain.data[0].embedding)


def test_images_used_and_refused(client: openai.OpenAI) -> None:
    def looked(model: str, seed: int) -> Any:
        url = f"data:image/png;base64,{picture_base64(seed)}"
        parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
        return ask(client, [{"role": "user", "content": parts}], model=model, max_completion_tokens=12)

    first, second = looked("eyes", 1), looked("eyes", 2)
    assert first.usage.prompt_tokens == second.usage.prompt_tokens > 64
    assert first.choices[0].message.content != second.choices[0].message.content
    with pytest.raises(openai.BadRequestError, match="multimodal"):
        looked("plain", 1)


def test_models_are_listed_and_read(client: openai.OpenAI) -> None:
    assert {"spark:latest", "minilm:latest"} <= {model.id for model in client.models.list()}
    model = client.models.retrieve("spark")
    assert (model.id, model.object) == ("spark", "model")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope")


def test_a_broken_off_stream_frees_its_slot(client: openai.OpenAI, server: Server) -> None:
    with (
        server.broken_off("endless"),
        ask(client, user(ENDLESS), model="endless", max_completion_tokens=20_000, stream=True) as stream,
    ):
        assert next(iter(stream)).choices[0].delta.content is not None


def test_a_timeout_frees_its_slot(client: openai.OpenAI, server: Server) -> None:
    ask(client, user(ENDLESS), model="endless", max_completion_tokens=1)
    with server.broken_off("endless"), pytest.raises(openai.APITimeoutError):
        ask(client, user(ENDLESS), model="endless", max_completion_tokens=20_000, timeout=0.5)


@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_clients_own_classes(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.NotFoundError, match="model 'nope' not found") as caught:
        ask(client, user("Hi"), model="nope", stream=stream)
    assert caught.value.status_code == 404
    with pytest.raises(openai.BadRequestError):
        ask(client, user(TOO_LONG), model="native", stream=stream)
    with pytest.raises(openai.BadRequestError, match="tools"):
        ask(client, user(WEATHER), tools=[WEATHER_TOOL], stream=stream)
    with pytest.raises(openai.BadRequestError):
        ask(client, user("Hi"), response_format={"type": "json_schema"}, stream=stream)


def test_no_server_is_a_connection_error() -> None:
    with openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="unused", max_retries=0) as client:
        with pytest.raises(openai.APIConnectionError):
            client.models.list()


async def test_the_asynchronous_client(server: Server) -> None:
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        fields: dict[str, Any] = {"model": "plain", "messages": user(CAPITAL), "temperature": 0}
        replies = await asyncio.gather(*[client.chat.completions.create(**fields) for _ in range(4)])
        assert {reply.choices[0].message.content for reply in replies} == {CAPITAL_ANSWER}
        stream = await client.chat.completions.create(**fields, stream=True)
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == CAPITAL_ANSWER
        with server.broken_off("endless"):
            endless = await client.chat.completions.create(
                model="endless", messages=user(ENDLESS), stream=True, max_tokens=20_000
            )
            async for _ in endless:
                break
            await endless.close()
