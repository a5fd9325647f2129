"""Services whose every answer is written down beforehand: real asynchronous streams, an injected clock.

The workstation's tests drive the screen against them, so that a picture depends on nothing but the script.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass, field

import msgspec

from server.errors import Cancelled, ModelNotFound, OllaError, RequestNotFound
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
    RerankRequest,
    RerankResult,
    Timings,
)
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
from server.types.status import DeviceSnapshot, LogLine, RequestSnapshot, StatusSnapshot
from server.types.upkeep import CheckProgress, GarbageReport
from tests.support.scripted_services import ScriptedTransfers

START = 1_790_000_000.0
"""Unix time at which every script begins."""

GIB = 2**30


class TestClock:
    """A clock that stands until it is moved."""

    __test__ = False

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def model(
    name: str,
    size: float,
    params: str,
    quant: str,
    *capabilities: str,
    ctx: int = 32768,
    age_s: float = 86_400,
) -> ModelSummary:
    """A model of the store; `size` in decimal gigabytes."""
    return ModelSummary(
        name=name,
        namespace="library",
        digest=name.encode().hex().ljust(64, "0")[:64],
        size_bytes=int(size * 1e9),
        modified_at=START - age_s,
        details=ModelDetails(
            family=name.split(":")[0].rstrip("0123456789.-"),
            parameter_size=params,
            quantization_level=quant,
            context_length=ctx,
        ),
        capabilities=capabilities or ("completion",),  # type: ignore[arg-type]
    )


LIBRARY: tuple[ModelSummary, ...] = (
    model("qwen3:14b-q4_K_M", 9.3, "14.8B", "Q4_K_M", "completion", "tools", "thinking", age_s=3600),
    model("llama3.2:3b", 2.0, "3.2B", "Q4_K_M", "completion", "tools", ctx=131072, age_s=7200),
    model("nomic-embed-text:latest", 0.27, "137M", "F16", "embedding", ctx=8192),
    model("gpt-oss:120b", 65.4, "117B", "MXFP4", "completion", "tools", "thinking", age_s=900_000),
    model("spark:latest", 0.0062, "6M", "Q8_0", "completion", ctx=2048, age_s=120),
)

GPUS: tuple[DeviceSnapshot, ...] = (
    DeviceSnapshot(
        name="NVIDIA RTX 4090",
        kind="gpu",
        utilization=0.71,
        memory_used_bytes=int(17.1 * GIB),
        memory_total_bytes=24 * GIB,
        temperature_c=64,
        power_w=212,
        power_limit_w=450,
        clock_mhz=2520,
    ),
    DeviceSnapshot(
        name="NVIDIA RTX 4090",
        kind="gpu",
        utilization=0.18,
        memory_used_bytes=3 * GIB,
        memory_total_bytes=24 * GIB,
        temperature_c=41,
        power_w=60,
        power_limit_w=450,
        clock_mhz=1200,
    ),
    DeviceSnapshot(
        name="AMD EPYC 9354",
        kind="cpu",
        utilization=0.12,
        memory_used_bytes=41 * GIB,
        memory_total_bytes=128 * GIB,
    ),
)
PROCESSOR_ONLY = GPUS[2:]


def running(name: str, **changes: object) -> RunningModel:
    """A loaded model that answers."""
    found = next(entry for entry in LIBRARY if entry.name == name)
    base = RunningModel(
        name=name,
        digest=found.digest,
        details=found.details,
        size_bytes=int(12.3e9),
        size_vram_bytes=int(12.3e9),
        expires_at=START + 252,
        n_ctx=32768,
        n_slots=4,
        n_busy_slots=1,
        n_kv_tokens=3100,
        weights_bytes=int(9.3e9),
        kv_bytes=int(2.7e9),
        tokens_per_s=41.3,
        pid=4242,
    )
    return msgspec.structs.replace(base, **changes)


BUSY_REQUESTS: tuple[RequestSnapshot, ...] = (
    RequestSnapshot(
        id=4,
        route="/v1/chat/completions",
        model="qwen3:14b-q4_K_M",
        client="10.0.0.7 openai-python",
        state="queued",
        started_at=START - 2,
        duration_s=2.0,
        queue_position=1,
        wait_reason="waits for a free slot",
    ),
    RequestSnapshot(
        id=3,
        route="/api/chat",
        model="qwen3:14b-q4_K_M",
        client="127.0.0.1 ollama-python",
        state="decode",
        started_at=START - 12.4,
        duration_s=12.4,
        n_prompt_tokens=812,
        n_output_tokens=412,
        first_token_s=0.38,
        tokens_per_s=41.3,
    ),
    RequestSnapshot(
        id=2,
        route="/api/embed",
        model="nomic-embed-text:latest",
        client="127.0.0.1 curl",
        state="done",
        started_at=START - 30,
        duration_s=0.04,
        n_prompt_tokens=9,
    ),
    RequestSnapshot(
        id=1,
        route="/api/chat",
        model="mistral:7b",
        client="127.0.0.1 curl",
        state="failed",
        started_at=START - 60,
        duration_s=0.01,
        error="model 'mistral:7b' not found",
    ),
)

LOG_LINES: tuple[LogLine, ...] = tuple(
    LogLine(number, START - 60 + number, level, source, text)
    for number, (level, source, text) in enumerate(
        (
            ("info", "server", "listening on 127.0.0.1:11434"),
            ("debug", "server", "store: 5 models"),
            ("info", "engine qwen3:14b-q4_K_M", "loaded 49 of 49 layers on GPU 0"),
            ("warning", "server", "model 'mistral:7b' not found"),
            ("error", "engine gpt-oss:120b", "out of memory: 65.4 GB needed, 20.9 GB free"),
        ),
        start=1,
    )
)


@dataclass
class Script:
    """What the services say, and a record of what they were asked.

    Attributes:
        answer: pieces of the answer to every chat.
        hold: when given, the answer stops before its last piece until the event is set.
        failure: raised in the place of the answer's end.
        asked: orders in the order they came, such as "unload qwen3:14b-q4_K_M".
    """

    clock: TestClock = field(default_factory=TestClock)
    models: list[ModelSummary] = field(default_factory=lambda: list(LIBRARY))
    bundled: list[BundledModel] = field(
        default_factory=lambda: [
            BundledModel(name="spark", title="A tiny chat model", size_bytes=6_200_000, installed=True)
        ]
    )
    devices: tuple[DeviceSnapshot, ...] = GPUS
    device_note: str = ""
    running: list[RunningModel] = field(default_factory=list)
    requests: list[RequestSnapshot] = field(default_factory=list)
    logs: list[LogLine] = field(default_factory=lambda: list(LOG_LINES))
    answer: tuple[str, ...] = ("Hello", ", ", "world", ".")
    thinking: tuple[str, ...] = ()
    hold: asyncio.Event | None = None
    failure: OllaError | None = None
    down: OllaError | None = None
    asked: list[str] = field(default_factory=list)
    chats: list[ChatRequest] = field(default_factory=list)
    n_cancelled: int = 0


def busy_script() -> Script:
    """A server with two loaded models and a few requests."""
    return Script(
        running=[
            running("qwen3:14b-q4_K_M"),
            running(
                "nomic-embed-text:latest",
                size_bytes=int(0.3e9),
                size_vram_bytes=int(0.3e9),
                weights_bytes=int(0.27e9),
                kv_bytes=0,
                expires_at=START + 27,
                n_ctx=8192,
                n_slots=1,
                n_busy_slots=0,
                n_kv_tokens=0,
                tokens_per_s=0.0,
            ),
        ],
        requests=list(BUSY_REQUESTS),
    )


def empty_script() -> Script:
    """A server with an empty store on a machine without GPUs."""
    script = Script(models=[], devices=PROCESSOR_ONLY, device_note="No GPU: NVML is not installed.")
    script.bundled = [msgspec.structs.replace(script.bundled[0], installed=False)]
    return script


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
        yield Completed(reason="stop")

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
        )

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

    async def logs(self, after: int = 0, limit: int = 1000) -> tuple[LogLine, ...]:
        return tuple(line for line in self._script.logs if line.number > after)[-limit:]


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
        self._transfers = ScriptedTransfers()

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


__all__ = ["Cancelled", "Script", "ScriptedServices", "TestClock", "busy_script", "empty_script"]
