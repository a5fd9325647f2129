"""instructor over OpenAI's package; both are those of `requirements-instructor.lock`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Literal

import instructor
import openai
import pydantic
import pytest
from instructor.core import InstructorRetryException

from tests.clients.asked import CAPITAL, CAPITAL_ANSWER, ENDLESS, SKY, assert_near, user
from tests.clients.serving import Server


class City(pydantic.BaseModel):
    """A city"""

    city: Literal["Paris", "Rome"]
    size: Literal[1, 2, 3]


@pytest.fixture(scope="module")
def bare(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as client:
        yield client


def wrapped(bare: openai.OpenAI, mode: instructor.Mode) -> Any:
    return instructor.from_openai(bare, mode=mode)


def extract(client: Any, **fields: Any) -> Any:
    given: dict[str, Any] = {"model": "plain", "messages": user(CAPITAL), "temperature": 0, **fields}
    return client.chat.completions.create(max_retries=0, response_model=City, **given)


def test_an_object_by_its_schema(bare: openai.OpenAI) -> None:
    client = wrapped(bare, instructor.Mode.JSON_SCHEMA)
    assert isinstance(extract(client), City)
    city, completion = client.chat.completions.create_with_completion(
        model="spark", messages=user(CAPITAL), response_model=City, temperature=0
    )
    assert isinstance(city, City)
    assert json.loads(completion.choices[0].message.content) == city.model_dump()


def test_an_object_by_a_forced_tool(bare: openai.OpenAI) -> None:
    client = wrapped(bare, instructor.Mode.TOOLS)
    city, completion = client.chat.completions.create_with_completion(
        model="spark", messages=user(CAPITAL), response_model=City, temperature=0, reasoning_effort="none"
    )
    assert isinstance(city, City)
    (call,) = completion.choices[0].message.tool_calls
    assert call.function.name == "City"


def test_an_object_grows_while_it_streams(bare: openai.OpenAI) -> None:
    client = wrapped(bare, instructor.Mode.JSON_SCHEMA)
    parts = list(
        client.chat.completions.create_partial(
            model="plain", messages=user(CAPITAL), response_model=City, temperature=0
        )
    )
    assert parts[-1].model_dump() == extract(client).model_dump()


def test_the_older_package_below_it(bare: openai.OpenAI, server: Server) -> None:
    fields: dict[str, Any] = {"model": "plain", "messages": user(CAPITAL), "temperature": 0}
    assert bare.chat.completions.create(**fields).choices[0].message.content == CAPITAL_ANSWER
    chunks = list(bare.chat.completions.create(**fields, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == CAPITAL_ANSWER
    assert_near([item.embedding for item in bare.embeddings.create(model="minilm", input=SKY).data])
    with (
        server.broken_off("endless"),
        bare.chat.completions.create(
            model="endless", messages=user(ENDLESS), stream=True, max_tokens=20_000
        ) as stream,
    ):
        assert next(iter(stream)).choices[0].delta.content is not None


def test_a_timeout_frees_its_slot(bare: openai.OpenAI, server: Server) -> None:
    client = wrapped(bare, instructor.Mode.JSON_SCHEMA)
    bare.chat.completions.create(model="endless", messages=user(ENDLESS), max_tokens=1)
    with server.broken_off("endless"), pytest.raises((openai.APITimeoutError, InstructorRetryException)):
        client.chat.completions.create(
            model="endless",
            messages=user(ENDLESS),
            response_model=None,
            max_tokens=20_000,
            timeout=0.5,
            max_retries=0,
        )


def test_errors_reach_the_caller(bare: openai.OpenAI) -> None:
    client = wrapped(bare, instructor.Mode.JSON_SCHEMA)
    with pytest.raises((openai.NotFoundError, InstructorRetryException), match="model 'nope' not found"):
        extract(client, model="nope")
