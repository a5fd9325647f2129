"""What a server of the workstation's tests has and says: models, devices, requests, an answer."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

import msgspec

from olla_tui.client.bench_figures import Decode, Figures, Machine, Prefill
from olla_tui.state.bench import BenchEntry
from server.errors import OllaError
from server.gguf.footprint import ModelFootprint
from server.gguf.memory_shape import MemoryShape
from server.types.generation import ChatRequest
from server.types.history import DeviceTrack, StatusHistory
from server.types.models import BundledModel, DevicePart, ModelDetails, ModelSummary, RunningModel
from server.types.status import DeviceSnapshot, LogLine, RequestSnapshot
from server.types.transfers import PartialDownload, TransferInfo

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


DEVICE_PARTS: tuple[DevicePart, ...] = (
    DevicePart(
        device="CUDA0",
        description="NVIDIA RTX 4090",
        kind="gpu",
        n_layers=41,
        weights_bytes=int(9.1e9),
        kv_bytes=int(2.7e9),
        compute_bytes=int(0.3e9),
    ),
    DevicePart(device="CPU", weights_bytes=int(0.2e9)),
)
"""Where the larger model of the busy script lies."""

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


FOOTPRINTS: dict[str, ModelFootprint] = {
    "qwen3:14b-q4_K_M": ModelFootprint(
        own_bytes=1200,
        shared_bytes=int(9.3e9),
        shared_with=("coder:latest",),
        shape=MemoryShape(
            full_bytes_per_token=163_840,
            weights_bytes=int(9.28e9),
            n_vocab=151_936,
            n_embd=5120,
            n_ff=17_408,
            n_head=40,
        ),
    ),
    "gpt-oss:120b": ModelFootprint(
        own_bytes=int(65.4e9),
        shape=MemoryShape(
            full_bytes_per_token=36_864,
            window_bytes_per_token=36_864,
            n_window=128,
            weights_bytes=int(65.3e9),
            n_vocab=201_088,
            n_embd=2880,
            n_ff=11_520,
            n_head=64,
        ),
    ),
    "spark:latest": ModelFootprint(
        own_bytes=6_200_000,
        shape=MemoryShape(full_bytes_per_token=6_144, weights_bytes=6_000_000, n_vocab=4096, n_embd=256),
    ),
}

TRANSFERS: tuple[TransferInfo, ...] = (
    TransferInfo(
        id=3,
        kind="pull",
        model="gemma3:27b",
        state="running",
        status="pulling e796792eba26",
        total_bytes=17_400_000_000,
        completed_bytes=10_600_000_000,
        bytes_per_s=84e6,
        remaining_s=81.0,
        limit_bytes_per_s=100_000_000,
    ),
    TransferInfo(
        id=4,
        kind="pull",
        model="llama4:scout",
        state="paused",
        status="pulling 9d507a36062c",
        total_bytes=67_000_000_000,
        completed_bytes=8_000_000_000,
    ),
    TransferInfo(id=5, kind="push", model="me/spark:latest", state="waiting", status=""),
    TransferInfo(id=6, kind="pull", model="phi4:14b", state="waiting", status=""),
    TransferInfo(
        id=2,
        kind="pull",
        model="mistral:7c",
        state="failed",
        status="pull model manifest: file does not exist",
    ),
    TransferInfo(
        id=1,
        kind="pull",
        model="qwen3:14b-q4_K_M",
        state="done",
        status="success",
        total_bytes=9_300_000_000,
        completed_bytes=9_300_000_000,
    ),
)

PARTIALS: tuple[PartialDownload, ...] = (
    PartialDownload(
        digest="sha256:" + "a" * 64,
        model="gpt-oss:20b",
        total_bytes=13_000_000_000,
        completed_bytes=4_100_000_000,
        size_bytes=4_100_000_000,
        modified_at=START - 7200,
    ),
    PartialDownload(
        digest="sha256:" + "b" * 64,
        model="gpt-oss:20b",
        total_bytes=1_000_000,
        completed_bytes=500_000,
        size_bytes=500_000,
        modified_at=START - 7200,
    ),
    PartialDownload(
        digest="sha256:" + "c" * 64,
        model="gemma3:27b",
        total_bytes=17_400_000_000,
        completed_bytes=10_600_000_000,
        modified_at=START,
        is_in_use=True,
    ),
)


def bench_entry(at: float = START, model: str = "m:latest", decode: float = 40.0) -> BenchEntry:
    """A measurement of a model."""
    figures = Figures(
        model=model,
        quantization="Q8_0",
        n_parameters=10**9,
        weights_bytes=10**9,
        machine=Machine(processor="EPYC", n_slots=4, n_ctx=4096),
        load_s=1.5,
        first_token_s=0.04,
        n_prompt_tokens=512,
        prefill_tokens_per_s=900.0,
        decode=(
            Decode(n_clients=1, tokens_per_s=decode, first_token_s=0.04),
            Decode(n_clients=8, tokens_per_s=3 * decode, first_token_s=0.2),
        ),
        ceiling_tokens_per_s=80.0,
        prefill_by_length=(
            Prefill(n_tokens=128, tokens_per_s=600.0),
            Prefill(n_tokens=2048, tokens_per_s=850.0),
        ),
    )
    return BenchEntry(measured_at=at, figures=figures)


def history_of(script: Script, window_s: int) -> StatusHistory:
    """Waves of load over the window, as if the server had seen the second half of it."""
    period_s = 2 if window_s <= 600 else 20 if window_s <= 7200 else 120
    n_slots = window_s // period_s
    waves = [None if n < n_slots // 2 else (1 + math.sin(12 * n / n_slots)) / 2 for n in range(n_slots)]
    tracks = [
        DeviceTrack(
            name=device.name,
            kind=device.kind,
            memory_total_bytes=device.memory_total_bytes,
            utilization=tuple(None if w is None else round(w * device.utilization, 3) for w in waves),
            memory_used_bytes=tuple(None if w is None else device.memory_used_bytes for w in waves),
            power_w=tuple(
                None if w is None or device.power_w is None else round(w * device.power_w) for w in waves
            ),
            temperature_c=tuple(None if w is None else device.temperature_c for w in waves),
        )
        for device in script.devices
    ]
    return StatusHistory(
        period_s=period_s,
        end_s=script.clock(),
        devices=tuple(tracks),
        n_active=tuple(None if w is None else round(3 * w) for w in waves),
        n_queued=tuple(None if w is None else round(w) for w in waves),
        tokens_per_s=tuple(None if w is None else round(41.3 * w, 1) for w in waves),
        n_ended=tuple(None if w is None else 1 for w in waves),
        n_failed=tuple(None if w is None else int(w > 0.999) for w in waves),
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
    transfers: list[TransferInfo] = field(default_factory=list)
    partials: list[PartialDownload] = field(default_factory=list)
    transfer_limit: int = 0
    logs: list[LogLine] = field(default_factory=lambda: list(LOG_LINES))
    answer: tuple[str, ...] = ("Hello", ", ", "world", ".")
    thinking: tuple[str, ...] = ()
    prompts: dict[int, str] = field(default_factory=dict)
    hold: asyncio.Event | None = None
    failure: OllaError | None = None
    down: OllaError | None = None
    asked: list[str] = field(default_factory=list)
    chats: list[ChatRequest] = field(default_factory=list)
    n_cancelled: int = 0


def busy_script() -> Script:
    """A server with two loaded models, a few requests and a queue of transfers."""
    return Script(
        running=[
            running("qwen3:14b-q4_K_M", n_layers=41, n_gpu_layers=41, device_parts=DEVICE_PARTS),
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
                n_layers=13,
                n_gpu_layers=13,
                device_parts=(
                    DevicePart(device="CUDA1", kind="gpu", n_layers=13, weights_bytes=int(0.27e9)),
                ),
            ),
        ],
        requests=list(BUSY_REQUESTS),
        transfers=list(TRANSFERS),
        partials=list(PARTIALS),
    )


def empty_script() -> Script:
    """A server with an empty store on a machine without GPUs."""
    script = Script(models=[], devices=PROCESSOR_ONLY, device_note="No GPU: NVML is not installed.")
    script.bundled = [msgspec.structs.replace(script.bundled[0], installed=False)]
    return script
