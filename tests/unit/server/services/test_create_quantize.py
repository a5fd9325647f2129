"""Quantising while a model is made: lines, layers, refusals, and leaving in the middle."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import pytest

from server.errors import InvalidRequest, StoreError
from server.services.models import Models
from server.storage.store import ModelStore
from server.types.models import CreateProgress
from server.types.names import ModelName
from tests.support.stores import Recorder, create, put, steps
from tests.support.tiny_gguf import tiny_llama_bytes

HALF = (Path(__file__).parents[3] / "models" / "spark-f16.gguf").read_bytes()
TINY = tiny_llama_bytes()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
async def models(store: ModelStore) -> Models:
    """A store with an F16 and an F32 model."""
    models = Models(store, Recorder())
    await create(models, model="half", files={"half.gguf": put(store, HALF)})
    await create(models, model="whole", files={"whole.gguf": put(store, TINY)})
    return models


def left_behind(store: ModelStore) -> list[str]:
    return [path.name for path in store.paths.temporary.iterdir()]


async def test_the_weights_are_quantized_and_everything_else_stays(models: Models, store: ModelStore) -> None:
    found = [step async for step in steps(models, model="small", base="half", quantize="q4_K_M", system="Hi")]
    head = "quantizing F16 model to Q4_K_M"
    shares = [step for step in found if step.status == head]
    assert shares[0] == CreateProgress(head, "0000000000000000000", len(HALF), 0)
    completed = [step.completed_bytes for step in shares]
    assert completed == sorted(completed)
    assert completed[-1] == len(HALF)
    rest = [step.status for step in found if step.status != head]
    assert rest[0] == "verifying conversion"
    assert [line.split(" sha256:")[0] for line in rest[1:]] == [
        "creating new layer",
        "creating new layer",
        "writing manifest",
        "success",
    ]
    small = store.find(ModelName.parse("small"))
    assert small.details().quantization_level == "Q4_K_M"
    assert small.details().parent_model == ""
    assert small.metadata().weights_bytes < len(HALF) / 2
    assert small.metadata().chat_template == store.find(ModelName.parse("half")).metadata().chat_template
    assert left_behind(store) == []
    models_now = set(store.paths.blobs.iterdir())
    assert store.collect_garbage(0).items == ()
    await models.delete("small")
    assert len(models_now - set(store.paths.blobs.iterdir())) == 3


async def test_files_are_quantized_too_and_the_upload_is_let_go(store: ModelStore) -> None:
    models = Models(store, Recorder())
    lines = await create(models, model="m", files={"x.gguf": put(store, HALF)}, quantize="Q8_0")
    assert lines[0] == "parsing GGUF"
    assert store.find(ModelName.parse("m")).details().quantization_level == "Q8_0"


async def test_f32_is_quantized_which_ollama_refuses(models: Models, store: ModelStore) -> None:
    await create(models, model="m", base="whole", quantize="f16")
    assert store.find(ModelName.parse("m")).details().quantization_level == "F16"


async def test_the_type_that_it_has_changes_nothing(models: Models, store: ModelStore) -> None:
    lines = await create(models, model="same", base="half", quantize="f16")
    assert lines[-1] == "success"
    same, half = (store.find(ModelName.parse(name)) for name in ("same", "half"))
    assert same.weights_path == half.weights_path


async def test_refusals(models: Models, store: ModelStore) -> None:
    with pytest.raises(StoreError, match="type Q9_9 - supported types are F32, F16, "):
        await create(models, model="x", base="half", quantize="q9_9")
    with pytest.raises(InvalidRequest, match="quantizing to IQ2_XXS needs an importance matrix"):
        await create(models, model="x", base="half", quantize="iq2_xxs")
    await models.install_bundled("spark")
    with pytest.raises(StoreError) as twice:
        await create(models, model="x", base="spark", quantize="q4_K_M")
    assert str(twice.value) == "quantization is only supported for F16, BF16 and F32 models"
    assert "Q8_0" in twice.value.hint


async def test_weights_that_llama_cpp_refuses_give_its_reason_and_leave_nothing(
    store: ModelStore,
) -> None:
    models = Models(store, Recorder())
    strange = tiny_llama_bytes(general__architecture="unheard-of")
    await create(models, model="strange", files={"x.gguf": put(store, strange)})
    with pytest.raises(StoreError, match=r"the model cannot be quantized: .*unheard-of"):
        await create(models, model="x", base="strange", quantize="q8_0")
    assert left_behind(store) == []


async def test_leaving_midway_ends_the_work_and_leaves_nothing(models: Models, store: ModelStore) -> None:
    before = set(store.paths.blobs.iterdir())
    async with aclosing(steps(models, model="small", base="half", quantize="q4_K_M")) as stream:
        async for step in stream:
            if step.total_bytes:
                break
    assert left_behind(store) == []
    assert set(store.paths.blobs.iterdir()) == before


async def test_a_cancelled_create_ends_the_work_and_leaves_nothing(models: Models, store: ModelStore) -> None:
    begun = asyncio.Event()

    async def make() -> None:
        async with aclosing(steps(models, model="small", base="half", quantize="q5_K_M")) as stream:
            async for _ in stream:
                begun.set()

    task = asyncio.create_task(make())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left_behind(store) == []
