"""Blobs that clients upload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from server.errors import (
    DigestMismatch,
    DiskFull,
    InvalidRequest,
)
from server.services.models import Models
from server.storage.store import ModelStore
from tests.support.stores import Recorder, body, create, digest_of
from tests.support.tiny_gguf import tiny_llama_bytes

TINY = tiny_llama_bytes()


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def models(store: ModelStore) -> Models:
    return Models(store, Recorder())


async def test_upload_twice(models: Models) -> None:
    digest = digest_of(TINY)
    assert not await models.has_blob(digest)
    assert await models.put_blob(digest, body(TINY)) is True
    assert await models.has_blob(digest.replace(":", "-"))
    assert await models.put_blob(digest, body(TINY)) is False


async def test_bodies_are_read_to_their_end(models: Models) -> None:
    """A connection can only be used again when its body was read."""
    digest = digest_of(TINY)
    for sent, expected in ((digest, True), (digest, False), ("nope", InvalidRequest)):
        n_read = 0

        async def counted() -> AsyncGenerator[bytes, None]:
            nonlocal n_read
            async for piece in body(TINY):
                n_read += len(piece)
                yield piece

        if isinstance(expected, bool):
            assert await models.put_blob(sent, counted()) is expected
        else:
            with pytest.raises(expected, match=r"^invalid digest format$"):
                await models.put_blob(sent, counted())
        assert n_read == len(TINY)


async def test_a_wrong_digest_keeps_the_bytes_under_their_own(models: Models) -> None:
    wrong = "sha256:" + "1" * 64
    with pytest.raises(DigestMismatch) as caught:
        await models.put_blob(wrong, body(b"abc"))
    assert str(caught.value) == f'digest mismatch, expected "{wrong}", got "{digest_of(b"abc")}"'
    assert await models.put_blob(digest_of(b"abc"), body(b"abc")) is False
    assert not await models.has_blob(wrong)


async def test_an_upload_that_breaks_off_leaves_nothing(models: Models, store: ModelStore) -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield b"x" * (3 << 20)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await models.put_blob(digest_of(b"y"), broken())
    assert list(store.paths.temporary.iterdir()) == []
    assert not store.paths.blobs.exists()


async def test_a_cancelled_upload_does_not_wait_for_its_body(models: Models, store: ModelStore) -> None:
    began = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes, None]:
        yield b"x" * (2 << 20)
        began.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(models.put_blob(digest_of(b"y"), endless()))
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(store.paths.temporary.iterdir()) == []


async def test_a_full_disk_is_told_after_the_body(
    models: Models, store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("server.storage.disk.os.write", full)
    with pytest.raises(DiskFull):
        await models.put_blob(digest_of(TINY), body(TINY))
    assert list(store.paths.temporary.iterdir()) == []


async def test_uploads_of_one_blob_side_by_side(models: Models) -> None:
    results = await asyncio.gather(*(models.put_blob(digest_of(TINY), body(TINY)) for _ in range(4)))
    assert results.count(True) >= 1
    assert await models.has_blob(digest_of(TINY))


async def test_what_two_clients_upload_stays_until_both_have_created(
    models: Models, store: ModelStore, tmp_path: Path
) -> None:
    """The first creates and deletes, or creates again from what it has, before the second creates."""
    digest = digest_of(TINY)
    second = Models(ModelStore(tmp_path / "models"), Recorder())
    assert await models.put_blob(digest, body(TINY)) is True
    assert await second.put_blob(digest, body(TINY)) is False
    await create(models, model="first", files={"m.gguf": digest})
    await create(models, model="derived", base="first", system="Talk.")
    await models.delete("derived")
    await models.delete("first")
    await create(second, model="second", files={"m.gguf": digest})
    await second.delete("second")
    assert list(store.paths.pins.iterdir()) == []
    assert list(store.paths.blobs.iterdir()) == []


async def test_what_never_came_is_not_held(models: Models, store: ModelStore) -> None:
    for _ in range(2):
        with pytest.raises(DigestMismatch):
            await models.put_blob("sha256:" + "1" * 64, body(b"abc"))
    assert list(store.paths.pins.iterdir()) == []
