"""Pushes of a whole service, with a registry on a real socket."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.errors import (
    ModelNotFound,
)
from server.types.names import ModelName
from tests.support.registry import TestRegistry
from tests.support.stores import digest_of
from tests.support.transfers import Fixture

GOLDEN = Path(__file__).parents[1] / "golden" / "registry"
REPOSITORY = "me/spark"
WEIGHTS = random.Random(1).randbytes(200_000)
LAYERS = {"model": WEIGHTS, "template": b"{{ .Prompt }}", "params": b'{"stop":["x"]}'}


@pytest.fixture
async def fixture(tmp_path: Path) -> AsyncIterator[Fixture]:
    fixture = Fixture(tmp_path)
    yield fixture
    await fixture.transfers.aclose()


@pytest.mark.parametrize("redirects", [False, True])
async def test_a_push_goes_in_parts(fixture: Fixture, registry: TestRegistry, redirects: bool) -> None:
    registry.add_model(REPOSITORY, LAYERS)
    model = f"{registry.host}/{REPOSITORY}"
    await fixture.pull(model)
    blobs = dict(registry.blobs)
    registry.blobs.clear()
    registry.token, registry.redirect_uploads = "secret", redirects
    await fixture.push(model)
    assert registry.blobs == blobs
    parts = [h for m, path, h in registry.requests if m == "PUT" and path.startswith("/part/")]
    assert len(parts) == (7 if redirects else 0)
    assert not any("Authorization" in headers for headers in parts)


async def test_a_blob_of_another_repository_is_mounted(fixture: Fixture, registry: TestRegistry) -> None:
    registry.add_model("me/base", {"model": WEIGHTS})
    host = registry.host
    manifest = json.loads(registry.manifests["me/base", "latest"])
    manifest["layers"][0]["from"] = f"{host}/me/base:latest"
    registry.manifests["me/base", "latest"] = json.dumps(manifest).encode()
    await fixture.pull(f"{host}/me/base")
    fixture.store.copy(ModelName.parse(f"{host}/me/base"), ModelName.parse(f"{host}/me/child"))
    await fixture.push(f"{host}/me/child")
    assert registry.blobs["me/child", digest_of(WEIGHTS)] == WEIGHTS
    assert registry.count("PATCH", "") == 1  # the config alone


async def test_a_model_that_is_not_here_cannot_be_pushed(fixture: Fixture) -> None:
    with pytest.raises(ModelNotFound):
        await fixture.push("127.0.0.1:1/me/nope")
