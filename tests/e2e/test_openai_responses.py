"""`/v1/responses` with OpenAI's official client, unmodified."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.e2e.conftest import Served

ASKED = "What is the capital of France?"
WEATHER = "What is the weather in Paris?"
TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Get the current weather in a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "The name of the city"}},
        "required": ["city"],
    },
}
OFF: Any = {"effort": "none"}


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, asked: Any, **fields: Any) -> Any:
    given: dict[str, Any] = {"model": "plain", "temperature": 0, "max_output_tokens": 60, **fields}
    return client.responses.create(input=asked, **given)


def test_an_answer_whole_and_streamed_are_equal(client: openai.OpenAI) -> None:
    whole = ask(client, ASKED)
    assert "Paris" in whole.output_text
    assert (whole.status, whole.store) == ("completed", True)
    counted = client.responses.input_tokens.count(model="plain", input=ASKED)
    assert counted.input_tokens == whole.usage.input_tokens
    events = list(ask(client, ASKED, stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    first, last = kinds.index("response.output_text.delta"), kinds.index("response.output_text.done")
    assert set(kinds[first:last]) == {"response.output_text.delta"}
    assert [*kinds[:first], *kinds[last:]] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert events[-1].response.output_text == whole.output_text


def test_the_clients_own_stream_puts_the_answer_together(client: openai.OpenAI) -> None:
    with client.responses.stream(model="plain", input=ASKED, temperature=0, max_output_tokens=60) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    assert "".join(deltas) == final.output_text
    assert "Paris" in final.output_text


def test_a_response_is_followed_read_listed_and_forgotten(client: openai.OpenAI) -> None:
    first = ask(client, ASKED, instructions="Answer in one sentence.")
    second = ask(client, "And of Japan?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert second.usage.input_tokens > first.usage.input_tokens
    assert client.responses.retrieve(second.id).output_text == second.output_text
    items = list(client.responses.input_items.list(second.id, order="asc"))
    assert [item.role for item in items] == ["user", "assistant", "user"]  # type: ignore[union-attr]
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError, match="Previous response with id"):
        ask(client, "And?", previous_response_id=second.id)


def test_tools_whole_streamed_forced_and_their_results(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {"model": "spark", "tools": [TOOL], "reasoning": OFF}
    whole = ask(client, WEATHER, **fields)
    (call,) = whole.output
    assert (call.type, call.name, json.loads(call.arguments)) == (
        "function_call",
        "get_weather",
        {"city": "Paris"},
    )
    events = list(ask(client, WEATHER, stream=True, **fields))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.function_call_arguments.delta",
        "response.function_call_arguments.done",
        "response.output_item.done",
        "response.completed",
    ]
    result: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "18 C and sunny"}]
    answered = ask(client, result, previous_response_id=whole.id, **fields)
    assert answered.output[0].type == "message"
    forced = ask(client, "Hello!", tool_choice="required", parallel_tool_calls=False, **fields)
    assert [item.type for item in forced.output] == ["function_call"]
    assert {item.type for item in ask(client, WEATHER, tool_choice="none", **fields).output} == {"message"}


def test_reasoning_is_an_item_of_its_own(client: openai.OpenAI) -> None:
    fields: dict[str, Any] = {"model": "spark", "max_output_tokens": 400, "reasoning": {"effort": "low"}}
    whole = ask(client, ASKED, **fields)
    assert [item.type for item in whole.output] == ["reasoning", "message"]
    assert whole.usage.output_tokens_details.reasoning_tokens > 0
    events = list(ask(client, ASKED, stream=True, **fields))
    thoughts = "".join(
        event.delta for event in events if event.type == "response.reasoning_summary_text.delta"
    )
    assert thoughts == whole.output[0].summary[0].text
    given_back = [{"role": "user", "content": ASKED}, *(item.model_dump() for item in whole.output)]
    assert ask(
        client, [*given_back, {"role": "user", "content": "Why?"}], model="spark", reasoning=OFF
    ).output


def test_a_schema_holds(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    text: Any = {"format": {"type": "json_schema", "name": "city", "schema": schema}}
    got = ask(client, ASKED, text=text, max_output_tokens=200)
    assert set(json.loads(got.output_text)) >= {"city"}


def test_log_probabilities_come_where_they_are_asked_for(client: openai.OpenAI) -> None:
    got = ask(client, ASKED, include=["message.output_text.logprobs"], top_logprobs=2)
    logprobs = got.output[0].content[0].logprobs
    assert "".join(entry.token for entry in logprobs) == got.output_text
    assert all(len(entry.top_logprobs) == 2 for entry in logprobs)


def test_a_bound_makes_a_response_incomplete(client: openai.OpenAI) -> None:
    got = ask(client, ASKED, max_output_tokens=2)
    assert (got.status, got.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert list(ask(client, ASKED, max_output_tokens=2, stream=True))[-1].type == "response.incomplete"


def test_a_background_response_is_polled_or_cancelled(client: openai.OpenAI) -> None:
    made = ask(client, ASKED, background=True)
    while made.status == "in_progress":
        made = client.responses.retrieve(made.id)
    assert "Paris" in made.output_text
    fields: dict[str, Any] = {"max_output_tokens": 4000, "extra_body": {"ignore_eos": True}}
    endless = ask(client, "Count without end.", background=True, **fields)
    assert client.responses.cancel(endless.id).status in ("cancelled", "completed", "incomplete")


@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_clients_own_classes(client: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.NotFoundError, match="model 'nope' not found"):
        ask(client, "Hi", model="nope", stream=stream)
    with pytest.raises(openai.BadRequestError):
        ask(client, "one two three " * 20_000, model="plain", stream=stream)
