"""Model stores for tests."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from server.services.models import Models
from server.storage.store import ModelStore
from server.types.models import CreateProgress, CreateRequest

OLLAMA_STORE = Path(__file__).parents[1] / "data" / "store"
"""A store as Ollama wrote it, without the weights."""


def copy_of_ollama_store(folder: Path) -> Path:
    """A writable copy of `OLLAMA_STORE`."""
    return Path(shutil.copytree(OLLAMA_STORE, folder / "store"))


def digest_of(data: bytes) -> str:
    """Digest of a blob."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def put(store: ModelStore, data: bytes) -> str:
    """Store a blob; returns its digest."""
    return store.put_bytes(data).digest


class Recorder:
    """Takes the names of retired models."""

    def __init__(self) -> None:
        self.names: list[str] = []

    async def __call__(self, name: str) -> None:
        self.names.append(name)


async def create(models: Models, **fields: Any) -> list[str]:
    """Create a model; returns its status lines."""
    return [progress.status async for progress in steps(models, **fields)]


def steps(models: Models, **fields: Any) -> AsyncGenerator[CreateProgress, None]:
    """The stream of a create."""
    return models.create(CreateRequest(**fields))


async def body(data: bytes, size: int = 1000) -> AsyncGenerator[bytes, None]:
    """The body of an upload, in pieces."""
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def upload(models: Models, data: bytes) -> str:
    """Upload a blob; returns its digest."""
    await models.put_blob(digest_of(data), body(data))
    return digest_of(data)
