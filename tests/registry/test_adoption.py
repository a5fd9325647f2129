"""A pull goes on from what an Ollama has fetched, and believes it no longer than until the digest is seen."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from server.errors import InvalidRequest
from server.storage.partials import list_partials
from tests.support.ollama_download import begin_download
from tests.support.registry import TestRegistry
from tests.support.stores import digest_of
from tests.support.transfers import Fixture

WEIGHTS = random.Random(5).randbytes(200_000)
PARTS = [(0, 100_000, 100_000), (100_000, 100_000, 40_000)]


@pytest.fixture
async def fixture(tmp_path: Path) -> AsyncIterator[Fixture]:
    fixture = Fixture(tmp_path)
    yield fixture
    await fixture.transfers.aclose()


def fetched_bytes(registry: TestRegistry) -> int:
    """How many bytes of the weights were asked for, by the ranges of the requests."""
    path = f"/v2/me/spark/blobs/{digest_of(WEIGHTS)}"
    n_bytes = 0
    for method, asked, headers in registry.requests:
        if method == "GET" and asked == path:
            start, _, end = headers["Range"].removeprefix("bytes=").partition("-")
            n_bytes += int(end) + 1 - int(start)
    return n_bytes


async def test_what_an_ollama_has_fetched_is_not_fetched_again(
    fixture: Fixture, registry: TestRegistry
) -> None:
    registry.add_model("me/spark", {"model": WEIGHTS})
    data = begin_download(fixture.store.paths.blobs, WEIGHTS, PARTS)
    files = {path: path.read_bytes() for path in data.parent.iterdir()}
    lines = await fixture.pull(f"{registry.host}/me/spark")
    assert lines[-1].status == "success"
    assert fixture.store.blob_path(digest_of(WEIGHTS)).read_bytes() == WEIGHTS
    assert fetched_bytes(registry) < 100_000
    assert {path: path.read_bytes() for path in files} == files, "an Ollama may be going on with them"


async def test_what_was_wrong_is_fetched_anew(fixture: Fixture, registry: TestRegistry) -> None:
    registry.add_model("me/spark", {"model": WEIGHTS})
    begin_download(fixture.store.paths.blobs, WEIGHTS, PARTS, fill=bytes(len(WEIGHTS)))
    lines = await fixture.pull(f"{registry.host}/me/spark")
    assert lines[-1].status == "success"
    assert fixture.store.blob_path(digest_of(WEIGHTS)).read_bytes() == WEIGHTS
    assert list_partials(fixture.store.paths) == ()


async def test_it_is_listed_and_not_removed_by_hand(fixture: Fixture) -> None:
    data = begin_download(fixture.store.paths.blobs, WEIGHTS, PARTS)
    (partial,) = await fixture.transfers.partials()
    assert (partial.program, partial.model, partial.completed_bytes) == ("Ollama", "", 140_000)
    assert (partial.total_bytes, partial.is_in_use) == (len(WEIGHTS), False)
    with pytest.raises(InvalidRequest, match="of an Ollama"):
        await fixture.transfers.remove_partial(partial.digest)
    assert data.exists()
