"""The services of a server in another process, over HTTP.

A real Ollama lacks the routes below `/olla`; for one, the status is made of what its own routes tell, it has
no bundled models and no log, and tokens cannot be counted.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing
from typing import Final, TypeVar

import msgspec

from olla_tui.client.http import HttpApi
from olla_tui.client.remote_transfers import RemoteTransfers
from olla_tui.client.shapes import convert, status_snapshot
from server.errors import (
    CapabilityMissing,
    EngineError,
    InvalidRequest,
    ModelNotFound,
    RequestNotFound,
)
from server.gguf.footprint import ModelFootprint
from server.services.protocols import (
    InferenceService,
    ModelService,
    StatusService,
    UpkeepService,
)
from server.types.generation import (
    ChatRequest,
    Completed,
    EmbedRequest,
    EmbedResult,
    GenerateRequest,
    GenerationEvent,
    Rendered,
)
from server.types.history import StatusHistory
from server.types.models import (
    BundledModel,
    CreateProgress,
    CreateRequest,
    ModelInfo,
    ModelSummary,
    RunningModel,
    ShowRequest,
)
from server.types.ranking import RerankRequest, RerankResult
from server.types.status import LogLine, RecordedPrompt, StatusSnapshot
from server.types.upkeep import CheckProgress, GarbageReport
from server.wire.headers import VERSION_HEADER
from server.wire.ollama.create import create_body, create_progress
from server.wire.ollama.inference import chat_body, embed_body, generate_body, keep_alive_value
from server.wire.ollama.models import model_info, model_summaries, running_models, show_body
from server.wire.ollama.replies import chat_events, embed_result, generate_events
from server.wire.rerank import rerank_body, rerank_result

T = TypeVar("T")


class RemoteServices:
    """The services of the server at an address, with `HttpApi`'s errors and those of the protocols."""

    def __init__(self, api: HttpApi) -> None:
        self._api = api
        server = Server(api)
        self.inference: Final = RemoteInference(server)
        self.models: Final = RemoteModels(server)
        self.status: Final = RemoteStatus(server)
        self.upkeep: Final = RemoteUpkeep(server)
        self.transfers: Final = RemoteTransfers(server)

    @classmethod
    def at(cls, base_url: str) -> RemoteServices:
        """Services of the server at an address; nothing is sent yet."""
        return cls(HttpApi(base_url))

    async def aclose(self) -> None:
        """Close the connections; open streams fail with ServerUnreachable."""
        await self._api.aclose()


class Server:
    """One server: its connections, and what kind of server it is."""

    def __init__(self, api: HttpApi) -> None:
        self.api = api
        self._versions: tuple[str, str] | None = None

    async def versions(self) -> tuple[str, str]:
        """Version of Ollama's API, and olla's own, "" for a real Ollama; asked for once."""
        if self._versions is None:
            reply, own = await self.api.header("/api/version", VERSION_HEADER)
            self._versions = (str(reply.get("version", "")) if isinstance(reply, dict) else "", own)
        return self._versions

    async def is_olla(self) -> bool:
        """Whether the server has the routes below `/olla`."""
        return bool((await self.versions())[1])


class RemoteInference(InferenceService):
    """`InferenceService` over HTTP."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def chat(self, request: ChatRequest) -> AsyncGenerator[GenerationEvent, None]:
        return self._events("/api/chat", chat_body(request), request.model, chat_events)

    def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerationEvent, None]:
        return self._events("/api/generate", generate_body(request), request.model, generate_events)

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        reply = await self._server.api.json("POST", "/api/embed", embed_body(request), model=request.model)
        return embed_result(reply)

    async def rerank(self, request: RerankRequest) -> RerankResult:
        reply = await self._server.api.json("POST", "/api/rerank", rerank_body(request), model=request.model)
        return rerank_result(reply)

    async def tokenize(self, model: str, text: str, *, add_special: bool = True) -> tuple[int, ...]:
        reply = await self._of_tokens("tokenize", model, text=text, add_special=add_special)
        return convert(reply.get("tokens"), tuple[int, ...])

    async def detokenize(self, model: str, tokens: tuple[int, ...]) -> str:
        reply = await self._of_tokens("detokenize", model, tokens=tokens)
        return convert(reply.get("text"), str)

    async def _of_tokens(self, verb: str, model: str, **fields: object) -> dict[str, object]:
        if not await self._server.is_olla():
            raise CapabilityMissing("this server is an Ollama, which tells no token ids")
        body = msgspec.json.encode({"model": model, **fields})
        return convert(
            await self._server.api.json("POST", f"/olla/{verb}", body, model=model), dict[str, object]
        )

    async def _events(
        self,
        path: str,
        body: bytes,
        model: str,
        read: Callable[[object], tuple[GenerationEvent, ...]],
    ) -> AsyncGenerator[GenerationEvent, None]:
        is_complete = False
        async with aclosing(self._server.api.lines(path, body, model=model)) as lines:
            async for line in lines:
                for event in read(line):
                    is_complete = isinstance(event, Completed | Rendered)
                    yield event
        if not is_complete:
            raise EngineError("the server ended the answer before it was complete")


class RemoteModels(ModelService):
    """`ModelService` over HTTP."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._api = server.api

    async def list_models(self) -> tuple[ModelSummary, ...]:
        return model_summaries(await self._api.json("GET", "/api/tags"))

    async def footprints(self) -> dict[str, ModelFootprint]:
        if not await self._server.is_olla():
            return {}
        return convert(await self._server.api.json("GET", "/olla/footprints"), dict[str, ModelFootprint])

    async def show(self, request: ShowRequest) -> ModelInfo:
        reply = await self._api.json("POST", "/api/show", show_body(request), model=request.model)
        return model_info(reply, request.model)

    async def copy(self, source: str, destination: str) -> None:
        body = msgspec.json.encode({"source": source, "destination": destination})
        await self._api.json("POST", "/api/copy", body, model=source)

    async def delete(self, name: str) -> None:
        await self._api.json("DELETE", "/api/delete", msgspec.json.encode({"model": name}), model=name)

    async def create(self, request: CreateRequest) -> AsyncGenerator[CreateProgress, None]:
        async with aclosing(
            self._api.lines("/api/create", create_body(request), model=request.base or request.model)
        ) as lines:
            async for line in lines:
                yield create_progress(line)

    async def has_blob(self, digest: str) -> bool:
        return await self._api.status("HEAD", f"/api/blobs/{digest}", allowed=404) != 404

    async def put_blob(self, digest: str, body: AsyncIterable[bytes]) -> bool:
        """Upload a blob; a known one is read and not sent, for Ollama hangs up on those."""
        if await self.has_blob(digest):
            async for _ in body:
                pass
            return False
        return await self._api.status("POST", f"/api/blobs/{digest}", body) == 201

    async def bundled(self) -> tuple[BundledModel, ...]:
        if not await self._server.is_olla():
            return ()
        return convert(await self._api.json("GET", "/olla/bundled"), tuple[BundledModel, ...])

    async def install_bundled(self, name: str) -> None:
        if not await self._server.is_olla():
            raise ModelNotFound(name, hint="This server is an Ollama and ships no models.")
        await self._api.json("POST", f"/olla/bundled/{name}", model=name)


