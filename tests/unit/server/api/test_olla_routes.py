"""olla's own routes, and OpenAI's, over scripted services."""

from __future__ import annotations

import math
import struct
from typing import Any

import httpx
import pytest

from server.errors import ModelNotFound, OllaError
from server.types.generation import Chunk, Completed, EmbedResult, Rendered
from tests.support.scripted_services import ScriptedServices


async def test_status(client: httpx.AsyncClient) -> None:
    reply = (await client.get("/olla/status")).json()
    assert reply["version"] == "1.2.3"
    assert reply["running"][0]["expires_at"] is None


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", (0, 1000)),
        ("?after=5&limit=2", (5, 2)),
        ("?limit=999999", (0, 10_000)),
    ],
)
async def test_logs(
    query: str, wanted: tuple[int, int], client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    (line,) = (await client.get(f"/olla/logs{query}")).json()
    assert (line["number"], line["text"]) == (wanted[0] + 1, "hello")
    assert services.scripted_status.used == [("logs", *wanted)]


@pytest.mark.parametrize("query", ["after=x", "after=-1", "limit=1.5", "after=" + "9" * 30])
async def test_logs_by_numbers_alone(query: str, client: httpx.AsyncClient) -> None:
    assert (await client.get(f"/olla/logs?{query}")).status_code == 400


@pytest.mark.parametrize("query", ["window_s=0", "window_s=x", "window_s=86401"])
async def test_a_history_of_a_day_at_most(query: str, client: httpx.AsyncClient) -> None:
    assert (await client.get(f"/olla/history?{query}")).status_code == 400
    assert (await client.get("/olla/history?window_s=86400")).json()["period_s"] == 2


async def test_the_prompt_of_a_request(client: httpx.AsyncClient) -> None:
    reply = await client.get("/olla/requests/7/prompt")
    assert reply.json() == {"id": 7, "text": "<user>Why?", "n_left_out": 3}
    assert (await client.get("/olla/requests/8/prompt")).status_code == 404
    assert (await client.get("/olla/requests/x/prompt")).status_code == 400


@pytest.mark.parametrize(
    ("path", "body", "used"),
    [
        ("/olla/requests/7/cancel", None, ("cancel", 7)),
        ("/olla/unload", {"model": "m"}, ("unload", "m")),
        ("/olla/keep-alive", {"model": "m", "keep_alive": "1h"}, ("keep_alive", "m", 3600.0)),
        ("/olla/keep-alive", {"model": "m", "keep_alive": -1}, ("keep_alive", "m", math.inf)),
    ],
)
async def test_switches(
    path: str, body: Any, used: tuple[Any, ...], client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    reply = await client.post(path, json=body)
    assert (reply.status_code, reply.json()) == (200, {})
    assert services.scripted_status.used == [used]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/olla/requests/8/cancel", None, 404),
        ("/olla/requests/x/cancel", None, 400),
        ("/olla/unload", {}, 400),
        ("/olla/keep-alive", {"model": "m"}, 400),
        ("/olla/keep-alive", {"model": "m", "keep_alive": "1d"}, 400),
        ("/olla/bundled/nope", None, 404),
        ("/olla/tokenize", {"text": "x"}, 400),
    ],
)
async def test_refusals(path: str, body: Any, status: int, client: httpx.AsyncClient) -> None:
    reply = await client.post(path, json=body)
    assert reply.status_code == status
    assert reply.json()["error"]


async def test_bundled_models(client: httpx.AsyncClient, services: ScriptedServices) -> None:
    (model,) = (await client.get("/olla/bundled")).json()
    assert (model["name"], model["installed"]) == ("spark:latest", False)
    assert (await client.post("/olla/bundled/spark")).json() == {}
    assert "spark" in services.scripted_models.names


async def test_tokens(client: httpx.AsyncClient) -> None:
    reply = await client.post("/olla/tokenize", json={"model": "m", "text": "ab"})
    assert reply.json() == {"tokens": [97, 98]}


