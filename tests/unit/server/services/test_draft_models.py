"""A draft model is a layer like the others, and a load counts its memory."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from server.hardware.memory import GIB
from server.services.load_plan import LoadPlanner
from server.services.models import Models
from server.settings import Settings
from server.storage.store import ModelStore, StoredModel
from server.types.models import ShowRequest
from server.types.names import ModelName
from tests.support.stores import Recorder, create, put
from tests.support.tiny_gguf import tiny_llama_bytes

MODEL, DRAFT, OTHER = tiny_llama_bytes(), tiny_llama_bytes(seed=1), tiny_llama_bytes(seed=2)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def models(store: ModelStore) -> Models:
    return Models(store, Recorder())


def found(store: ModelStore, name: str) -> StoredModel:
    return store.find(ModelName.parse(name))


async def with_draft(models: Models, store: ModelStore, name: str = "m") -> StoredModel:
    files, drafts = {"m.gguf": put(store, MODEL)}, {"draft.gguf": put(store, DRAFT)}
    await create(models, model=name, files=files, draft_files=drafts)
    return found(store, name)


async def test_it_has_ollamas_media_type(models: Models, store: ModelStore, tmp_path: Path) -> None:
    await with_draft(models, store)
    (path,) = (path for path in (tmp_path / "models" / "manifests").rglob("*") if path.is_file())
    assert [layer["mediaType"] for layer in json.loads(path.read_bytes())["layers"]] == [
        "application/vnd.ollama.image.model",
        "application/vnd.ollama.image.draft",
    ]


async def test_it_goes_on_to_what_is_made_from_the_model(models: Models, store: ModelStore) -> None:
    model = await with_draft(models, store)
    await create(models, model="child", base="m", system="Be brief.")
    assert found(store, "child").draft_path == model.draft_path
    await models.copy("m", "copy")
    await models.delete("m")
    assert found(store, "copy").draft_path == model.draft_path
    assert model.draft_path is not None and model.draft_path.exists()


async def test_a_new_one_takes_the_place_of_the_inherited_one(models: Models, store: ModelStore) -> None:
    await with_draft(models, store)
    other = put(store, OTHER)
    await create(models, model="child", base="m", draft_files={"draft.gguf": other})
    child = found(store, "child")
    assert [layer.digest for layer in child.manifest.layers if layer.kind == "draft"] == [other]


async def test_the_weights_of_a_model_that_is_there(models: Models, store: ModelStore) -> None:
    await create(models, model="small", files={"m.gguf": put(store, DRAFT)})
    small = found(store, "small").model_path
    digest = small.name.replace("-", ":")
    await create(models, model="big", files={"m.gguf": put(store, MODEL)}, draft_files={"draft.gguf": digest})
    assert found(store, "big").draft_path == small
    info = await models.show(ShowRequest(model="big"))
    assert f"\nDRAFT {small}\n" in info.modelfile
    await models.delete("small")
    assert small.exists()


async def test_a_load_is_told_of_it_and_counts_it(models: Models, store: ModelStore, tmp_path: Path) -> None:
    await create(models, model="plain", files={"m.gguf": put(store, MODEL)})
    await with_draft(models, store)
    settings = Settings.load(environ={"HOME": str(tmp_path), "OLLAMA_NUM_PARALLEL": "4"})
    planner = LoadPlanner(settings, lambda: 0, lambda: 8 * GIB)
    plain = await planner.plan(found(store, "plain"), {}, embedding=False, vision=False)
    model = found(store, "m")
    helped = await planner.plan(model, {}, embedding=False, vision=False)
    path = store.blob_path("sha256:" + hashlib.sha256(DRAFT).hexdigest())
    assert (plain.paths.draft, helped.paths.draft) == ("", str(path))
    assert helped.needed_bytes - plain.needed_bytes > found(store, "m").headers.get(path).weights_bytes
    embedding = await planner.plan(model, {}, embedding=True, vision=False)
    assert embedding.paths.draft == ""


async def test_one_that_cannot_be_read_is_left_to_the_load(
    models: Models, store: ModelStore, tmp_path: Path
) -> None:
    model = await with_draft(models, store)
    assert model.draft_path is not None
    model.draft_path.write_bytes(b"PK" + DRAFT[2:])
    settings = Settings.load(environ={"HOME": str(tmp_path)})
    planner = LoadPlanner(settings, lambda: 0, lambda: 8 * GIB)
    target = await planner.plan(found(store, "m"), {}, embedding=False, vision=False)
    assert target.paths.draft == str(model.draft_path)
