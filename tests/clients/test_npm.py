"""npm's clients: Ollama's, OpenAI's and Anthropic's packages, and Vercel's AI SDK by two providers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients.asked import (
    CAPITAL,
    CAPITAL_ANSWER,
    CITY_SCHEMA,
    ENDLESS,
    NOW_SCHEMA,
    NOW_TOOL,
    SKY,
    TOO_LONG,
    WEATHER,
    WEATHER_SCHEMA,
    WEATHER_TOOL,
    assert_city,
    assert_near,
    picture_base64,
    user,
)
from tests.clients.serving import Server

JS = Path(__file__).with_name("js")
NODE = shutil.which("node")
pytestmark = [
    pytest.mark.skipif(NODE is None, reason="node was not found: npm's clients need Node 20 or newer"),
    pytest.mark.skipif(
        not (JS / "node_modules").is_dir(), reason="tests/clients/js has no node_modules: npm was not found"
    ),
]

THOUGHT = "The user asks for the capital of France"
WEATHER_CALL = {"name": "get_weather", "input": {"city": "Paris"}}
GIVEN: dict[str, Any] = {
    "capital": user(CAPITAL),
    "weather": user(WEATHER),
    "hello": user("Hello!"),
    "endless": user(ENDLESS),
    "long": user(TOO_LONG[:60_000]),
    "sky": SKY,
    "schema": CITY_SCHEMA,
    "tool": WEATHER_TOOL,
    "now": NOW_TOOL,
    "weatherSchema": WEATHER_SCHEMA,
    "nowSchema": NOW_SCHEMA,
    "anthropicTool": {
        "name": "get_weather",
        "description": "Weather of a city",
        "input_schema": WEATHER_SCHEMA,
    },
    "anthropicNow": {"name": "now", "description": "The time", "input_schema": NOW_SCHEMA},
}
CHOICES = ["forced", "named", "forbidden"]


def ran(server: Server, module: str, check: str, **more: Any) -> Any:
    """What a check of a module in `js` gives."""
    given = {**GIVEN, "pictures": [picture_base64(1), picture_base64(2)], **more}
    ended = subprocess.run(
        [str(NODE), "run.mjs", module, check],
        cwd=JS,
        env={**os.environ, "SERVER_URL": server.url, "GIVEN": json.dumps(given)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def warm(server: Server) -> None:
    """Load the model whose answers don't end, so that what breaks off is an answer and no load."""
    server.http.post("/api/generate", json={"model": "endless"}).raise_for_status()


def folded(events: list[Any]) -> list[str]:
    """Event types in order, repeats taken together."""
    kinds = [event["type"] for event in events]
    return [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]


def assert_seen(got: Any) -> None:
    assert got["counts"][0] == got["counts"][1] > 64
    assert got["texts"][0] != got["texts"][1]
    refused = got["refused"]
    assert refused["status"] == 400 and "multimodal" in refused["message"] + refused.get("body", "")


# Ollama's package


def test_ollama_chat(server: Server) -> None:
    got = ran(server, "ollama", "chat")
    assert got["whole"]["message"] == {"role": "assistant", "content": CAPITAL_ANSWER}
    assert "".join(part["message"]["content"] for part in got["parts"]) == CAPITAL_ANSWER
    assert [part["done"] for part in got["parts"]] == [False] * (len(got["parts"]) - 1) + [True]
    assert got["generated"]["response"] == CAPITAL_ANSWER


def test_ollama_thinking(server: Server) -> None:
    got = ran(server, "ollama", "thinking")
    assert THOUGHT in got["on"]["thinking"] and got["on"]["content"] == CAPITAL_ANSWER
    assert "thinking" not in got["off"]
    assert "".join(part.get("thinking", "") for part in got["parts"]) == got["on"]["thinking"]


def test_ollama_tools(server: Server) -> None:
    got = ran(server, "ollama", "tools")
    for calls in (got["calls"], got["streamed"]):
        assert [(call["function"]["name"], call["function"]["arguments"]) for call in calls] == [
            ("get_weather", {"city": "Paris"})
        ]
    assert got["answer"]


def test_ollama_formats_embeddings_and_images(server: Server) -> None:
    assert_city(ran(server, "ollama", "structured"))
    assert_near(ran(server, "ollama", "embed"))
    assert_seen(ran(server, "ollama", "images"))


