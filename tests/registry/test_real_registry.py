"""Pulls and pushes with a real registry, behind a proxy that breaks its replies."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from server.errors import TransferFailed
from server.storage.config import ModelConfig
from server.storage.manifests import Layer
from server.types.names import ModelName
from tests.support.docker_registry import docker_registry, needs_registry
from tests.support.fault_proxy import FAULTS, served_faults
from tests.support.transfers import Fixture

KINDS = tuple(kind for kind in FAULTS if kind not in ("stall", "gzip"))
N_RUNS = 20


def add_model(fixture: Fixture, model: str, data: bytes) -> None:
    """Put a model of these weights into the fixture's store."""
    blob = fixture.store.put_bytes(data)
    layer = Layer("model", blob.digest, blob.size_bytes)
    fixture.store.write_model(ModelName.parse(model), ModelConfig(model_format="gguf"), [layer])


@needs_registry
async def test_whatever_the_network_does_models_go_there_and_come_back(tmp_path: Path) -> None:
    sender = Fixture(tmp_path / "sender")
    with docker_registry(tmp_path) as host:
        for seed in range(N_RUNS):
            rng = random.Random(seed)
            data = rng.randbytes(rng.randrange(1, 150_000))
            add_model(sender, f"{host}/me/m{seed}", data)
            await sender.push(f"{host}/me/m{seed}")
            receiver = Fixture(tmp_path / f"receiver{seed}")
            with served_faults(host, seed, 0.3, KINDS) as proxy:
                model = f"{proxy.host}/me/m{seed}"
                for attempt in range(20):
                    try:
                        lines = await receiver.pull(model)
                        break
                    except TransferFailed:
                        assert attempt < 19
            assert lines[-1].status == "success"
            (layer,) = receiver.store.find(ModelName.parse(model)).manifest.layers
            assert receiver.store.paths.blob(layer.digest).read_bytes() == data
            await receiver.transfers.aclose()
    await sender.transfers.aclose()


@needs_registry
async def test_a_blob_of_another_repository_is_mounted(tmp_path: Path) -> None:
    fixture = Fixture(tmp_path / "store")
    data = random.Random(1).randbytes(200_000)
    with docker_registry(tmp_path) as host:
        add_model(fixture, f"{host}/me/base", data)
        await fixture.push(f"{host}/me/base")
        blob = fixture.store.put_bytes(data)
        layer = Layer("model", blob.digest, blob.size_bytes, source=f"{host}/me/base")
        config = ModelConfig(model_format="gguf", model_family="other")
        fixture.store.write_model(ModelName.parse(f"{host}/me/child"), config, [layer])
        lines = await fixture.push(f"{host}/me/child")
        # Mounted: it is done without a number on the way.
        assert [line.completed_bytes for line in lines if line.digest == blob.digest] == [len(data)]
        other = Fixture(tmp_path / "other")
        await other.pull(f"{host}/me/child")
        assert other.store.paths.blob(blob.digest).read_bytes() == data
    await fixture.transfers.aclose()
    await other.transfers.aclose()


@pytest.mark.parametrize("kind", ["corrupt"])
@needs_registry
async def test_bytes_that_a_proxy_spoils_get_no_name(tmp_path: Path, kind: str) -> None:
    fixture, receiver = Fixture(tmp_path / "sender"), Fixture(tmp_path / "receiver")
    with docker_registry(tmp_path) as host:
        add_model(fixture, f"{host}/me/m", b"weights" * 1000)
        await fixture.push(f"{host}/me/m")
        with served_faults(host, 1, 1.0, (kind,)) as proxy:
            with pytest.raises(Exception, match="digest mismatch, file must be downloaded again"):
                await receiver.pull(f"{proxy.host}/me/m")
    assert receiver.store.list_models() == []
    await fixture.transfers.aclose()
    await receiver.transfers.aclose()
