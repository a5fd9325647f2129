"""Services whose every answer is written down beforehand: real asynchronous streams, an injected clock.

The workstation's tests drive the screen against them, so that a picture depends on nothing but the script.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable

import msgspec

from server.errors import ModelNotFound, RequestNotFound
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
    Chunk,
    Completed,
    EmbedRequest,
    EmbedResult,
    GenerateRequest,
    GenerationEvent,
    Timings,
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
from server.types.transfers import (
    PartialDownload,
    TransferInfo,
    TransferKind,
    TransferList,
    TransferProgress,
    TransferRequest,
)
from server.types.upkeep import CheckProgress, GarbageReport
from tests.support.workstation_script import FOOTPRINTS, LIBRARY, START, Script, history_of


class ScriptedInference(InferenceService):
    """Answers by the script."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def chat(self, request: ChatRequest) -> AsyncGenerator[GenerationEvent, None]:
        script = self._script
        script.chats.append(request)
        try:
            for piece in script.thinking:
                await asyncio.sleep(0)
                yield Chunk(thinking=piece)
            for index, piece in enumerate(script.answer):
                if script.hold is not None and index == len(script.answer) - 1:
                    await script.hold.wait()
                await asyncio.sleep(0)
                yield Chunk(content=piece)
            if script.failure is not None:
                raise script.failure
            n_tokens = len(script.answer)
            yield Completed(
                reason="stop",
                timings=Timings(
                    n_prompt_tokens=20, n_output_tokens=n_tokens, output_duration_ns=n_tokens * 25_000_000
                ),
            )
        except (GeneratorExit, asyncio.CancelledError):
            script.n_cancelled += 1
            raise

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[GenerationEvent, None]:
        if self._script.hold is not None:
            await self._script.hold.wait()
        if request.prompt:
            yield Chunk(content="a")
            yield Chunk(content="b")
        timings = Timings(n_prompt_tokens=20, prompt_duration_ns=10**8, n_output_tokens=2)
        yield Completed(reason="stop", timings=timings)

    async def embed(self, request: EmbedRequest) -> EmbedResult:
        return EmbedResult(vectors=())

    async def rerank(self, request: RerankRequest) -> RerankResult:
        return RerankResult(ranking=())

    async def tokenize(self, model: str, text: str, *, add_special: bool = True) -> tuple[int, ...]:
        return tuple(range(len(text.split())))

    async def detokenize(self, model: str, tokens: tuple[int, ...]) -> str:
        return " ".join(map(str, tokens))


class ScriptedModels(ModelService):
    """A store in memory."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def list_models(self) -> tuple[ModelSummary, ...]:
        return tuple(self._script.models)

    async def footprints(self) -> dict[str, ModelFootprint]:
        names = [model.name for model in self._script.models]
        return {name: FOOTPRINTS[name] for name in names if name in FOOTPRINTS}

    async def show(self, request: ShowRequest) -> ModelInfo:
        for found in self._script.models:
            if found.name == request.model:
                return ModelInfo(
                    name=found.name,
                    modelfile=f"FROM {found.name}",
                    details=found.details,
                    license="Apache License 2.0\nversion 2",
                    parameters="stop    <|im_end|>\ntemperature    0.6",
                )
        raise ModelNotFound(request.model)

    async def copy(self, source: str, destination: str) -> None:
        self._script.asked.append(f"copy {source} {destination}")

    async def delete(self, name: str) -> None:
        self._script.asked.append(f"delete {name}")
        kept = [entry for entry in self._script.models if entry.name != name]
        if len(kept) == len(self._script.models):
            raise ModelNotFound(name)
        self._script.models = kept

    async def create(self, request: CreateRequest) -> AsyncGenerator[CreateProgress, None]:
        parameters = " ".join(f"{name}={value}" for name, value in request.parameters.items())
        self._script.asked.append(f"create {request.model} {request.base} {request.system!r} {parameters}")
        yield CreateProgress("success")

    async def has_blob(self, digest: str) -> bool:
        return False

    async def put_blob(self, digest: str, body: AsyncIterable[bytes]) -> bool:
        async for _ in body:
            continue
        return True

    async def bundled(self) -> tuple[BundledModel, ...]:
        return tuple(self._script.bundled)

    async def install_bundled(self, name: str) -> None:
        self._script.asked.append(f"install {name}")
        self._script.models.append(LIBRARY[-1])
        self._script.bundled = [
            msgspec.structs.replace(entry, installed=True) for entry in self._script.bundled
        ]


class ScriptedStatus(StatusService):
    """Snapshots of the script."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def version(self) -> str:
        return "0.1.0"

    async def running(self) -> tuple[RunningModel, ...]:
        return tuple(self._script.running)

    async def snapshot(self) -> StatusSnapshot:
        script = self._script
        if script.down is not None:
            raise script.down
        return StatusSnapshot(
            version="0.1.0",
            started_at=START,
            taken_at=script.clock(),
            host="127.0.0.1:11434",
            devices=script.devices,
            device_note=script.device_note,
            running=tuple(script.running),
            requests=tuple(script.requests),
            n_active=sum(request.state == "decode" for request in script.requests),
            n_queued=sum(request.state == "queued" for request in script.requests),
            tokens_per_s=sum(entry.tokens_per_s for entry in script.running),
            records_prompts=bool(script.prompts),
        )

    async def history(self, window_s: int) -> StatusHistory:
        return history_of(self._script, window_s)

    async def unload(self, name: str) -> None:
        self._script.asked.append(f"unload {name}")
        self._script.running = [entry for entry in self._script.running if entry.name != name]

    async def set_keep_alive(self, name: str, keep_alive_s: float) -> None:
        self._script.asked.append(f"keep {name} {keep_alive_s:g}")
        self._script.running = [
            msgspec.structs.replace(entry, expires_at=self._script.clock() + keep_alive_s)
            if entry.name == name
            else entry
            for entry in self._script.running
        ]

    async def cancel_request(self, request_id: int) -> None:
        self._script.asked.append(f"cancel {request_id}")
        if all(request.id != request_id for request in self._script.requests):
            raise RequestNotFound(f"no open request {request_id}")
        self._script.requests = [
            msgspec.structs.replace(request, state="cancelled") if request.id == request_id else request
            for request in self._script.requests
        ]

    async def prompt(self, request_id: int) -> RecordedPrompt:
        self._script.asked.append(f"prompt {request_id}")
        if request_id not in self._script.prompts:
            raise RequestNotFound(f"no prompt is kept of request {request_id}")
        return RecordedPrompt(id=request_id, text=self._script.prompts[request_id])

    async def logs(self, after: int = 0, limit: int = 1000) -> tuple[LogLine, ...]:
        return tuple(line for line in self._script.logs if line.number > after)[-limit:]


