"""Ollama's own routes over scripted services: words, statuses, and what reaches the services."""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
from typing import Any

import httpx
import pytest

from server.api import disconnect
from server.errors import DigestMismatch, EngineError, InvalidTemplate, ModelNotFound, RegistryError
from server.types.generation import Chunk, Completed, EmbedResult, Rendered, Timings
from server.types.models import CreateProgress
from server.types.transfers import TransferRequest
from tests.support.scripted_services import ScriptedServices

LIMIT_WORDS = "limit_bytes_per_s must be a number of bytes a second, 0 for no limit"
DIGEST = "sha256:" + hashlib.sha256(b"abc").hexdigest()


async def error(client: httpx.AsyncClient, path: str, body: Any, method: str = "POST") -> tuple[int, str]:
    reply = await client.request(method, path, json=body)
    return reply.status_code, reply.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "/api/generate", {}, 404, "model '' not found"),
        ("POST", "/api/chat", {}, 400, "model is required"),
        ("POST", "/api/embed", {}, 404, "model '' not found"),
        ("POST", "/api/embeddings", {}, 400, "model is required"),
        ("POST", "/api/show", {}, 400, "model is required"),
        ("DELETE", "/api/delete", {}, 400, "model is required"),
        ("POST", "/api/push", {}, 400, "model is required"),
        ("POST", "/api/pull", {}, 400, "invalid model name"),
        ("POST", "/api/create", {}, 400, "invalid model name"),
        ("POST", "/api/show", {"model": "nope"}, 404, "model 'nope:latest' not found"),
        ("DELETE", "/api/delete", {"name": "nope"}, 404, "model 'nope' not found"),
        ("POST", "/api/copy", {"source": "nope", "destination": "x"}, 404, 'model "nope" not found'),
        ("POST", "/api/create", {"model": "x", "files": {"/a": "b"}}, 400, "file path must be relative"),
        ("POST", "/api/create", {"model": "x", "files": {"../a": "b"}}, 400, "file path must be relative"),
        ("POST", "/api/create", {"model": "x", "files": {".": "b"}}, 400, "file path must be relative"),
        ("POST", "/api/create", {"model": "x", "files": {"a": ""}}, 400, "invalid digest format"),
        ("POST", "/api/create", {"model": "a b", "files": {"a": "d"}}, 400, "invalid model name"),
        ("POST", "/api/me", {}, 503, "account unavailable"),
        ("POST", "/api/signout", {}, 401, "you are not currently signed in"),
        ("DELETE", "/api/user/keys/abc", None, 401, "you are not currently signed in"),
        (
            "POST",
            "/api/experimental/web_search",
            {"query": "x"},
            403,
            "ollama cloud is disabled: web search is unavailable",
        ),
        (
            "POST",
            "/api/experimental/web_fetch",
            {"url": "x"},
            403,
            "ollama cloud is disabled: web fetch is unavailable",
        ),
        (
            "POST",
            "/api/push",
            {"model": "nope/nope"},
            500,
            "open $OLLAMA_MODELS/manifests/registry.ollama.ai/nope/nope/latest: no such file or directory",
        ),
        ("POST", "/api/pull", {"model": "m", "limit_bytes_per_s": -1}, 400, LIMIT_WORDS),
    ],
)
async def test_words_of_each_route(
    method: str, path: str, body: Any, status: int, message: str, client: httpx.AsyncClient
) -> None:
    assert await error(client, path, body, method) == (status, message)


@pytest.mark.parametrize("path", ["/api/chat", "/api/show", "/api/experimental/web_search"])
async def test_a_body_is_needed(path: str, client: httpx.AsyncClient) -> None:
    reply = await client.post(path)
    assert (reply.status_code, reply.json()) == (400, {"error": "missing request body"})
    assert reply.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize("path", ["/api/embed", "/api/embeddings"])