def test_ollama_models(server: Server) -> None:
    got = ran(server, "ollama", "models")
    assert {"spark:latest", "minilm:latest"} <= set(got["listed"])
    assert {"completion", "tools", "thinking"} <= set(got["capabilities"])
    assert got["states"][-1] == "success" and "SYSTEM Hi" in got["made"]
    assert got["deleted"] == "success" and got["missing"]["status"] == 404
    assert "native:latest" in got["loaded"] and "native:latest" not in got["unloaded"]


def test_ollama_errors(server: Server) -> None:
    got = ran(server, "ollama", "errors")
    assert got["nope"] == {"name": "ResponseError", "status": 404, "message": "model 'nope' not found"}
    assert got["tools"]["status"] == 400 and "does not support tools" in got["tools"]["message"]


# OpenAI's package


def test_openai_chat(server: Server) -> None:
    got = ran(server, "openai", "chat")
    assert got["whole"]["choices"][0]["message"]["content"] == got["final"] == CAPITAL_ANSWER
    chunks = got["chunks"]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    texts = [chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks[:-1]]
    assert "".join(texts) == CAPITAL_ANSWER
    assert chunks[-1]["choices"] == []
    assert chunks[-1]["usage"]["total_tokens"] == got["whole"]["usage"]["total_tokens"]


def test_openai_thinking(server: Server) -> None:
    got = ran(server, "openai", "thinking")
    assert THOUGHT in got["on"]["reasoning"] and got["on"]["content"] == CAPITAL_ANSWER
    assert "reasoning" not in got["off"]


def test_openai_tools(server: Server) -> None:
    got = ran(server, "openai", "tools")
    (call,) = got["plain"]["message"]["tool_calls"]
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == (
        "get_weather",
        {"city": "Paris"},
    )
    (delta,) = [one for choice in got["deltas"] for one in choice["delta"].get("tool_calls", [])]
    assert (delta["index"], json.loads(delta["function"]["arguments"])) == (0, {"city": "Paris"})
    assert got["deltas"][-1]["finish_reason"] == got["plain"]["finish_reason"] == "tool_calls"
    assert got["answer"]
    forced, named, forbidden = (got[choice].get("tool_calls", []) for choice in CHOICES)
    assert len(forced) == 1 and [call["function"]["name"] for call in named] == ["now"] and forbidden == []


def test_openai_responses(server: Server) -> None:
    got = ran(server, "openai", "responses")
    assert got["whole"]["output_text"] == CAPITAL_ANSWER
    assert [event["sequence_number"] for event in got["events"]] == list(range(len(got["events"])))
    assert folded(got["events"]) == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert got["followed"]["usage"]["input_tokens"] > got["whole"]["usage"]["input_tokens"]


def test_openai_formats_embeddings_images_and_models(server: Server) -> None:
    assert_city(ran(server, "openai", "structured"))
    vectors = ran(server, "openai", "embed")
    assert_near(vectors["packed"])
    assert vectors["packed"][0] == pytest.approx(vectors["plain"][0], abs=1e-6)
    assert_seen(ran(server, "openai", "images"))
    models = ran(server, "openai", "models")
    assert "spark:latest" in models["listed"] and models["one"]["id"] == "spark"


def test_openai_errors(server: Server) -> None:
    got = ran(server, "openai", "errors")
    for how in ("nope", "streamed"):
        assert (got[how]["name"], got[how]["status"]) == ("NotFoundError", 404)
        assert "model 'nope' not found" in got[how]["message"]
    for how in ("tools", "long"):
        assert (got[how]["name"], got[how]["status"]) == ("BadRequestError", 400)


# Anthropic's package


def test_anthropic_chat(server: Server) -> None:
    got = ran(server, "anthropic", "chat")
    assert [block["text"] for block in got["whole"]["content"]] == [CAPITAL_ANSWER]
    assert got["whole"]["stop_reason"] == got["final"]["stop_reason"] == "end_turn"
    assert got["final"]["content"][0]["text"] == CAPITAL_ANSWER
    assert folded(got["events"]) == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    usage = got["whole"]["usage"]
    assert got["counted"]["input_tokens"] == usage["input_tokens"] + usage["cache_read_input_tokens"]


def test_anthropic_thinking(server: Server) -> None:
    got = ran(server, "anthropic", "thinking")
    assert [block["type"] for block in got["on"]] == ["thinking", "text"]
    assert THOUGHT in got["on"][0]["thinking"] and got["on"][0]["signature"]
    deltas = [event["delta"]["type"] for event in got["events"] if event["type"] == "content_block_delta"]
    assert deltas.index("signature_delta") == deltas.count("thinking_delta") > 0
    assert [block["type"] for block in got["off"]] == ["text"]