class RemoteStatus(StatusService):
    """`StatusService` over HTTP."""

    def __init__(self, server: Server, *, clock: Callable[[], float] = time.time) -> None:
        self._server = server
        self._api = server.api
        self._clock = clock

    async def version(self) -> str:
        api_version, own = await self._server.versions()
        return own or api_version

    async def running(self) -> tuple[RunningModel, ...]:
        if await self._server.is_olla():
            return (await self.snapshot()).running
        return running_models(await self._api.json("GET", "/api/ps"), self._clock())

    async def snapshot(self) -> StatusSnapshot:
        if await self._server.is_olla():
            return status_snapshot(await self._api.json("GET", "/olla/status"))
        now_s = self._clock()
        return StatusSnapshot(
            version=await self.version(),
            started_at=now_s,
            taken_at=now_s,
            host=self._api.base_url,
            device_note="this server tells nothing of its devices",
            running=running_models(await self._api.json("GET", "/api/ps"), now_s),
        )

    async def history(self, window_s: int) -> StatusHistory:
        if not await self._server.is_olla():
            return StatusHistory(period_s=1, end_s=self._clock())
        return convert(await self._api.json("GET", f"/olla/history?window_s={window_s}"), StatusHistory)

    async def unload(self, name: str) -> None:
        await self._switch("/olla/unload", name, 0)

    async def set_keep_alive(self, name: str, keep_alive_s: float) -> None:
        await self._switch("/olla/keep-alive", name, keep_alive_s)

    async def _switch(self, path: str, name: str, keep_alive_s: float) -> None:
        """Say how long a loaded model stays; to an Ollama by a request without a prompt."""
        body = msgspec.json.encode({"model": name, "keep_alive": keep_alive_value(keep_alive_s)})
        if await self._server.is_olla():
            await self._api.json("POST", path, body, model=name)
            return
        if name not in {model.name for model in await self.running()}:
            raise ModelNotFound(name)
        try:
            await self._api.json("POST", "/api/generate", body, model=name)
        except InvalidRequest:
            # An embedding model completes nothing; the same without inputs does for it.
            await self._api.json("POST", "/api/embed", body, model=name)

    async def cancel_request(self, request_id: int) -> None:
        if not await self._server.is_olla():
            raise RequestNotFound(f"no request {request_id}: this server is an Ollama and lists none")
        await self._api.json("POST", f"/olla/requests/{request_id}/cancel")

    async def prompt(self, request_id: int) -> RecordedPrompt:
        if not await self._server.is_olla():
            raise RequestNotFound(f"no request {request_id}: this server is an Ollama and lists none")
        return convert(await self._api.json("GET", f"/olla/requests/{request_id}/prompt"), RecordedPrompt)

    async def logs(self, after: int = 0, limit: int = 1000) -> tuple[LogLine, ...]:
        if not await self._server.is_olla():
            return ()
        reply = await self._api.json("GET", f"/olla/logs?after={after}&limit={limit}")
        return convert(reply, tuple[LogLine, ...])


class RemoteUpkeep(UpkeepService):
    """`UpkeepService` over HTTP. A real Ollama has nothing like it: CapabilityMissing."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def collect_garbage(self, age_s: float | None = None, *, dry_run: bool = False) -> GarbageReport:
        await self._require_olla()
        body = msgspec.json.encode({"age_s": age_s, "dry_run": dry_run})
        return convert(await self._server.api.json("POST", "/olla/gc", body), GarbageReport)

    async def check(self, *, quick: bool = False) -> AsyncGenerator[CheckProgress, None]:
        await self._require_olla()
        body = msgspec.json.encode({"quick": quick})
        async with aclosing(self._server.api.lines("/olla/fsck", body)) as lines:
            async for line in lines:
                yield convert(line, CheckProgress)

    async def _require_olla(self) -> None:
        if not await self._server.is_olla():
            raise CapabilityMissing(
                "this server is an Ollama, which neither checks nor cleans its store on request",
                hint="Stop it and start `olla serve` on the same store.",
            )
