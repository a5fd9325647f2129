"""`/v1/messages` on a real socket: status codes, headers, errors in their envelope, pings and the count."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest

from server.api.anthropic import messages
from server.errors import ContextExceeded, EngineCrashed, InvalidImage, ModelNotFound, OllaError, QueueFull
from server.types.generation import Chunk, Completed, PromptUse, Rendered
from tests.support.scripted_services import ScriptedServices

BODY = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}


def names(text: str) -> list[str]:
    return [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (ContextExceeded("too long"), 400, "invalid_request_error"),
        (InvalidImage("no eyes"), 400, "invalid_request_error"),
        (ModelNotFound("m"), 404, "not_found_error"),
        (QueueFull("full"), 503, "overloaded_error"),
        (EngineCrashed("gone"), 500, "api_error"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_before_the_first_piece_keep_their_status(
    services: ScriptedServices,
    client: httpx.AsyncClient,
    error: OllaError,
    status: int,
    kind: str,
    stream: bool,
) -> None:
    services.scripted_inference.script = [error]
    reply = await client.post("/v1/messages", json={**BODY, "stream": stream})
    body = reply.json()
    assert reply.status_code == status
    assert (body["type"], body["error"]) == ("error", {"type": kind, "message": error.message})
    assert body["request_id"].startswith("req_")


async def test_an_error_within_a_stream_is_an_event(
    services: ScriptedServices, client: httpx.AsyncClient
) -> None:
    services.scripted_inference.script = [Chunk(content="a"), EngineCrashed("gone")]
    reply = await client.post("/v1/messages", json={**BODY, "stream": True})
    assert names(reply.text)[-1] == "error"
    assert json.loads(reply.text.rstrip().splitlines()[-1].removeprefix("data: "))["error"] == {
        "type": "api_error",
        "message": "gone",
    }


async def test_headers(services: ScriptedServices, client: httpx.AsyncClient) -> None:
    for stream in (False, True):
        reply = await client.post("/v1/messages", json={**BODY, "stream": stream, "container": "c"})
        assert reply.headers["request-id"].startswith("req_")
        assert reply.headers["olla-ignored"] == "container"
        kind = "text/event-stream" if stream else "application/json"
        assert reply.headers["content-type"] == kind


async def test_a_silent_stream_pings(
    services: ScriptedServices, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait ends once three pings were seen, however long they take."""
    monkeypatch.setattr(messages, "PING_AFTER_S", 0.001)
    held = asyncio.Event()
    services.scripted_inference.script = [
        Chunk(content="a", prompt=PromptUse(3)),
        held,
        Completed(reason="stop"),
    ]
    seen: list[str] = []
    async with client.stream("POST", "/v1/messages", json={**BODY, "stream": True}) as reply:
        async for line in reply.aiter_lines():
            seen.extend(names(line))
            if seen.count("ping") == 3:
                held.set()
    assert seen[:4] == ["message_start", "ping", "content_block_start", "content_block_delta"]
    assert seen[-3:] == ["content_block_stop", "message_delta", "message_stop"]


async def test_a_client_that_leaves_a_silent_stream_ends_it(
    services: ScriptedServices, client: httpx.AsyncClient
) -> None:
    services.scripted_inference.script = [Chunk(content="a"), asyncio.Event()]
    async with client.stream("POST", "/v1/messages", json={**BODY, "stream": True}) as reply:
        async for _ in reply.aiter_lines():
            break
    await asyncio.wait_for(services.scripted_inference.closed.wait(), 10)


async def test_a_count_renders_and_tokenises(services: ScriptedServices, client: httpx.AsyncClient) -> None:
    services.scripted_inference.script = [Rendered(prompt="<user>Hi")]
    body = {"model": "m", "messages": BODY["messages"]}
    reply = await client.post("/v1/messages/count_tokens", json=body)
    assert reply.json() == {"input_tokens": 8}
    (asked,) = services.scripted_inference.asked
    assert (asked.render_only, asked.truncate) == (True, False)
