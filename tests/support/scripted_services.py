"""Services whose answers a test writes down; they run for real: streams wait, are closed and fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any

from server.errors import BlobNotFound, InvalidRequest, ModelNotFound, NotFound, RequestNotFound
from server.gguf.footprint import ModelFootprint
from server.services.protocols import (
    InferenceService,
    ModelService,
    Services,
    StatusService,
    TransferService,
    UpkeepService,
)
from server.types.generation import (
    ChatRequest,
    Completed,
    EmbedRequest,
    EmbedResult,
    GenerateRequest,
    GenerationEvent,
)
from server.types.history import DeviceTrack, StatusHistory
from server.types.models import (
    BundledModel,
    CreateProgress,
    CreateRequest,
    ModelDetails,
    ModelInfo,
    ModelSummary,
    RunningModel,
    ShowRequest,
)
from server.types.names import ModelName
from server.types.ranking import RerankRequest, RerankResult
from server.types.status import LogLine, RecordedPrompt, StatusSnapshot
from server.types.transfers import (
    PartialDownload,
    TransferInfo,
    TransferKind,
    TransferList,
    TransferProgress,
    TransferRequest,
)
from server.types.upkeep import CheckProgress, Fault, GarbageItem, GarbageReport

Step = GenerationEvent | Exception | asyncio.Event
"""What a stream does next: yield, raise, or wait."""

DETAILS = ModelDetails(format="gguf", family="llama", families=("llama",), parameter_size="1M")


class ScriptedInference(InferenceService):
    """Streams that follow `script`.

    Attributes:
        asked: requests in the order of arrival.
        n_closed: streams that have ended, in whatever way.
        begun: set when a stream has begun.
        closed: set when a stream has ended.
    """

    def __init__(self) -> None:
        self.script: list[Step] = [Completed(reason="stop")]
        self.embedded: EmbedResult | Exception = EmbedResult(vectors=())
        self.ranked: RerankResult | Exception = RerankResult(ranking=())
        self.asked: list[Any] = []
        self.n_closed = 0
        self.begun = asyncio.Event()
        self.closed = asyncio.Event()

    def chat(self, request: ChatRequest) -> AsyncGenerator[GenerationEvent, None]:
        return self._stream(request)

    def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerationEvent, None]:
        return self._stream(request)

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        self.asked.append(request)
        if isinstance(self.embedded, Exception):
            raise self.embedded
        return self.embedded

    async def rerank(self, request: RerankRequest) -> RerankResult:
        self.asked.append(request)
        if isinstance(self.ranked, Exception):
            raise self.ranked
        return self.ranked

    async def tokenize(self, model: str, text: str, *, add_special: bool = True) -> tuple[int, ...]:
        return (*((1,) if add_special and text.startswith("bos:") else ()), *text.encode())

    async def detokenize(self, model: str, tokens: tuple[int, ...]) -> str:
        return bytes(tokens).decode()

    async def _stream(self, request: ChatRequest | GenerateRequest) -> AsyncGenerator[GenerationEvent, None]:
        self.asked.append(request)
        self.begun.set()
        try:
            for step in self.script:
                if isinstance(step, asyncio.Event):
                    await step.wait()
                elif isinstance(step, Exception):
                    raise step
                else:
                    yield step
        finally:
            self.n_closed += 1
            self.closed.set()


class ScriptedModels(ModelService):
    """A store in memory; models are names."""

    def __init__(self) -> None:
        self.names: dict[str, ModelInfo] = {}
        self.blobs: dict[str, bytes] = {}
        self.progress: list[CreateProgress | Exception] = [CreateProgress("success")]
        self.created: list[CreateRequest] = []

    def add(self, name: str) -> None:
        """Have a model."""
        self.names[name] = ModelInfo(name=name, modelfile="FROM x", details=DETAILS, modified_at=1.0)

    async def list_models(self) -> tuple[ModelSummary, ...]:
        return tuple(
            ModelSummary(
                name=name,
                namespace="library",
                digest="0" * 64,
                size_bytes=1,
                modified_at=1.0,
                details=DETAILS,
            )
            for name in self.names
        )

    async def footprints(self) -> dict[str, ModelFootprint]:
        return {"m:latest": ModelFootprint(own_bytes=5, shared_bytes=4, shared_with=("n:latest",))}

    async def show(self, request: ShowRequest) -> ModelInfo:
        if request.model not in self.names:
            raise ModelNotFound(f"{request.model}:latest")
        return self.names[request.model]

    async def copy(self, source: str, destination: str) -> None:
        self._require(source)
        self.names[destination] = self.names[source]

    async def delete(self, name: str) -> None:
        self._require(name)
        del self.names[name]

    async def create(self, request: CreateRequest) -> AsyncGenerator[CreateProgress, None]:
        self.created.append(request)
        for step in self.progress:
            if isinstance(step, Exception):
                raise step
            yield step

    async def has_blob(self, digest: str) -> bool:
        if not digest.startswith("sha256:"):
            raise InvalidRequest("invalid digest format")
        return digest in self.blobs

    async def put_blob(self, digest: str, body: AsyncIterable[bytes]) -> bool:
        data = b"".join([piece async for piece in body])
        if digest in self.blobs:
            return False
        if digest == "sha256:gone":
            raise BlobNotFound("gone")
        self.blobs[digest] = data
        return True

    async def bundled(self) -> tuple[BundledModel, ...]:
        return (BundledModel(name="spark:latest", title="Tiny", size_bytes=1, installed=False),)

    async def install_bundled(self, name: str) -> None:
        if name != "spark":
            raise ModelNotFound(name)
        self.add(name)

    def _require(self, name: str) -> None:
        if name not in self.names:
            raise ModelNotFound(name)


class ScriptedStatus(StatusService):
    """One loaded model without an expiry, one log, and a note of every switch that was used."""

    def __init__(self) -> None:
        self.used: list[tuple[Any, ...]] = []

    async def version(self) -> str:
        return "1.2.3"

    async def running(self) -> tuple[RunningModel, ...]:
        return (
            RunningModel(
                name="m:latest",
                digest="0" * 64,
                details=DETAILS,
                size_bytes=2,
                size_vram_bytes=1,
                expires_at=float("inf"),
                n_ctx=64,
            ),
        )

    async def snapshot(self) -> StatusSnapshot:
        return StatusSnapshot(
            version="1.2.3", started_at=0.0, taken_at=1.0, host="http://h", running=await self.running()
        )

    async def history(self, window_s: int) -> StatusHistory:
        self.used.append(("history", window_s))
        track = DeviceTrack(name="GPU", kind="gpu", memory_total_bytes=9, utilization=(None, 0.5))
        return StatusHistory(period_s=2, end_s=8.0, devices=(track,), n_active=(None, 3), n_ended=(0, 1))

    async def unload(self, name: str) -> None:
        self.used.append(("unload", name))

    async def set_keep_alive(self, name: str, keep_alive_s: float) -> None:
        self.used.append(("keep_alive", name, keep_alive_s))

    async def cancel_request(self, request_id: int) -> None:
        if request_id != 7:
            raise RequestNotFound(f"no open request {request_id}")
        self.used.append(("cancel", request_id))

    async def prompt(self, request_id: int) -> RecordedPrompt:
        if request_id != 7:
            raise RequestNotFound(f"no prompt is kept of request {request_id}")
        return RecordedPrompt(id=7, text="<user>Why?", n_left_out=3)

    async def logs(self, after: int = 0, limit: int = 1000) -> tuple[LogLine, ...]:
        self.used.append(("logs", after, limit))
        return (LogLine(after + 1, 1.0, "info", "server", "hello"),)


class ScriptedUpkeep(UpkeepService):
    """One orphan and one broken blob, and a note of what was asked."""

    def __init__(self) -> None:
        self.used: list[tuple[Any, ...]] = []

    async def collect_garbage(self, age_s: float | None = None, *, dry_run: bool = False) -> GarbageReport:
        self.used.append(("gc", age_s, dry_run))
        item = GarbageItem(kind="blob", name="blobs/x", size_bytes=7, age_s=1.5, owner="me", reason="why")
        return GarbageReport(items=(item,), kept=(item,), is_dry_run=dry_run, note="n")

    async def check(self, *, quick: bool = False) -> AsyncGenerator[CheckProgress, None]:
        self.used.append(("fsck", quick))
        yield CheckProgress(status="reading manifests")
        fault = Fault(severity="error", place="blobs/x", what="is missing", models=("m",), advice="Pull it.")
        yield CheckProgress(status="reading blobs", total_bytes=9, completed_bytes=4, fault=fault)


class ScriptedTransfers(TransferService):
    """One blob in two lines, and a note of every switch that was used."""

    def __init__(self) -> None:
        self.used: list[tuple[Any, ...]] = []
        self.failure: Exception | None = None

    async def pull(self, request: TransferRequest) -> AsyncGenerator[TransferProgress, None]:
        self.used.append(("pull", request))
        yield TransferProgress("pulling manifest")
        if self.failure is not None:
            raise self.failure
        yield TransferProgress("pulling 000000000000", "sha256:" + "0" * 64, 9, 4)
        yield TransferProgress("success")

    async def push(self, request: TransferRequest) -> AsyncGenerator[TransferProgress, None]:
        self.used.append(("push", request))
        yield TransferProgress("retrieving manifest")
        yield TransferProgress("success")

    async def start_transfer(self, kind: TransferKind, request: TransferRequest) -> int:
        ModelName.parse(request.model)
        self.used.append(("start", kind, request))
        return 8

    async def forget_transfer(self, transfer_id: int) -> None:
        self._note("forget", transfer_id)

    async def partials(self) -> tuple[PartialDownload, ...]:
        return (PartialDownload(digest="sha256:" + "0" * 64, model="m:latest", total_bytes=9),)

    async def remove_partial(self, digest: str) -> None:
        if digest != "sha256:" + "0" * 64:
            raise NotFound(f"there is no unfinished download of {digest[:19]}")
        self.used.append(("remove", digest))

    async def transfers(self) -> TransferList:
        info = TransferInfo(id=7, kind="pull", model="m:latest", state="running", remaining_s=1.5)
        return TransferList(transfers=(info,), limit_bytes_per_s=3)

    async def pause_transfer(self, transfer_id: int) -> None:
        self._note("pause", transfer_id)

    async def resume_transfer(self, transfer_id: int) -> None:
        self._note("resume", transfer_id)

    async def cancel_transfer(self, transfer_id: int) -> None:
        self._note("cancel", transfer_id)

    async def move_transfer(self, transfer_id: int, position: int) -> None:
        self._note("move", transfer_id, position)

    async def limit_transfers(self, bytes_per_s: int, transfer_id: int | None = None) -> None:
        self._note("limit", transfer_id or 7, bytes_per_s)

    def _note(self, what: str, transfer_id: int, *more: int) -> None:
        if transfer_id != 7:
            raise NotFound(f"no transfer {transfer_id} is under way")
        self.used.append((what, transfer_id, *more))


class ScriptedServices(Services):
    """All four."""

    def __init__(self) -> None:
        self.scripted_inference = ScriptedInference()
        self.scripted_models = ScriptedModels()
        self.scripted_status = ScriptedStatus()
        self.scripted_upkeep = ScriptedUpkeep()
        self.scripted_transfers = ScriptedTransfers()

    @property
    def inference(self) -> InferenceService:
        return self.scripted_inference

    @property
    def models(self) -> ModelService:
        return self.scripted_models

    @property
    def status(self) -> StatusService:
        return self.scripted_status

    @property
    def upkeep(self) -> UpkeepService:
        return self.scripted_upkeep

    @property
    def transfers(self) -> TransferService:
        return self.scripted_transfers

    async def aclose(self) -> None:
        """Hold nothing."""
