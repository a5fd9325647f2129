"""What the services do when they start."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from server.log import LogRing
from server.services.container import ServerServices, build_services
from server.settings import Settings
from server.storage.config import ModelConfig
from server.storage.store import ModelStore
from server.types.names import ModelName
from tests.support.stores import put


def services_on(folder: Path, **environ: str) -> ServerServices:
    variables = {"HOME": str(folder), "OLLAMA_MODELS": str(folder / "models"), **environ}
    return build_services(Settings.load(environ=variables), LogRing())


def store_with_an_orphan(folder: Path) -> tuple[ModelStore, str]:
    store = ModelStore(folder / "models")
    store.write_model(ModelName.parse("m"), ModelConfig(), [])
    digest = put(store, b"nobody needs this")
    for path in store.paths.blobs.iterdir():
        os.utime(path, (1, 1))
    return store, digest


@pytest.mark.parametrize(("noprune", "stays"), [("", False), ("0", False), ("1", True), ("foo", True)])
async def test_a_start_removes_blobs_that_no_model_needs(tmp_path: Path, noprune: str, stays: bool) -> None:
    store, orphan = store_with_an_orphan(tmp_path)
    services = services_on(tmp_path, OLLAMA_NOPRUNE=noprune)
    await services.start()
    await services.aclose()
    assert store.has_blob(orphan) == stays
    assert store.find(ModelName.parse("m")).is_complete
    told = [line.text for line in services.ring.after(0, 10)]
    assert told == ([] if stays else ["blobs removed that no model needs: 1"])


async def test_a_store_that_cannot_be_written_keeps_no_server_from_starting(tmp_path: Path) -> None:
    store, orphan = store_with_an_orphan(tmp_path)
    shutil.rmtree(store.paths.own)
    store.paths.own.write_text("in the way")
    services = services_on(tmp_path)
    await services.start()
    await services.aclose()
    assert store.has_blob(orphan)
    assert "left alone" in services.ring.after(0, 10)[0].text
