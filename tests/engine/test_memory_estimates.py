"""What a load is expected to take, against what llama.cpp says that it took."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.engine.draft import MAX_DRAFT_TOKENS
from server.engine.logs import LogSink
from server.engine.model import Model, load_model
from server.gguf.memory_shape import MemoryShape, memory_shape
from server.gguf.metadata import GgufMetadata
from server.gguf.reader import read_header
from server.hardware.memory_plan import N_DRAFT_ROWS, MemoryPlan, compute_bytes, kv_bytes
from server.ipc.messages import Loaded
from server.types.generation import LoadParams, ModelPaths
from tests.engine.conftest import MakeEngine
from tests.support.engine_worker import SPARK
from tests.support.tiny_gguf import write_tiny_llama

ROUNDING_BYTES = 1 << 20
"""llama.cpp tells hundredths of a MiB for each buffer, and small graphs have fixed costs."""


def shape_of(path: Path, kv_cache_type: str = "f16") -> MemoryShape:
    return memory_shape(GgufMetadata(read_header(path)), kv_cache_type)


def loaded(make_engine: MakeEngine, log: LogSink, model: Model, **values: object) -> Loaded:
    log.forget_buffers("KV", "RS", "compute")
    engine = make_engine(model, **values)
    engine.context.close()
    return engine.loaded


def check(shape: MemoryShape, plan: MemoryPlan, told: Loaded, *, n_batch: int, flash: bool | None) -> None:
    n_ctx = told.n_ctx
    assert abs(kv_bytes(shape, plan, n_ctx=n_ctx, n_batch=n_batch) - told.kv_bytes) <= ROUNDING_BYTES
    estimate = compute_bytes(shape, plan, n_ctx=n_ctx, n_batch=n_batch, flash_attention=flash)
    assert told.compute_bytes * 0.85 - ROUNDING_BYTES <= estimate
    assert estimate <= told.compute_bytes * 1.15 + ROUNDING_BYTES


def test_rows_of_logits_are_counted_as_the_engine_asks_for_them() -> None:
    assert N_DRAFT_ROWS == MAX_DRAFT_TOKENS


@pytest.mark.parametrize("n_slots", [1, 4, 16])
@pytest.mark.parametrize(
    ("n_ctx", "n_batch", "kv_cache_type", "flash"),
    [
        (1024, 512, "f16", None),
        (700, 512, "f16", None),
        (1024, 512, "q8_0", None),
        (1024, 512, "q4_0", True),
        (1024, 512, "f16", False),
        (1024, 128, "f16", None),
        (300, 1024, "f16", None),
    ],
)
def test_estimates_are_what_llama_cpp_tells(
    make_engine: MakeEngine,
    log: LogSink,
    spark: Model,
    n_slots: int,
    n_ctx: int,
    n_batch: int,
    kv_cache_type: str,
    flash: bool | None,
) -> None:
    told = loaded(
        make_engine,
        log,
        spark,
        n_slots=n_slots,
        n_ctx=n_ctx,
        n_batch=n_batch,
        kv_cache_type=kv_cache_type,
        flash_attention=flash,
    )
    check(shape_of(SPARK, kv_cache_type), MemoryPlan(n_slots=n_slots), told, n_batch=n_batch, flash=flash)


@pytest.mark.parametrize("n_slots", [1, 32])
def test_a_model_of_another_shape(
    make_engine: MakeEngine, log: LogSink, tmp_path: Path, n_slots: int
) -> None:
    path = write_tiny_llama(tmp_path / "tiny.gguf")
    params = LoadParams(n_ctx=256, n_gpu_layers=0)
    model = load_model(ModelPaths(model=str(path)), params, log, lambda fraction: True)
    told = loaded(make_engine, log, model, n_slots=n_slots, n_ctx=256)
    check(shape_of(path), MemoryPlan(n_slots=n_slots), told, n_batch=512, flash=None)
    model.close()