class ScriptedTransfers(TransferService):
    """A queue that stands still; what is asked of it is written down and carried out."""

    def __init__(self, script: Script) -> None:
        self._script = script

    async def pull(self, request: TransferRequest) -> AsyncGenerator[TransferProgress, None]:
        self._script.asked.append(f"pull {request.model}")
        yield TransferProgress("success")

    async def push(self, request: TransferRequest) -> AsyncGenerator[TransferProgress, None]:
        self._script.asked.append(f"push {request.model}")
        yield TransferProgress("success")

    async def start_transfer(self, kind: TransferKind, request: TransferRequest) -> int:
        script = self._script
        script.asked.append(f"start {kind} {request.model}{' insecure' if request.insecure else ''}")
        info = TransferInfo(
            id=1 + max((info.id for info in script.transfers), default=0),
            kind=kind,
            model=request.model,
            state="waiting",
        )
        script.transfers.append(info)
        return info.id

    async def transfers(self) -> TransferList:
        script = self._script
        return TransferList(transfers=tuple(script.transfers), limit_bytes_per_s=script.transfer_limit)

    async def pause_transfer(self, transfer_id: int) -> None:
        self._change(f"pause {transfer_id}", transfer_id, state="paused", bytes_per_s=0.0)

    async def resume_transfer(self, transfer_id: int) -> None:
        self._change(f"resume {transfer_id}", transfer_id, state="running")

    async def cancel_transfer(self, transfer_id: int) -> None:
        self._change(f"cancel transfer {transfer_id}", transfer_id, state="cancelled")

    async def forget_transfer(self, transfer_id: int) -> None:
        self._script.asked.append(f"forget {transfer_id}")
        self._script.transfers = [info for info in self._script.transfers if info.id != transfer_id]

    async def move_transfer(self, transfer_id: int, position: int) -> None:
        script = self._script
        script.asked.append(f"move {transfer_id} {position}")
        moved = next(info for info in script.transfers if info.id == transfer_id)
        script.transfers.remove(moved)
        script.transfers.insert(position, moved)

    async def limit_transfers(self, bytes_per_s: int, transfer_id: int | None = None) -> None:
        if transfer_id is None:
            self._script.asked.append(f"limit all {bytes_per_s}")
            self._script.transfer_limit = bytes_per_s
        else:
            asked = f"limit {transfer_id} {bytes_per_s}"
            self._change(asked, transfer_id, limit_bytes_per_s=bytes_per_s)

    async def partials(self) -> tuple[PartialDownload, ...]:
        return tuple(self._script.partials)

    async def remove_partial(self, digest: str) -> None:
        self._script.asked.append(f"remove {digest[:10]}")
        self._script.partials = [part for part in self._script.partials if part.digest != digest]

    def _change(self, asked: str, transfer_id: int, **changes: object) -> None:
        self._script.asked.append(asked)
        self._script.transfers = [
            msgspec.structs.replace(info, **changes) if info.id == transfer_id else info
            for info in self._script.transfers
        ]


class ScriptedUpkeep(UpkeepService):
    """A clean store."""

    async def collect_garbage(self, age_s: float | None = None, *, dry_run: bool = False) -> GarbageReport:
        return GarbageReport(is_dry_run=dry_run)

    async def check(self, *, quick: bool = False) -> AsyncGenerator[CheckProgress, None]:
        yield CheckProgress(status="reading manifests")


class ScriptedServices(Services):
    """All services of one script."""

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self._inference = ScriptedInference(self.script)
        self._models = ScriptedModels(self.script)
        self._status = ScriptedStatus(self.script)
        self._upkeep = ScriptedUpkeep()
        self._transfers = ScriptedTransfers(self.script)

    @property
    def inference(self) -> InferenceService:
        return self._inference

    @property
    def models(self) -> ModelService:
        return self._models

    @property
    def status(self) -> StatusService:
        return self._status

    @property
    def upkeep(self) -> UpkeepService:
        return self._upkeep

    @property
    def transfers(self) -> TransferService:
        return self._transfers

    async def aclose(self) -> None:
        if self.script.hold is not None:
            self.script.hold.set()