def test_anthropic_tools(server: Server) -> None:
    got = ran(server, "anthropic", "tools")
    (call,) = got["plain"]["content"]
    assert (call["name"], call["input"], got["plain"]["stop_reason"]) == (
        "get_weather",
        {"city": "Paris"},
        "tool_use",
    )
    deltas = [event["delta"] for event in got["events"] if event["type"] == "content_block_delta"]
    assert json.loads("".join(delta["partial_json"] for delta in deltas)) == {"city": "Paris"}
    assert got["answer"][0]["type"] == "text"
    forced, named, forbidden = (
        [block["name"] for block in got[choice] if block["type"] == "tool_use"] for choice in CHOICES
    )
    assert forced and set(named) == {"now"} and forbidden == []


def test_anthropic_formats_images_and_models(server: Server) -> None:
    assert_city(ran(server, "anthropic", "structured"))
    assert_seen(ran(server, "anthropic", "images"))
    assert "spark:latest" in ran(server, "anthropic", "models")


def test_anthropic_errors(server: Server) -> None:
    got = ran(server, "anthropic", "errors")
    for how in ("nope", "streamed"):
        assert (got[how]["name"], got[how]["status"]) == ("NotFoundError", 404)
        assert "model 'nope' not found" in got[how]["message"]
    assert (got["tools"]["name"], got["tools"]["status"]) == ("BadRequestError", 400)


# Vercel's AI SDK


@pytest.mark.parametrize("way", ["ollama", "compatible"])
class TestVercel:
    def test_chat(self, server: Server, way: str) -> None:
        got = ran(server, "vercel", "chat", way=way)
        assert (got["text"], got["finish"], got["streamFinish"]) == (CAPITAL_ANSWER, "stop", "stop")
        assert "".join(got["texts"]) == CAPITAL_ANSWER
        assert got["kinds"] == [
            "start",
            "start-step",
            "text-start",
            "text-delta",
            "text-end",
            "finish-step",
            "finish",
        ]
        assert got["usage"]["inputTokens"] > 0
        assert got["cut"] == {"finish": "length", "tokens": 3}

    def test_thinking(self, server: Server, way: str) -> None:
        got = ran(server, "vercel", "thinking", way=way)
        assert THOUGHT in got["thoughts"] and THOUGHT in got["streamed"]
        assert got["text"].strip() == got["off"].strip() == CAPITAL_ANSWER
        assert not got["offThoughts"]

    def test_tools(self, server: Server, way: str) -> None:
        got = ran(server, "vercel", "tools", way=way)
        assert got["plain"] == got["streamed"] == [WEATHER_CALL]
        assert got["finish"] == "tool-calls" and got["answer"]
        assert got["forced"] and {call["name"] for call in got["named"]} == {"now"}
        assert got["forbidden"] == []

    def test_formats_embeddings_and_images(self, server: Server, way: str) -> None:
        assert_city(ran(server, "vercel", "structured", way=way))
        assert_near(ran(server, "vercel", "embed", way=way))
        assert_seen(ran(server, "vercel", "images", way=way))

    def test_a_broken_off_stream_and_a_timeout_free_their_slots(self, server: Server, way: str) -> None:
        warm(server)
        with server.broken_off("endless"):
            assert ran(server, "vercel", "broken", way=way) > 0
        with server.broken_off("endless"):
            assert ran(server, "vercel", "timeout", way=way)["name"] in ("TimeoutError", "AbortError")

    def test_errors(self, server: Server, way: str) -> None:
        got = ran(server, "vercel", "errors", way=way)
        assert (got["name"], got["status"]) == ("AI_APICallError", 404)
        assert "model 'nope' not found" in got["body"]


@pytest.mark.parametrize("module", ["ollama", "openai", "anthropic"])
def test_a_broken_off_stream_frees_its_slot(server: Server, module: str) -> None:
    warm(server)
    with server.broken_off("endless"):
        assert ran(server, module, "broken") > 0


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("ollama", "TimeoutError"),
        ("openai", "APIConnectionTimeoutError"),
        ("anthropic", "APIConnectionTimeoutError"),
    ],
)
def test_a_timeout_frees_its_slot(server: Server, module: str, name: str) -> None:
    warm(server)
    with server.broken_off("endless"):
        assert ran(server, module, "timeout")["name"] == name
