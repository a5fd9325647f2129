"""Where a worker may keep the states of conversations."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.services.load_plan import MAX_HOST_CACHE_BYTES, LoadPlanner
from server.settings import Settings
from server.storage.config import ModelConfig
from server.storage.manifests import Layer
from server.storage.store import ModelStore
from server.types.generation import StateCacheParams
from server.types.names import ModelName
from tests.support.stores import put
from tests.support.tiny_gguf import gguf_bytes, tiny_llama_bytes

GIB = 1 << 30
ADAPTER = gguf_bytes({"general.type": "adapter", "general.architecture": "llama"})


async def planned(
    tmp_path: Path,
    *,
    embedding: bool = False,
    host_bytes: int = 16 * GIB,
    adapter: bytes = b"",
    settings: Settings | None = None,
    **environ: str,
) -> StateCacheParams:
    store = ModelStore(tmp_path)
    files = {"model": tiny_llama_bytes(), **({"adapter": adapter} if adapter else {})}
    layers = [Layer(kind, put(store, raw), len(raw)) for kind, raw in files.items()]
    store.write_model(ModelName.parse("m"), ModelConfig(model_format="gguf"), layers)
    settings = settings or Settings.load(environ={"HOME": str(tmp_path), **environ})
    planner = LoadPlanner(settings, lambda: 0, lambda: 8 * GIB, lambda: host_bytes)
    target = await planner.plan(store.find(ModelName.parse("m")), {}, embedding=embedding, vision=False)
    assert target.is_same_load(target)
    return target.params.state_cache


async def test_states_are_kept_in_memory_and_in_the_cache_folder(tmp_path: Path) -> None:
    cache = await planned(tmp_path)
    assert cache.host_bytes == 2 * GIB
    assert cache.disk_bytes == 4 * GIB
    assert cache.disk_folder == str(tmp_path / ".cache" / "olla" / "kv")
    assert (await planned(tmp_path, host_bytes=1 << 50)).host_bytes == MAX_HOST_CACHE_BYTES


async def test_the_key_is_that_of_model_and_adapter(tmp_path: Path) -> None:
    plain = await planned(tmp_path / "a")
    adapted = await planned(tmp_path / "b", adapter=ADAPTER)
    assert plain.model_key.startswith("sha256-")
    assert adapted.model_key.startswith(plain.model_key)
    assert adapted.model_key != plain.model_key
    assert plain.model_key == (await planned(tmp_path / "c")).model_key


async def test_settings_bound_and_switch_off(tmp_path: Path) -> None:
    cache = await planned(tmp_path, OLLA_KV_HOST_BYTES="1M", OLLA_KV_DISK_BYTES="2M")
    assert (cache.host_bytes, cache.disk_bytes) == (1 << 20, 2 << 20)
    cache = await planned(tmp_path, OLLA_KV_HOST_BYTES="0", OLLA_KV_DISK_BYTES="0")
    assert (cache.host_bytes, cache.disk_bytes) == (0, 0)


@pytest.mark.parametrize("embedding", [True, False])
async def test_nothing_is_written_for_embeddings_or_without_a_folder(tmp_path: Path, embedding: bool) -> None:
    plain = Settings.load(environ={"HOME": str(tmp_path)})
    settings = plain._replace(cache_dir=tmp_path if embedding else None)
    cache = await planned(tmp_path, settings=settings, embedding=embedding)
    assert (cache.disk_bytes, cache.disk_folder) == (0, "")
