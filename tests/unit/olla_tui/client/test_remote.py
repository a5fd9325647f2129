"""The services over HTTP: requests in Ollama's JSON, replies as types, and servers without our routes."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
import pytest

from olla_tui.client.remote import RemoteServices
from server.errors import CapabilityMissing, EngineError, ModelNotFound, RequestNotFound
from server.types.generation import ChatRequest, Chunk, Completed, EmbedRequest, GenerateRequest, Timings
from server.types.messages import Message, ToolCall
from server.types.models import CreateProgress, CreateRequest, ModelDetails, RunningModel, ShowRequest
from server.types.status import StatusSnapshot
from tests.support.json_server import JsonServer, Reply

OLLAMA = Reply(body={"version": "0.12.0"})
MODEL = {
    "name": "spark:latest",
    "model": "spark:latest",
    "modified_at": "2026-01-02T03:04:05.123456789+01:00",
    "size": 6300000,
    "digest": "ab" * 32,
    "details": {"format": "gguf", "family": "llama", "families": ["llama"], "parameter_size": "5.77M"},
}
RUNNING = {**MODEL, "expires_at": "2318-10-09T01:02:03Z", "size_vram": 0, "context_length": 2048}
DONE = {"model": "m", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}


def line(content: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "message": {"role": "assistant", "content": content, **more}, "done": False}


async def test_a_chat_is_streamed() -> None:
    call = {"id": "call_1", "function": {"index": 0, "name": "f", "arguments": {"x": 1}}}
    replies = Reply(
        lines=(line("", thinking="hm"), line("a"), line("", tool_calls=[call]), {**DONE, "eval_count": 3})
    )
    with JsonServer({"POST /api/chat": replies}).running() as server:
        services = RemoteServices.at(server.url)
        request = ChatRequest(model="m", messages=(Message(role="user", content="Hi"),), think=True)
        async with aclosing(services.inference.chat(request)) as stream:
            events = [event async for event in stream]
        await services.aclose()
    assert events == [
        Chunk(thinking="hm"),
        Chunk(content="a"),
        Chunk(tool_calls=(ToolCall("f", {"x": 1}, "call_1", 0),)),
        Completed(reason="stop", timings=Timings(n_output_tokens=3)),
    ]
    assert server.asked[0].body["messages"] == [{"role": "user", "content": "Hi"}]
    assert server.asked[0].body["think"] is True


async def test_an_error_line_and_a_missing_end_are_errors() -> None:
    replies = [Reply(lines=(line("a"), {"error": "it broke"})), Reply(lines=(line("a"),))]
    with JsonServer({"POST /api/chat": replies}).running() as server:
        services = RemoteServices.at(server.url)
        for text in ("^it broke$", "before it was complete"):
            with pytest.raises(EngineError, match=text):
                async with aclosing(services.inference.chat(ChatRequest(model="m"))) as stream:
                    assert await anext(stream) == Chunk(content="a")
                    await anext(stream)
        await services.aclose()


async def test_generate_and_embed() -> None:
    generated = {"model": "m", "response": "", "done": True, "done_reason": "load"}
    embedded = {"model": "m", "embeddings": [[0.5, -1.0]], "prompt_eval_count": 4}
    script: dict[str, Reply | list[Reply]] = {
        "POST /api/generate": Reply(body=generated),
        "POST /api/embed": Reply(body=embedded),
    }
    with JsonServer(script).running() as server:
        services = RemoteServices.at(server.url)
        async with aclosing(
            services.inference.generate(GenerateRequest(model="m", keep_alive_s=math.inf))
        ) as stream:
            assert [event async for event in stream] == [Completed(reason="load")]
        result = await services.inference.embed(EmbedRequest(model="m", inputs=("a",)))
        await services.aclose()
    assert server.asked[0].body["keep_alive"] == -1
    assert (len(result.vectors[0]), result.n_prompt_tokens) == (8, 4)


async def test_models() -> None:
    show = {
        "details": {"family": "llama"},
        "model_info": {"general.architecture": "llama"},
        "modelfile": "FROM x",
    }
    script: dict[str, Reply | list[Reply]] = {
        "GET /api/tags": Reply(body={"models": [MODEL]}),
        "POST /api/show": [Reply(body=show), Reply(404, {"error": "model 'n:latest' not found"})],
        "POST /api/copy": Reply(),
        "DELETE /api/delete": Reply(),
        "POST /api/create": Reply(lines=({"status": "writing manifest"}, {"status": "success"})),
    }
    with JsonServer(script).running() as server:
        services = RemoteServices.at(server.url)
        (model,) = await services.models.list_models()
        assert (model.name, model.size_bytes, model.namespace) == ("spark:latest", 6300000, "library")
        assert (await services.models.show(ShowRequest(model="m"))).modelfile == "FROM x"
        with pytest.raises(ModelNotFound, match=r"^model 'n:latest' not found$"):
            await services.models.show(ShowRequest(model="n"))
        await services.models.copy("a", "b")
        await services.models.delete("b")
        async with aclosing(services.models.create(CreateRequest(model="x", base="m"))) as lines:
            assert [item async for item in lines] == [
                CreateProgress("writing manifest"),
                CreateProgress("success"),
            ]
        await services.aclose()
    assert server.asked[3].body == {"source": "a", "destination": "b"}
    assert server.asked[4].body == {"model": "b"}


async def pieces() -> AsyncGenerator[bytes, None]:
    yield b"\x00ab"
    yield b"c"


async def test_a_blob_is_sent_once() -> None:
    path = "/api/blobs/sha256:" + "0" * 64
    script: dict[str, Reply | list[Reply]] = {
        f"HEAD {path}": [Reply(404), Reply()],
        f"POST {path}": Reply(201),
    }
    with JsonServer(script).running() as server:
        services = RemoteServices.at(server.url)
        assert await services.models.put_blob("sha256:" + "0" * 64, pieces())
        assert not await services.models.put_blob("sha256:" + "0" * 64, pieces())
        await services.aclose()
    assert [asked.body for asked in server.asked if asked.method == "POST"] == [b"\x00abc"]


async def test_the_status_of_a_real_ollama() -> None:
    script: dict[str, Reply | list[Reply]] = {
        "GET /api/version": OLLAMA,
        "GET /api/ps": Reply(body={"models": [RUNNING]}),
        "POST /api/generate": Reply(body={"done": True}),
    }
    with JsonServer(script).running() as server:
        services = RemoteServices.at(server.url)
        snapshot = await services.status.snapshot()
        assert (snapshot.version, snapshot.host) == ("0.12.0", server.url)
        (model,) = snapshot.running
        assert (model.name, model.n_ctx, model.expires_at) == ("spark:latest", 2048, math.inf)
        assert await services.status.logs() == ()
        assert await services.models.bundled() == ()
        await services.status.set_keep_alive("spark:latest", 60)
        with pytest.raises(ModelNotFound):
            await services.status.unload("other:latest")
        with pytest.raises(RequestNotFound):
            await services.status.cancel_request(1)
        with pytest.raises(CapabilityMissing):
            await services.inference.tokenize("m", "a")
        with pytest.raises(ModelNotFound):
            await services.models.install_bundled("spark")
        await services.aclose()
    assert {"model": "spark:latest", "keep_alive": 60.0} in [asked.body for asked in server.asked]


async def test_the_status_of_an_olla_comes_whole_over_json() -> None:
    running = RunningModel(
        name="spark:latest",
        digest="ab",
        details=ModelDetails(family="llama"),
        size_bytes=1,
        size_vram_bytes=0,
        expires_at=math.inf,
        n_ctx=2048,
    )
    snapshot = StatusSnapshot(version="0.1.0", started_at=1.5, taken_at=2.5, host="h", running=(running,))
    script: dict[str, Reply | list[Reply]] = {
        "GET /api/version": Reply(body={"version": "0.32.0"}, headers=(("olla-version", "0.1.0"),)),
        "GET /olla/status": Reply(body=msgspec.json.encode(snapshot).decode()),
        "GET /olla/logs?after=3&limit=10": Reply(
            body=[{"number": 4, "time": 1.0, "level": "info", "source": "s", "text": "t"}]
        ),
        "POST /olla/tokenize": Reply(body={"tokens": [1, 2]}),
        "POST /olla/requests/7/cancel": Reply(404, {"error": "no request 7"}),
    }
    with JsonServer(script).running() as server:
        services = RemoteServices.at(server.url)
        assert await services.status.version() == "0.1.0"
        assert await services.status.snapshot() == snapshot
        assert await services.status.running() == (running,)
        assert [line.number for line in await services.status.logs(3, 10)] == [4]
        assert await services.inference.tokenize("m", "a") == (1, 2)
        with pytest.raises(RequestNotFound, match="no request 7"):
            await services.status.cancel_request(7)
        await services.aclose()
