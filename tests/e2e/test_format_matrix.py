"""think x format x tools x stream x route on the bundled model: JSON whenever a format is set."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest

from server.serve import ServerThread, bind
from server.settings import Settings

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
ASKS = {
    "person": "Ann is 30 years old and lives in Paris. Reply in JSON.",
    "weather": "What is the weather in Paris?",
}
N_PREDICT = 220


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    environ = {
        "HOME": str(tmp_path_factory.mktemp("home")),
        "OLLAMA_HOST": "127.0.0.1:0",
        "OLLAMA_NUM_PARALLEL": "4",
    }
    loaded = Settings.load(environ=environ)
    sock = bind(loaded)
    address, port = sock.getsockname()[:2]
    thread = ServerThread(loaded, sock)
    thread.start()
    yield f"http://{address}:{port}"
    thread.stop()


class Reply:
    """An answer of any route, its parts joined."""

    def __init__(self) -> None:
        self.content = ""
        self.thinking = ""
        self.calls: list[Any] = []
        self.reason = ""

    def native(self, part: dict[str, Any]) -> None:
        message = part.get("message", part)
        self.content += message.get("content", part.get("response", "")) or ""
        self.thinking += message.get("thinking") or ""
        self.calls += message.get("tool_calls") or []
        self.reason = part.get("done_reason") or self.reason

    def compatible(self, part: dict[str, Any]) -> None:
        for choice in part.get("choices", ()):
            message = choice.get("message") or choice.get("delta") or {}
            self.content += message.get("content") or ""
            self.thinking += message.get("reasoning") or message.get("reasoning_content") or ""
            self.calls += message.get("tool_calls") or []
            self.reason = choice.get("finish_reason") or self.reason


def native_body(think: Any, format_: Any, tools: bool, stream: bool, ask: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "model": "spark",
        "stream": stream,
        "options": {"temperature": 0, "num_predict": N_PREDICT},
    }
    if think is not None:
        body["think"] = think
    if format_ is not None:
        body["format"] = format_
    if tools:
        body["tools"] = [TOOL]
    return body | {"messages": [{"role": "user", "content": ask}], "prompt": ask}


def compatible_body(think: Any, format_: Any, tools: bool, stream: bool, ask: str) -> dict[str, Any]:
    body: dict[str, Any] = {"model": "spark", "stream": stream, "temperature": 0, "max_tokens": N_PREDICT}
    if think is not None:
        body["reasoning_effort"] = {False: "none", True: "medium"}.get(think, think)
    if format_ == "json":
        body["response_format"] = {"type": "json_object"}
    elif format_ is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "p", "schema": format_}}
    if tools:
        body["tools"] = [TOOL]
    return body | {"messages": [{"role": "user", "content": ask}]}


async def ask(client: httpx.AsyncClient, route: str, body: dict[str, Any]) -> Reply:
    reply = Reply()
    take = reply.compatible if route.startswith("/v1") else reply.native
    if "chat" in route:
        body.pop("prompt", None)
    else:
        body.pop("messages", None)
    async with client.stream("POST", route, json=body) as answered:
        text = (await answered.aread()).decode()
        assert answered.status_code == 200, text
    for line in text.splitlines() if body["stream"] else [text]:
        data = line.removeprefix("data: ").strip()
        if data and data != "[DONE]":
            take(json.loads(data))
    return reply


def check(reply: Reply, think: Any, format_: Any, tools: bool) -> None:
    assert "think>" not in reply.content
    if think is False:
        assert not reply.thinking
    if think:
        assert reply.thinking
    assert not reply.calls or tools
    if format_ is None:
        return
    if reply.calls:
        assert reply.content == ""
        return
    assert reply.reason != "length"
    document = json.loads(reply.content)
    jsonschema.validate(document, {"type": "object"} if format_ == "json" else format_)


@pytest.mark.parametrize("route", ["/api/chat", "/api/generate", "/v1/chat/completions"])
@pytest.mark.parametrize("think", [None, False, True, "low"])
async def test_every_combination(url: str, route: str, think: Any) -> None:
    make = compatible_body if route.startswith("/v1") else native_body
    has_tools = (False, True) if "chat" in route else (False,)
    cells = list(itertools.product(("json", SCHEMA, None), has_tools, (False, True), ASKS.values()))
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False) as client:
        replies = await asyncio.gather(*(ask(client, route, make(think, *cell)) for cell in cells))
    for (format_, tools, _, _), reply in zip(cells, replies, strict=True):
        check(reply, think, format_, tools)
    whole_and_streamed = {}
    for (format_, tools, stream, question), reply in zip(cells, replies, strict=True):
        whole_and_streamed.setdefault((json.dumps(format_), tools, question), {})[stream] = reply
    for pair in whole_and_streamed.values():
        assert pair[False].content == pair[True].content
        assert len(pair[False].calls) == len(pair[True].calls)


def test_a_call_comes_where_a_tool_fits_though_a_format_is_set(url: str) -> None:
    body = native_body(False, SCHEMA, True, False, ASKS["weather"])
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
        message = client.post("/api/chat", json=body).json()["message"]
    (call,) = message["tool_calls"]
    assert call["function"]["arguments"] == {"city": "Paris"}
    assert message["content"] == ""


def test_a_schema_that_cannot_be_enforced_is_a_400_that_says_where(url: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
        for route, make in (("/api/chat", native_body), ("/v1/chat/completions", compatible_body)):
            for stream in (False, True):
                answered = client.post(route, json=make(False, schema, False, stream, ASKS["person"]))
                assert answered.status_code == 400
                assert "'uniqueItems' at #/properties/a" in answered.text
                assert "format" in answered.text
