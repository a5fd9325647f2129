"""Streams: when the status is sent, how errors come, and what happens when the client leaves."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from server.errors import ContextExceeded, EngineCrashed, OllaError
from server.types.generation import Chunk, Completed
from tests.support.scripted_services import ScriptedServices

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
ROUTES: list[tuple[str, dict[str, Any]]] = [
    ("/api/chat", CHAT),
    ("/api/generate", {"model": "m", "prompt": "hi"}),
    ("/v1/chat/completions", {**CHAT, "stream": True}),
    ("/v1/completions", {"model": "m", "prompt": "hi", "stream": True}),
]


@pytest.mark.parametrize(("path", "body"), ROUTES)
async def test_each_piece_is_sent_as_it_comes(
    path: str, body: dict[str, Any], client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    gate = asyncio.Event()
    services.scripted_inference.script = [Chunk(content="one"), gate, Completed(reason="stop")]
    async with client.stream("POST", path, json=body) as reply:
        pieces = reply.aiter_raw()
        assert b"one" in await anext(pieces)
        assert not services.scripted_inference.closed.is_set()
        gate.set()
        assert b"stop" in b"".join([piece async for piece in pieces])


@pytest.mark.parametrize(("path", "body"), ROUTES)
async def test_an_error_before_the_first_piece_has_its_own_status(
    path: str, body: dict[str, Any], client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    services.scripted_inference.script = [ContextExceeded("too long")]
    reply = await client.post(path, json=body)
    assert reply.status_code == 400
    assert reply.headers["content-type"] == "application/json"
    assert "too long" in json.dumps(reply.json()["error"])


async def test_an_error_in_the_middle_is_a_last_line(
    client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    services.scripted_inference.script = [Chunk(content="one"), EngineCrashed("it crashed")]
    reply = await client.post("/api/chat", json=CHAT)
    assert reply.status_code == 200
    lines = [json.loads(line) for line in reply.text.splitlines()]
    assert [line.get("done") for line in lines] == [False, None]
    assert lines[-1] == {"error": "it crashed", "olla": {"status": 500}}


async def test_an_error_in_the_middle_of_events_is_an_event_and_no_end(
    client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    services.scripted_inference.script = [Chunk(content="one"), EngineCrashed("it crashed")]
    reply = await client.post("/v1/chat/completions", json={**CHAT, "stream": True})
    last = json.loads(reply.text.split("\n\n")[-2].removeprefix("data: "))
    assert last["error"] == {"message": "it crashed", "type": "api_error", "param": None, "code": None}
    assert "[DONE]" not in reply.text


async def test_an_internal_error_is_logged_and_not_shown(
    client: httpx.AsyncClient, services: ScriptedServices, caplog: pytest.LogCaptureFixture
) -> None:
    services.scripted_inference.script = [KeyError("secret")]
    reply = await client.post("/api/chat", json=CHAT)
    assert reply.status_code == 500
    assert reply.json() == {"error": "internal error; the server's log has the details"}
    services.scripted_inference.script = [Chunk(content="one"), KeyError("secret")]
    reply = await client.post("/api/chat", json=CHAT)
    assert "secret" not in reply.text
    assert [record.getMessage() for record in caplog.records] == ["internal error in /api/chat"] * 2


@pytest.mark.parametrize("first", [[], [Chunk(content="one")]])
@pytest.mark.parametrize(("path", "body"), [*ROUTES, ("/api/chat", {**CHAT, "stream": False})])
async def test_a_client_that_leaves_ends_its_request(
    path: str,
    body: dict[str, Any],
    first: list[Chunk],
    client: httpx.AsyncClient,
    services: ScriptedServices,
) -> None:
    never = asyncio.Event()
    services.scripted_inference.script = [*first, never]
    asking = asyncio.create_task(client.post(path, json=body))
    await services.scripted_inference.begun.wait()
    asking.cancel()
    async with asyncio.timeout(10):
        await services.scripted_inference.closed.wait()


async def test_several_choices_come_together_and_end_together(
    client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    services.scripted_inference.script = [Chunk(content="x"), Completed(reason="stop")]
    body = {**CHAT, "n": 3, "seed": 5, "stream": True, "stream_options": {"include_usage": True}}
    reply = await client.post("/v1/chat/completions", json=body)
    events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
    finished = [choice["index"] for event in events for choice in event["choices"] if choice["finish_reason"]]
    assert sorted(finished) == [0, 1, 2]
    assert events[-1]["choices"] == []
    assert [request.options["seed"] for request in services.scripted_inference.asked] == [5, 6, 7]
    whole = (await client.post("/v1/chat/completions", json={**body, "stream": False})).json()
    assert [choice["index"] for choice in whole["choices"]] == [0, 1, 2]


@pytest.mark.parametrize("stream", [True, False])
async def test_one_failing_choice_ends_them_all(
    stream: bool, client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    services.scripted_inference.script = [OllaError("broken")]
    reply = await client.post("/v1/chat/completions", json={**CHAT, "n": 2, "stream": stream})
    assert reply.status_code == 500
    assert reply.json()["error"]["message"] == "broken"
    assert services.scripted_inference.n_closed == len(services.scripted_inference.asked)


async def test_a_body_may_come_in_pieces(client: httpx.AsyncClient) -> None:
    async def pieces() -> Any:
        for byte in json.dumps({**CHAT, "stream": False}).encode():
            yield bytes([byte])

    reply = await client.post("/api/chat", content=pieces())
    assert reply.json()["done"] is True
