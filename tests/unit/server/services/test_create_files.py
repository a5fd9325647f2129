"""Files that are not taken as they are: parts of a split one, projectors of an old form."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from server.errors import InvalidRequest
from server.services.models import Models
from server.storage.store import ModelStore, StoredModel
from server.types.names import ModelName
from tests.support.hugging_face import SeeingCheckpoint
from tests.support.stores import Recorder, create, digest_of, put
from tests.support.tiny_gguf import Typed, gguf_bytes, split_gguf, tiny_llama

METADATA, TENSORS = tiny_llama()
WHOLE = gguf_bytes(METADATA, TENSORS)
PARTS = split_gguf(METADATA, TENSORS, [4, 0, len(TENSORS) - 4])


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def models(store: ModelStore) -> Models:
    return Models(store, Recorder())


def found(store: ModelStore, name: str) -> StoredModel:
    return store.find(ModelName.parse(name))


def named(*parts: bytes, count: int = 3, name: str = "m") -> dict[str, bytes]:
    return {f"{name}-{i + 1:05}-of-{count:05}.gguf": part for i, part in enumerate(parts)}


async def from_files(models: Models, store: ModelStore, files: dict[str, bytes], **fields: Any) -> list[str]:
    digests = {name: put(store, data) for name, data in files.items()}
    return await create(models, model="m", files=digests, **fields)


async def test_parts_become_the_file_that_was_split(models: Models, store: ModelStore) -> None:
    lines = await from_files(models, store, named(*PARTS))
    assert lines[:4] == ["parsing GGUF"] * 3 + ["merging 3 parts"]
    assert lines[-3:] == [f"creating new layer {digest_of(WHOLE)}", "writing manifest", "success"]
    model = found(store, "m")
    assert model.model_path.read_bytes() == WHOLE
    assert [layer.kind for layer in model.manifest.layers] == ["model"]


async def test_parts_that_were_merged_are_garbage_afterwards(models: Models, store: ModelStore) -> None:
    for part in PARTS:
        store.pin(digest_of(part))
    await from_files(models, store, named(*PARTS))
    for path in store.paths.blobs.iterdir():
        os.utime(path, (1, 1))
    report = store.collect_garbage()
    assert {item.name for item in report.items} == {
        f"blobs/{digest_of(part).replace(':', '-')}" for part in PARTS
    }
    assert found(store, "m").is_complete


async def test_parts_in_a_folder_and_quantized(models: Models, store: ModelStore) -> None:
    files = {f"Q/{name}": data for name, data in named(*PARTS).items()}
    await from_files(models, store, files, quantize="f16")
    assert found(store, "m").details().quantization_level == "F16"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a.gguf": PARTS[0]}, 'split GGUF "a.gguf" must use llama.cpp split filename pattern'),
        (named(*PARTS, count=4), "filename count 4 does not match metadata count 3"),
        (named(*reversed(PARTS)), "filename index 0 does not match metadata index 2"),
        (named(*PARTS[:2]), "has 2 shards, expected 3"),
        (named(PARTS[0], PARTS[1], PARTS[1]), "filename index 2 does not match metadata index 1"),
        (
            named(*PARTS[:2], split_gguf(METADATA, TENSORS, [4, 1, 1])[2]),
            f"has 5 tensors, expected {len(TENSORS)}",
        ),
        (
            named(*PARTS[:2]) | {f"x/{name}": data for name, data in named(*PARTS).items()},
            "split GGUF has duplicate shard index 0",
        ),
    ],
)
async def test_parts_that_do_not_fit_are_refused(
    models: Models, store: ModelStore, files: dict[str, bytes], message: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await from_files(models, store, files)
    assert message in str(caught.value)
    assert store.list_models() == []


async def test_that_a_part_for_pictures_is_left_out_is_told(
    models: Models, store: ModelStore, tmp_path: Path
) -> None:
    files = SeeingCheckpoint("language_model.model", "", head_dim=32, sliding_window=128).write(
        tmp_path / "hf"
    )
    lines = await from_files(models, store, {name: path.read_bytes() for name, path in files.items()})
    assert "leaving out the vision part, only text is converted" in lines
    model = found(store, "m")
    assert [layer.kind for layer in model.manifest.layers if layer.kind in ("model", "projector")] == [
        "model"
    ]
    assert "vision" not in model.listed_capabilities()


async def test_a_projector_without_a_type_gets_the_one_it_has(models: Models, store: ModelStore) -> None:
    metadata = {"general.architecture": "clip", "clip.has_vision_encoder": True}
    old = gguf_bytes(metadata, TENSORS[1:2])
    lines = await from_files(models, store, {"model.gguf": WHOLE, "mmproj.gguf": old})
    assert "updating GGUF projector metadata" in lines
    model = found(store, "m")
    (path,) = model.projector_paths
    assert path.read_bytes() == gguf_bytes({**metadata, "clip.projector_type": "mlp"}, TENSORS[1:2])


@pytest.mark.parametrize("key", ["clip.projector_type", "clip.vision.projector_type"])
async def test_a_projector_with_a_type_stays_as_it_is(models: Models, store: ModelStore, key: str) -> None:
    data = gguf_bytes(
        {"general.architecture": "clip", "clip.has_vision_encoder": True, key: "ldp"}, TENSORS[1:2]
    )
    await from_files(models, store, {"model.gguf": WHOLE, "mmproj.gguf": data})
    assert found(store, "m").projector_paths == (store.blob_path(digest_of(data)),)


async def test_each_file_becomes_the_layer_that_its_header_says(models: Models, store: ModelStore) -> None:
    adapter = gguf_bytes({"general.architecture": "llama", "general.type": "adapter"})
    projector = gguf_bytes({"general.architecture": "clip", "general.type": "mmproj"})
    vision = gguf_bytes({"general.architecture": "v", "v.vision.block_count": 2})
    await from_files(
        models, store, {"a.gguf": WHOLE, "b.gguf": adapter, "c.gguf": projector, "d.gguf": vision}
    )
    kinds = [layer.kind for layer in found(store, "m").manifest.layers]
    assert kinds == ["model", "adapter", "projector", "projector"]


async def test_metadata_of_every_type_survives_a_merge(models: Models, store: ModelStore) -> None:
    odd = {f"x.{kind}": Typed(kind, 1) for kind in ("u8", "i8", "u16", "i16", "u64", "i64", "f64", "bool")}
    odd |= {
        "x.list": Typed("i16", [1, -2, 3]),
        "x.text": ["a", "é", ""],
        "x.none": [],
        "general.alignment": 64,
    }
    parts = split_gguf({**METADATA, **odd}, [], [0, 0])
    await from_files(models, store, named(*parts, count=2))
    data = found(store, "m").model_path.read_bytes()
    whole = gguf_bytes({**METADATA, **odd})
    assert data[: len(whole)] == whole
    assert len(data) % 64 == 0
