"""What models take on the disk, alone and together, and what their memory follows from."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.services.models import Models
from server.storage.store import ModelStore
from tests.support.stores import Recorder, copy_of_ollama_store, create, upload
from tests.support.tiny_gguf import tiny_llama_bytes

TINY = tiny_llama_bytes()


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(ModelStore(tmp_path / "models"), Recorder())


async def test_weights_of_two_models_are_shared_and_freed_by_neither(models: Models) -> None:
    files = {"tiny.gguf": await upload(models, TINY)}
    await create(models, model="one", files=files)
    alone = (await models.footprints())["one:latest"]
    assert alone.shared_bytes == 0 and alone.own_bytes >= len(TINY)
    assert alone.shape is not None and alone.shape.full_bytes_per_token > 0
    await create(models, model="two", base="one", system="Be brief.")
    found = await models.footprints()
    assert found["one:latest"].shared_bytes >= len(TINY)
    assert found["one:latest"].shared_with == ("two:latest",)
    assert found["two:latest"].shared_with == ("one:latest",)
    assert found["two:latest"].own_bytes < len(TINY)
    sizes = {model.name: model.size_bytes for model in await models.list_models()}
    for name, footprint in found.items():
        assert footprint.own_bytes + footprint.shared_bytes == sizes[name]


async def test_a_model_whose_weights_do_not_read_has_no_shape(tmp_path: Path) -> None:
    models = Models(ModelStore(copy_of_ollama_store(tmp_path)), Recorder())
    found = await models.footprints()
    assert found and all(footprint.shape is None for footprint in found.values())