async def test_embedding_routes_advise_to_pull(
    path: str, client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    services.scripted_inference.embedded = ModelNotFound("nope")
    body = {"model": "nope", "input": "x", "prompt": "x"}
    assert await error(client, path, body) == (404, 'model "nope" not found, try pulling it first')


async def test_an_engine_that_fails_to_embed_is_the_servers_fault(
    client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    services.scripted_inference.embedded = EngineError("it broke")
    assert await error(client, "/api/embed", {"model": "m", "input": "x"}) == (500, "it broke")


async def test_a_missing_model_is_told_before_a_bad_format(
    client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "format": "xml"}
    assert await error(client, "/api/chat", body) == (404, "model 'm' not found")
    services.scripted_models.add("m")
    status, message = await error(client, "/api/chat", body)
    assert (status, message.startswith("invalid format: ")) == (500, True)
    assert services.scripted_inference.asked == []


async def test_a_bad_template_is_500_in_generate(
    client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    services.scripted_inference.script = [InvalidTemplate("template: bad")]
    assert await error(client, "/api/generate", {"model": "m", "prompt": "x"}) == (500, "template: bad")


@pytest.mark.parametrize(
    ("path", "body"), [("/api/generate", {}), ("/api/chat", {}), ("/api/chat", {"messages": []})]
)
async def test_loads_are_never_streams(
    path: str, body: dict[str, Any], client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    services.scripted_inference.script = [Completed(reason="load")]
    reply = await client.post(path, json={"model": "m", **body})
    assert reply.headers["content-type"] == "application/json; charset=utf-8"
    assert reply.json()["done_reason"] == "load"


@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
async def test_rendered_prompts_are_never_streams(
    path: str, client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    services.scripted_inference.script = [Rendered(prompt="p")]
    body = {"model": "m", "prompt": "x", "messages": [{"role": "user"}], "_debug_render_only": True}
    reply = await client.post(path, json=body)
    assert reply.json()["_debug_info"] == {"rendered_template": "p"}


async def test_the_reply_echoes_the_name_as_it_was_written(client: httpx.AsyncClient) -> None:
    reply = await client.post("/api/generate", json={"model": "PlAiN", "prompt": "x", "stream": False})
    assert reply.json()["model"] == "PlAiN"


async def test_where_a_request_comes_from(client: httpx.AsyncClient, services: ScriptedServices) -> None:
    headers = {"user-agent": "ollama-python/0.6.3 (x86_64 linux) Python/3.11"}
    await client.post("/api/generate", json={"model": "m", "prompt": "x"}, headers=headers)
    (request,) = services.scripted_inference.asked
    assert request.origin.route == "/api/generate"
    assert request.origin.client == "127.0.0.1 ollama-python/0.6.3"


async def test_details_come_when_asked_for(client: httpx.AsyncClient, services: ScriptedServices) -> None:
    services.scripted_inference.script = [Completed(reason="stop", stop_text="END")]
    body = {"model": "m", "prompt": "x", "stream": False}
    assert "olla" not in (await client.post("/api/generate", json=body)).json()
    body["olla"] = {"details": True}
    assert (await client.post("/api/generate", json=body)).json()["olla"] == {"stop_text": "END"}


@pytest.mark.parametrize("details", [False, True])
@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
async def test_what_was_dropped_is_told_unasked(
    client: httpx.AsyncClient, services: ScriptedServices, path: str, details: bool
) -> None:
    timings = Timings(n_prompt_tokens=50)
    end = Completed(reason="stop", n_dropped_messages=2, n_dropped_tokens=30, n_ctx=64, timings=timings)
    services.scripted_inference.script = [end]
    body = {"model": "m", "prompt": "x", "messages": [{"role": "user", "content": "x"}]}
    reply = await client.post(path, json={**body, "stream": False, "olla": {"details": details}})
    told = {"limit": 64, "used": 50, "dropped_messages": 2, "dropped_tokens": 30}
    assert reply.json()["olla"]["context"] == told


async def test_embeddings(client: httpx.AsyncClient, services: ScriptedServices) -> None:
    vector = struct.pack("<2f", 0.5, 0.25)
    services.scripted_inference.embedded = EmbedResult(vectors=(vector, vector), n_prompt_tokens=3)
    reply = await client.post("/api/embed", json={"model": "m", "input": ["a", "b"]})
    expected = {"model": "m", "embeddings": [[0.5, 0.25], [0.5, 0.25]], "prompt_eval_count": 3}
    assert reply.json() == expected
    assert (await client.post("/api/embeddings", json={"model": "m", "prompt": "a"})).json() == {
        "embedding": [0.5, 0.25]
    }


async def test_the_store(client: httpx.AsyncClient, services: ScriptedServices) -> None:
    services.scripted_models.add("m")
    copied = await client.post("/api/copy", json={"source": "m", "destination": "n"})
    assert (copied.status_code, copied.content) == (200, b"")
    assert [model["name"] for model in (await client.get("/api/tags")).json()["models"]] == ["m", "n"]
    deleted = await client.request("DELETE", "/api/delete", json={"model": "n"})
    assert (deleted.status_code, deleted.content) == (200, b"")
    assert list(services.scripted_models.names) == ["m"]


async def test_show_for_a_client_that_wants_the_name(
    client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    services.scripted_models.add("m")
    headers = {"user-agent": "GitHubCopilotChat/1.0"}
    reply = await client.post("/api/show", json={"name": "m"}, headers=headers)
    assert reply.json()["model_info"] == {"general.basename": "m"}
    assert (await client.post("/api/show", json={"name": "m"})).json()["model_info"] == {}


async def test_a_model_that_never_expires(client: httpx.AsyncClient) -> None:
    (model,) = (await client.get("/api/ps")).json()["models"]
    assert int(model["expires_at"][:4]) > 2300


async def test_create_tells_its_progress(client: httpx.AsyncClient, services: ScriptedServices) -> None:
    services.scripted_models.progress = [
        CreateProgress("writing", "sha256:1", 5, 3),
        CreateProgress("success"),
    ]
    reply = await client.post("/api/create", json={"model": "x", "from": "m"})
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert reply.text == (
        '{"status":"writing","digest":"sha256:1","total":5,"completed":3}\n{"status":"success"}\n'
    )
    whole = await client.post("/api/create", json={"model": "x", "from": "m", "stream": False})
    assert (whole.json(), whole.headers["content-type"]) == ({"status": "success"}, "application/json")


async def test_a_create_that_fails_late(client: httpx.AsyncClient, services: ScriptedServices) -> None:
    services.scripted_models.progress = [CreateProgress("writing"), EngineError("no room")]
    reply = await client.post("/api/create", json={"model": "x", "from": "m"})
    assert reply.status_code == 200
    assert reply.text.splitlines()[-1] == '{"error":"no room","olla":{"status":500}}'
    status, message = await error(client, "/api/create", {"model": "x", "from": "m", "stream": False})
    assert (status, message) == (500, "no room")


async def test_blobs(client: httpx.AsyncClient, services: ScriptedServices) -> None:
    path = f"/api/blobs/{DIGEST}"
    assert (await client.head(path)).status_code == 404
    first = await client.post(path, content=b"abc")
    assert (first.status_code, first.content) == (201, b"")
    assert services.scripted_models.blobs == {DIGEST: b"abc"}
    assert (await client.post(path, content=b"abc")).status_code == 200
    assert (await client.head(path)).status_code == 200
    assert (await client.head("/api/blobs/nope")).status_code == 400


async def test_a_known_blob_is_read_to_its_end(client: httpx.AsyncClient, services: ScriptedServices) -> None:
    services.scripted_models.blobs[DIGEST] = b"abc"
    n_sent = 0

    async def pieces() -> Any:
        nonlocal n_sent
        for _ in range(64):
            n_sent += 1
            yield bytes(1 << 16)

    assert (await client.post(f"/api/blobs/{DIGEST}", content=pieces())).status_code == 200
    assert n_sent == 64


async def test_an_upload_that_fails(client: httpx.AsyncClient, services: ScriptedServices) -> None:
    async def refuse(digest: str, body: Any) -> bool:
        raise DigestMismatch("digest mismatch")

    services.scripted_models.put_blob = refuse  # type: ignore[method-assign]
    assert await error(client, f"/api/blobs/{DIGEST}", "x") == (400, "digest mismatch")


async def test_the_server_itself(client: httpx.AsyncClient) -> None:
    assert (await client.get("/")).text == "Ollama is running"
    version = await client.get("/api/version")
    assert version.json() == {"version": "9.9.9"}
    assert version.headers["olla-version"] == "1.2.3"
    assert (await client.get("/api/status")).json() == {"cloud": {"disabled": True, "source": "env"}}
    recommended = (await client.get("/api/experimental/model-recommendations")).json()
    assert recommended == {"recommendations": [{"model": "spark:latest", "description": "Tiny"}]}


async def test_a_content_type_does_not_matter(client: httpx.AsyncClient) -> None:
    for content_type in ("application/x-www-form-urlencoded", "text/plain", ""):
        reply = await client.post(
            "/api/generate",
            content=b'{"MODEL":"m","prompt":"x","stream":false}',
            headers={"content-type": content_type},
        )
        assert reply.json()["model"] == "m"


async def test_a_pull_tells_lines_in_a_stream_and_the_last_one_without(
    client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    reply = await client.post("/api/pull", json={"name": "m", "insecure": True})
    assert reply.headers["content-type"] == "application/x-ndjson"
    assert reply.text == (
        '{"status":"pulling manifest"}\n'
        f'{{"status":"pulling 000000000000","digest":"sha256:{"0" * 64}","total":9,"completed":4}}\n'
        '{"status":"success"}\n'
    )
    assert services.scripted_transfers.used == [("pull", TransferRequest(model="m", insecure=True))]
    reply = await client.post("/api/pull", json={"model": "m", "stream": False})
    assert (reply.headers["content-type"], reply.text) == ("application/json", '{"status":"success"}')


async def test_a_pull_that_fails_tells_it_in_its_stream_or_by_its_status(
    client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    services.scripted_transfers.failure = RegistryError("pull model manifest: file does not exist")
    reply = await client.post("/api/pull", json={"model": "m"})
    assert reply.status_code == 200
    assert [json.loads(line).get("error") for line in reply.text.splitlines()] == [
        None,
        "pull model manifest: file does not exist",
    ]
    message = (500, "pull model manifest: file does not exist")
    assert await error(client, "/api/pull", {"model": "m", "stream": False}) == message


async def test_a_push_looks_for_the_model_first(
    client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    assert await error(client, "/api/push", {"model": "a b"}) == (400, "invalid model name")
    services.scripted_models.add("m")
    reply = await client.post("/api/push", json={"model": "m"})
    assert reply.text == '{"status":"retrieving manifest"}\n{"status":"success"}\n'


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("x/pause", {}, 400, "id must be a number"),
        ("8/pause", {}, 404, "no transfer 8 is under way"),
        ("7/move", {}, 400, "position is required"),
        ("8/forget", {}, 404, "no transfer 8 is under way"),
        ("", {}, 400, "model is required"),
        ("", {"model": "m", "kind": "copy"}, 400, "kind must be pull or push"),
        ("limit", {}, 400, "limit_bytes_per_s is required"),
        ("limit", {"limit_bytes_per_s": -1}, 400, LIMIT_WORDS),
    ],
)
async def test_words_of_the_switches_of_transfers(
    client: httpx.AsyncClient, path: str, body: Any, status: int, message: str
) -> None:
    assert await error(client, f"/olla/transfers/{path}".rstrip("/"), body) == (status, message)


async def test_bodies_in_memory_are_bounded(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disconnect, "MAX_BODY_BYTES", 100)
    status, message = await error(client, "/api/chat", {"model": "m" * 100})
    assert (status, message) == (413, "the request body is larger than 100 bytes")
    assert (await client.post(f"/api/blobs/{DIGEST}", content=bytes(1000))).status_code == 201


async def test_a_body_that_is_announced_as_too_large_is_not_waited_for(client: httpx.AsyncClient) -> None:
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    n_bytes = disconnect.MAX_BODY_BYTES + 1
    writer.write(f"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: {n_bytes}\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.1 413 ")
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("path", ["/api/chat", f"/api/blobs/{DIGEST}"])
async def test_a_client_that_leaves_within_its_body_is_forgotten(
    path: str, client: httpx.AsyncClient, services: ScriptedServices, caplog: pytest.LogCaptureFixture
) -> None:
    _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    writer.write(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await client.get("/")).status_code == 200
    assert services.scripted_models.blobs == {}
    assert services.scripted_inference.asked == []
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_pieces_without_a_stream_are_one_reply(
    client: httpx.AsyncClient, services: ScriptedServices
) -> None:
    services.scripted_inference.script = [
        Chunk(content="a", thinking="t"),
        Chunk(content="b"),
        Completed(reason="length"),
    ]
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": False}
    reply = (await client.post("/api/chat", json=body)).json()
    assert reply["message"] == {"role": "assistant", "content": "ab", "thinking": "t"}
    assert reply["done_reason"] == "length"