USER = [{"role": "user", "content": "x"}]


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/v1/chat/completions", {"messages": []}, 400, "[] is too short - 'messages'"),
        ("/v1/chat/completions", {"messages": USER}, 400, "model is required"),
        ("/v1/completions", {"prompt": "x"}, 404, "model '' not found"),
        ("/v1/embeddings", {"input": "x"}, 404, "model '' not found"),
        ("/v1/embeddings", {"model": "m", "input": []}, 400, "invalid input"),
    ],
)
async def test_openais_refusals(
    path: str, body: Any, status: int, message: str, client: httpx.AsyncClient
) -> None:
    reply = await client.post(path, json=body)
    kind = "not_found_error" if status == 404 else "invalid_request_error"
    assert reply.status_code == status
    assert reply.json() == {"error": {"message": message, "type": kind, "param": None, "code": None}}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions", "/v1/embeddings"])
async def test_openais_word_for_an_empty_body(path: str, client: httpx.AsyncClient) -> None:
    reply = await client.post(path)
    assert (reply.status_code, reply.json()["error"]["message"]) == (400, "EOF")


async def test_a_schema_that_is_none_comes_after_the_model(
    client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    wanted = {"type": "json_schema", "json_schema": {"schema": "x"}}
    body = {"model": "m", "messages": USER, "response_format": wanted}
    assert (await client.post("/v1/chat/completions", json=body)).status_code == 404
    services.scripted_models.add("m")
    assert (await client.post("/v1/chat/completions", json=body)).status_code == 500


async def test_completions(client: httpx.AsyncClient, services: ScriptedServices) -> None:
    services.scripted_inference.script = [
        Chunk(thinking="t"),
        Chunk(content="a"),
        Completed(reason="stop"),
    ]
    body: dict[str, Any] = {"model": "m", "prompt": "x"}
    whole = (await client.post("/v1/completions", json=body)).json()
    assert whole["choices"] == [{"text": "a", "index": 0, "finish_reason": "stop"}]
    usage = {"stream": True, "stream_options": {"include_usage": True}}
    stream = (await client.post("/v1/completions", json={**body, **usage})).text
    assert stream.count('"usage"') == 3
    assert stream.endswith('"total_tokens":0}}\n\ndata: [DONE]\n\n')


async def test_rendered_prompts_for_openai(client: httpx.AsyncClient, services: ScriptedServices) -> None:
    services.scripted_inference.script = [Rendered(prompt="p")]
    body = {"model": "m", "messages": USER, "stream": True, "_debug_render_only": True}
    reply = (await client.post("/v1/chat/completions", json=body)).json()
    assert reply["_debug_info"] == {"rendered_template": "p"}


async def test_embeddings_for_openai(client: httpx.AsyncClient, services: ScriptedServices) -> None:
    services.scripted_inference.embedded = EmbedResult(vectors=(struct.pack("<f", 0.5),), n_prompt_tokens=1)
    reply = await client.post("/v1/embeddings", json={"model": "m", "input": [[1, 2]]})
    assert reply.json()["data"] == [{"object": "embedding", "embedding": [0.5], "index": 0}]
    assert services.scripted_inference.asked[0].inputs == ((1, 2),)
    services.scripted_inference.embedded = ModelNotFound("m")
    reply = await client.post("/v1/embeddings", json={"model": "m", "input": "x"})
    assert reply.json()["error"]["message"] == 'model "m" not found, try pulling it first'


async def test_models_for_openai(client: httpx.AsyncClient, services: ScriptedServices) -> None:
    assert (await client.get("/v1/models")).json() == {"object": "list", "data": None}
    services.scripted_models.add("m")
    assert [model["id"] for model in (await client.get("/v1/models")).json()["data"]] == ["m"]
    assert (await client.get("/v1/models/m")).json()["id"] == "m"
    missing = await client.get("/v1/models/nope")
    assert missing.status_code == 404
    assert missing.json()["error"]["message"] == "model 'nope:latest' not found"


async def test_failures_of_the_server_are_api_errors(
    client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    services.scripted_inference.script = [OllaError("broken")]
    reply = await client.post("/v1/chat/completions", json={"model": "m", "messages": USER})
    assert reply.status_code == 500
    assert reply.json()["error"]["type"] == "api_error"
