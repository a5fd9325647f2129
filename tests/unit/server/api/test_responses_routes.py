"""`/v1/responses` on a real socket: what is kept, followed, listed, cancelled and forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.api.app import ApiSettings, create_app
from server.errors import ContextExceeded, EngineCrashed
from server.services.responses import Responses
from server.storage.response_store import ResponseStore
from server.types.generation import Chunk, Completed, Rendered
from tests.support.scripted_services import ScriptedServices
from tests.support.served_app import served
from tests.support.until import until

PATH = "/v1/responses"
DONE = Completed(reason="stop")


@pytest.fixture
async def keeper(services: ScriptedServices, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    archive = Responses(ResponseStore(tmp_path / "responses.sqlite"))
    async with served(create_app(services, ApiSettings(), archive)) as client:
        yield client


async def ask(client: httpx.AsyncClient, text: str, **fields: Any) -> dict[str, Any]:
    reply = await client.post(PATH, json={"model": "m", "input": text, **fields})
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    return body


async def test_a_response_follows_another_whether_streamed_or_not(
    services: ScriptedServices, keeper: httpx.AsyncClient
) -> None:
    services.scripted_inference.script = [Chunk(content="One."), DONE]
    first = await ask(keeper, "a", instructions="Be brief.")
    body = {"model": "m", "input": "b", "previous_response_id": first["id"], "stream": True}
    streamed = await keeper.post(PATH, json=body)
    second_id = streamed.text.split('"id":"')[1].split('"')[0]
    third = await ask(keeper, "c", previous_response_id=second_id)
    assert third["previous_response_id"] == second_id
    asked = services.scripted_inference.asked[-1]
    said = [(message.role, message.content) for message in asked.messages]
    assert said == [("user", "a"), ("assistant", "One."), ("user", "b"), ("assistant", "One."), ("user", "c")]
    reply = await keeper.get(f"{PATH}/{third['id']}/input_items", params={"order": "asc", "limit": 2})
    page = reply.json()
    assert [item["content"][0]["text"] for item in page["data"]] == ["a", "One."]
    assert page["has_more"]
    rest = await keeper.get(
        f"{PATH}/{third['id']}/input_items", params={"order": "asc", "after": page["last_id"]}
    )
    assert [item["content"][0]["text"] for item in rest.json()["data"]] == ["b", "One.", "c"]
    newest = (await keeper.get(f"{PATH}/{third['id']}/input_items")).json()["data"]
    assert newest[0]["content"][0]["text"] == "c"


async def test_what_is_kept_can_be_read_and_forgotten(
    services: ScriptedServices, keeper: httpx.AsyncClient
) -> None:
    services.scripted_inference.script = [Chunk(content="One."), DONE]
    made = await ask(keeper, "a", metadata={"k": "v"})
    assert (await keeper.get(f"{PATH}/{made['id']}")).json() == made
    assert (await keeper.delete(f"{PATH}/{made['id']}")).json() == {
        "id": made["id"],
        "object": "response",
        "deleted": True,
    }
    for reply in (
        await keeper.get(f"{PATH}/{made['id']}"),
        await keeper.delete(f"{PATH}/{made['id']}"),
        await keeper.get(f"{PATH}/{made['id']}/input_items"),
        await keeper.post(f"{PATH}/{made['id']}/cancel"),
    ):
        assert reply.status_code == 404
        assert reply.json()["error"]["message"] == f"Response with id '{made['id']}' not found."
    followed = await keeper.post(PATH, json={"model": "m", "input": "b", "previous_response_id": made["id"]})
    assert followed.status_code == 400
    assert f"Previous response with id '{made['id']}' not found." in followed.text


@pytest.mark.parametrize("stream", [False, True])
async def test_what_shall_not_be_kept_is_not(
    services: ScriptedServices, keeper: httpx.AsyncClient, stream: bool
) -> None:
    reply = await keeper.post(PATH, json={"model": "m", "input": "a", "store": False, "stream": stream})
    id_ = reply.text.split('"id":"')[1].split('"')[0]
    assert (await keeper.get(f"{PATH}/{id_}")).status_code == 404


async def test_a_server_without_an_archive_says_so(client: httpx.AsyncClient) -> None:
    assert not (await ask(client, "a"))["store"]
    assert (await client.get(f"{PATH}/resp_1")).status_code == 404
    assert (await client.delete(f"{PATH}/resp_1")).status_code == 404
    assert (await client.post(PATH, json={"model": "m", "background": True})).status_code == 400


async def test_a_background_response_is_made_and_kept(
    services: ScriptedServices, keeper: httpx.AsyncClient
) -> None:
    held = asyncio.Event()
    services.scripted_inference.script = [held, Chunk(content="One."), DONE]
    made = await ask(keeper, "a", background=True)
    assert made["status"] == "in_progress"
    assert (await keeper.get(f"{PATH}/{made['id']}")).json()["status"] == "in_progress"
    held.set()

    async def status() -> str:
        return str((await keeper.get(f"{PATH}/{made['id']}")).json()["status"])

    await until(lambda: services.scripted_inference.n_closed == 1)
    while await status() == "in_progress":
        pass
    assert await status() == "completed"


async def test_a_background_response_can_be_cancelled(
    services: ScriptedServices, keeper: httpx.AsyncClient
) -> None:
    services.scripted_inference.script = [Chunk(content="a"), asyncio.Event()]
    made = await ask(keeper, "a", background=True)
    await services.scripted_inference.begun.wait()
    cancelled = (await keeper.post(f"{PATH}/{made['id']}/cancel")).json()
    assert cancelled["status"] == "cancelled"
    assert services.scripted_inference.n_closed == 1
    again = (await keeper.post(f"{PATH}/{made['id']}/cancel")).json()
    assert again == cancelled
    services.scripted_inference.script = [DONE]
    plain = await ask(keeper, "a")
    reply = await keeper.post(f"{PATH}/{plain['id']}/cancel")
    assert (reply.status_code, reply.json()["error"]["message"]) == (
        400,
        "Cannot cancel a synchronous response.",
    )


async def test_a_background_response_that_fails_says_why(
    services: ScriptedServices, keeper: httpx.AsyncClient
) -> None:
    services.scripted_inference.script = [ContextExceeded("too long")]
    made = await ask(keeper, "a", background=True)
    while (body := (await keeper.get(f"{PATH}/{made['id']}")).json())["status"] == "in_progress":
        pass
    assert (body["status"], body["error"]) == ("failed", {"code": "invalid_prompt", "message": "too long"})


async def test_a_response_that_a_stopped_server_left_has_failed(
    services: ScriptedServices, keeper: httpx.AsyncClient, tmp_path: Path
) -> None:
    services.scripted_inference.script = [asyncio.Event()]
    made = await ask(keeper, "a", background=True)
    archive = Responses(ResponseStore(tmp_path / "responses.sqlite"))
    async with served(create_app(services, ApiSettings(), archive)) as other:
        body = (await other.get(f"{PATH}/{made['id']}")).json()
    assert (body["status"], body["error"]["code"]) == ("failed", "server_error")
    await keeper.post(f"{PATH}/{made['id']}/cancel")


@pytest.mark.parametrize("begun", [False, True])
async def test_errors_in_a_stream(services: ScriptedServices, keeper: httpx.AsyncClient, begun: bool) -> None:
    services.scripted_inference.script = [*([Chunk(content="a")] if begun else []), EngineCrashed("gone")]
    reply = await keeper.post(PATH, json={"model": "m", "input": "a", "stream": True})
    if begun:
        assert reply.status_code == 200
        assert "event: response.failed" in reply.text
        assert '"error":{"code":"server_error","message":"gone"}' in reply.text
    else:
        assert reply.status_code == 500
        assert reply.json()["error"]["message"] == "gone"


async def test_tokens_are_counted_with_what_came_before(
    services: ScriptedServices, keeper: httpx.AsyncClient
) -> None:
    services.scripted_inference.script = [Chunk(content="One."), DONE]
    first = await ask(keeper, "a")
    services.scripted_inference.script = [Rendered(prompt="12345")]
    body = {"model": "m", "input": "b", "previous_response_id": first["id"]}
    reply = await keeper.post(f"{PATH}/input_tokens", json=body)
    assert reply.json() == {"object": "response.input_tokens", "input_tokens": 5}
    assert len(services.scripted_inference.asked[-1].messages) == 3


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "x"}, {"limit": "1000"}, {"order": "up"}, {"after": "nobody"}]
)
async def test_pages_that_cannot_be(
    services: ScriptedServices, keeper: httpx.AsyncClient, query: dict[str, str]
) -> None:
    made = await ask(keeper, "a")
    assert (await keeper.get(f"{PATH}/{made['id']}/input_items", params=query)).status_code == 400
