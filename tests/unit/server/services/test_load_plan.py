"""What a load is planned from: files that were looked at before llama.cpp gets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.errors import BadModelFile
from server.services.load_plan import MAX_THREADS, LoadPlanner
from server.settings import Settings
from server.storage.config import ModelConfig
from server.storage.manifests import Layer
from server.storage.store import ModelStore
from server.types.generation import ModelPaths
from server.types.names import ModelName
from tests.support.stores import put
from tests.support.tiny_gguf import gguf_bytes, tiny_llama_bytes

GIB = 1 << 30
FILES = {
    "model": tiny_llama_bytes(),
    "projector": gguf_bytes({"general.type": "mmproj", "general.architecture": "clip"}),
    "adapter": gguf_bytes({"general.type": "adapter", "general.architecture": "llama"}),
}


def planner(tmp_path: Path) -> LoadPlanner:
    return LoadPlanner(Settings.load(environ={"HOME": str(tmp_path)}), lambda: 0, lambda: 8 * GIB)


def store_with(tmp_path: Path, files: dict[str, bytes]) -> ModelStore:
    store = ModelStore(tmp_path)
    layers = [Layer(kind, put(store, raw), len(raw)) for kind, raw in files.items()]
    store.write_model(ModelName.parse("m"), ModelConfig(model_format="gguf"), layers)
    return store


def contents(paths: ModelPaths) -> list[bytes]:
    return [Path(path).read_bytes() for path in (paths.model, paths.projector, *paths.adapters)]


async def test_every_file_of_a_whole_model_is_handed_on(tmp_path: Path) -> None:
    stored = store_with(tmp_path, FILES).find(ModelName.parse("m"))
    target = await planner(tmp_path).plan(stored, {}, embedding=False, vision=True)
    assert contents(target.paths) == list(FILES.values())


async def test_what_is_loaded_beside_the_model_counts(tmp_path: Path) -> None:
    plans = planner(tmp_path)
    plain = store_with(tmp_path / "plain", {"model": FILES["model"]}).find(ModelName.parse("m"))
    whole = store_with(tmp_path / "whole", FILES).find(ModelName.parse("m"))
    needed = {
        (name, embedding): (await plans.plan(stored, {}, embedding=embedding, vision=False)).needed_bytes
        for name, stored in (("plain", plain), ("whole", whole))
        for embedding in (False, True)
    }
    n_projector, n_adapter = len(FILES["projector"]), len(FILES["adapter"])
    assert needed["whole", False] - needed["plain", False] == n_projector + n_adapter
    assert needed["whole", True] - needed["plain", True] == n_adapter  # embeddings need no projector


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("damage", ["cut", "other magic", "gone bad after the first load"])
async def test_no_damaged_file_is_handed_to_llama_cpp(tmp_path: Path, kind: str, damage: str) -> None:
    raw = FILES[kind]
    broken = raw[:-1] if len(raw) > 1000 else raw[:40]
    if damage == "other magic":
        broken = b"PK" + raw[2:]
    store = store_with(tmp_path, FILES | {kind: raw if damage.startswith("gone") else broken})
    stored = store.find(ModelName.parse("m"))
    plans = planner(tmp_path)
    if damage.startswith("gone"):
        await plans.plan(stored, {}, embedding=False, vision=True)
        (layer,) = (layer for layer in stored.manifest.layers if layer.kind == kind)
        store.blob_path(layer.digest).write_bytes(broken)
    with pytest.raises(BadModelFile):
        await plans.plan(stored, {}, embedding=False, vision=True)


async def test_slots_and_their_memory_follow_from_the_model_and_the_machine(tmp_path: Path) -> None:
    """What the test model takes for a token is 64 bytes, and its context 256 tokens: 16 KiB a slot."""
    stored = store_with(tmp_path, FILES).find(ModelName.parse("m"))
    settings = Settings.load(environ={"HOME": str(tmp_path)})
    plans = {
        total: [
            (
                await LoadPlanner(settings, lambda: 0, lambda: total).plan(  # noqa: B023
                    stored, {}, embedding=False, vision=False
                )
            ).params
            for _ in range(2)
        ]
        for total in (8 * GIB, 2 << 20, 0)
    }
    assert all(first == second for first, second in plans.values())
    slots = {total: (params[0].n_slots, params[0].n_pool_cells) for total, params in plans.items()}
    assert slots == {8 * GIB: (32, 0), 2 << 20: (30, 0), 0: (4, 256)}


async def test_a_number_of_slots_that_was_asked_for_is_kept(tmp_path: Path) -> None:
    stored = store_with(tmp_path, FILES).find(ModelName.parse("m"))
    settings = Settings.load(environ={"HOME": str(tmp_path), "OLLAMA_NUM_PARALLEL": "3"})
    planner = LoadPlanner(settings, lambda: 0, lambda: 8 * GIB)
    target = await planner.plan(stored, {}, embedding=False, vision=False)
    assert (target.params.n_slots, target.params.n_pool_cells) == (3, 0)
    assert target.needed_bytes > stored.metadata().weights_bytes
    embedding = await planner.plan(stored, {}, embedding=True, vision=False)
    assert (embedding.params.n_slots, embedding.params.n_pool_cells) == (1, 0)


@pytest.mark.parametrize(("asked", "n_threads"), [(3, 3), (2**31 - 1, MAX_THREADS)])
async def test_no_more_threads_than_ggml_survives(tmp_path: Path, asked: int, n_threads: int) -> None:
    stored = store_with(tmp_path, FILES).find(ModelName.parse("m"))
    target = await planner(tmp_path).plan(stored, {"num_thread": asked}, embedding=False, vision=True)
    assert target.params.n_threads == n_threads
