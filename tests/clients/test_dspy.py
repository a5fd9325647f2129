"""dspy; both of its names for this server go to `/v1`."""

from __future__ import annotations

import json
from typing import Any

import dspy
import pytest

from tests.clients.asked import (
    CAPITAL,
    CAPITAL_ANSWER,
    CITY_SCHEMA,
    ENDLESS,
    SKY,
    assert_city,
    assert_near,
    user,
)
from tests.clients.serving import Server

WAYS = ("openai", "ollama_chat")


@pytest.fixture(autouse=True)
def _no_cache() -> None:
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=False)


def model(server: Server, way: str, name: str, **fields: Any) -> dspy.LM:
    given: dict[str, Any] = {"temperature": 0, "max_tokens": 200, "num_retries": 0, **fields}
    return dspy.LM(f"{way}/{name}", api_base=f"{server.url}/v1", api_key="unused", cache=False, **given)


@pytest.mark.parametrize("way", WAYS)
def test_a_language_model_answers(server: Server, way: str) -> None:
    lm = model(server, way, "plain")
    assert lm(CAPITAL) == [CAPITAL_ANSWER]
    assert lm(messages=user(CAPITAL)) == [CAPITAL_ANSWER]
    assert lm.history[-1]["usage"]["completion_tokens"] in (8, 9)
    bounded = model(server, way, "plain", max_tokens=3)
    bounded(CAPITAL)
    assert bounded.history[-1]["usage"]["completion_tokens"] == 3


def test_an_answer_by_a_schema(server: Server) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY_SCHEMA, "strict": True}}
    (text,) = model(server, "openai", "plain")(CAPITAL, response_format=form)
    assert_city(json.loads(text))


def test_embeddings(server: Server) -> None:
    embedder = dspy.Embedder("openai/minilm", api_base=f"{server.url}/v1", api_key="unused", caching=False)
    assert_near([[float(number) for number in vector] for vector in embedder(SKY)])


@pytest.mark.parametrize("way", WAYS)
def test_a_timeout_frees_its_slot(server: Server, way: str) -> None:
    model(server, way, "endless", max_tokens=1)(ENDLESS)
    with server.broken_off("endless"), pytest.raises(Exception, match=r"(?i)time"):
        model(server, way, "endless", max_tokens=20_000, timeout=0.5)(ENDLESS)


@pytest.mark.parametrize("way", WAYS)
def test_errors_keep_their_text(server: Server, way: str) -> None:
    with pytest.raises(Exception, match="model 'nope' not found"):
        model(server, way, "nope")("Hi")
