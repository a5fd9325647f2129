"""The models in the store: `ModelService` in this process.

Everything that touches the disk runs in threads, never on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple

from server.errors import Forbidden, InvalidModelName, ModelNotFound, OllaError
from server.gguf.footprint import ModelFootprint
from server.services.bundled import BUNDLES, Bundle, find_bundle
from server.services.create import Creation
from server.services.footprints import Footprints
from server.services.show import show
from server.services.stepping import stepped
from server.storage.store import ModelStore, StoredModel
from server.types.create_checks import check_form, check_source
from server.types.models import (
    BundledModel,
    CreateProgress,
    CreateRequest,
    ModelInfo,
    ModelSummary,
    ShowRequest,
)
from server.types.names import ModelName, split_source
from server.types.quoting import go_quote
from server.types.transfers import TransferProgress, TransferRequest

_log = logging.getLogger("olla")

# Uploads are hashed and written in pieces of this size.
_PIECE_BYTES = 1 << 20


class _Listed(NamedTuple):
    """A line of the list as it was made last, for reading the headers of many weights takes its time.

    `weights`: length and number of their file.
    """

    stored: StoredModel
    weights: tuple[int, int]
    summary: ModelSummary


class Models:
    """Lists, shows, makes and removes models."""

    def __init__(
        self,
        store: ModelStore,
        on_removed: Callable[[str], Awaitable[None]],
        pull: Callable[[TransferRequest], AsyncGenerator[TransferProgress, None]] | None = None,
        kv_cache_type: str = "f16",
    ) -> None:
        """Nothing is read yet.

        Args:
            on_removed: awaited with the display name of a model that was deleted or replaced.
            pull: fetches a model that another is made from; None: such a model must be there.
        """
        self._store = store
        self._pull = pull
        self._on_removed = on_removed
        self._installing = asyncio.Lock()
        self._listed: dict[str, _Listed] = {}
        self._footprints = Footprints(kv_cache_type)

    async def list_models(self) -> tuple[ModelSummary, ...]:
        """All models, newest first; those that do not read are logged and left out."""
        return await asyncio.to_thread(self._summaries)

    async def footprints(self) -> dict[str, ModelFootprint]:
        """What each model takes on the disk and in memory, by display name."""
        return await asyncio.to_thread(lambda: self._footprints.of(self._store.list_models()))

    async def show(self, request: ShowRequest) -> ModelInfo:
        """All about one model. Raises: InvalidModelName, ModelNotFound, Forbidden, StoreError."""
        plain, source = split_source(request.model)
        name = ModelName.parse(plain)
        if source == "cloud":
            raise Forbidden("ollama cloud is disabled: remote model details are unavailable")
        return await asyncio.to_thread(lambda: show(self._store.find(name), request))

    async def copy(self, source: str, destination: str) -> None:
        """Give a model a second name. Raises: InvalidModelName, ModelNotFound, StoreError."""
        old = _parse(source, f"source {go_quote(source)} is invalid")
        new = _parse(destination, f"destination {go_quote(destination)} is invalid")
        try:
            replaced = await asyncio.to_thread(self._store.copy, old, new)
        except ModelNotFound as error:
            raise ModelNotFound(source) from error
        await self._retire(replaced)

    async def delete(self, name: str) -> None:
        """Remove a model and the blobs that nothing else needs.

        Raises: InvalidModelName, ModelNotFound, StoreError.
        """
        parsed = _parse(_stored_name(name), f"name {go_quote(name)} is invalid")
        try:
            stored = await asyncio.to_thread(self._store.delete, parsed)
        except ModelNotFound as error:
            raise ModelNotFound(name) from error
        await self._retire(stored)

    async def create(self, request: CreateRequest) -> AsyncGenerator[CreateProgress, None]:
        """Make a model, with Ollama's status lines.

        A model to start from that is not there is pulled first.

        Raises: InvalidRequest and its kinds, ModelNotFound, Forbidden, StoreError, what a pull raises.
        """
        check_form(request)
        check_source(request)
        if request.base and self._pull is not None and not await self._has_base(request.base):
            async with aclosing(self._pull(TransferRequest(model=request.base))) as lines:
                async for line in lines:
                    yield CreateProgress(line.status, line.digest, line.total_bytes, line.completed_bytes)
        base = await self._base(request.base) if request.base else None
        creation = Creation(self._store, request, base)
        async with aclosing(stepped(creation.steps())) as steps:
            async for progress in steps:
                # The manifest is written before the first report about it: retire before anybody can leave.
                if (replaced := creation.take_replaced()) is not None:
                    await self._retire(replaced)
                yield progress

    async def has_blob(self, digest: str) -> bool:
        """Whether a blob is in the store; it stays there until a model is made of it, for an hour at most.

        Raises: InvalidRequest for a digest of a wrong form.
        """
        return await asyncio.to_thread(self._store.hold_blob, digest)

    async def put_blob(self, digest: str, body: AsyncIterable[bytes]) -> bool:
        """Store a blob; False when it was there already. The body is read to its end in any case.

        Raises: InvalidRequest for a digest of a wrong form, DigestMismatch, DiskFull, StoreError.
        """
        pieces = aiter(body)
        try:
            created = not await self.has_blob(digest) and await self._write_blob(digest, pieces)
        except OllaError:
            await _drain(pieces)
            raise
        await _drain(pieces)
        return created

    async def bundled(self) -> tuple[BundledModel, ...]:
        """Models that ship with olla."""
        return await asyncio.to_thread(self._bundled)

    async def install_bundled(self, name: str) -> None:
        """Put a bundled model into the store; one that is there already stays as it is.

        Raises: ModelNotFound when none of that name is bundled, StoreError.
        """
        try:
            bundle = find_bundle(ModelName.parse(name))
        except InvalidModelName:
            bundle = None
        if bundle is None:
            raise ModelNotFound(name)
        async with self._installing:
            await asyncio.to_thread(self._install, bundle)

    async def _has_base(self, text: str) -> bool:
        """Whether a model to start from is in the store or ships with olla. Raises: InvalidModelName."""
        name = ModelName.parse(split_source(text)[0])
        if find_bundle(name) is not None:
            return True
        try:
            await asyncio.to_thread(self._store.find, name)
        except ModelNotFound:
            return False
        return True

    async def _base(self, text: str) -> StoredModel:
        """The model that a create starts from. Raises: InvalidModelName, ModelNotFound, StoreError."""
        plain, _ = split_source(text)
        name = ModelName.parse(plain)
        try:
            return await asyncio.to_thread(self._store.find, name)
        except ModelNotFound:
            if find_bundle(name) is None:
                raise
        await self.install_bundled(plain)
        return await asyncio.to_thread(self._store.find, name)

    async def _write_blob(self, digest: str, pieces: AsyncIterable[bytes]) -> bool:
        writer = self._store.open_blob_writer()
        try:
            await asyncio.to_thread(writer.open)
            waiting = bytearray()
            async for piece in pieces:
                waiting += piece
                if len(waiting) >= _PIECE_BYTES:
                    await asyncio.to_thread(writer.write, bytes(waiting))
                    waiting.clear()
            await asyncio.to_thread(writer.write, bytes(waiting))
            # Before it can be seen: a delete that runs beside must find it held.
            await asyncio.to_thread(self._store.pin, digest)
            try:
                stored = await asyncio.to_thread(writer.commit, digest)
            except OllaError:
                await asyncio.to_thread(self._store.unpin, [digest])
                raise
        finally:
            await asyncio.to_thread(writer.close)
        return stored.created

    async def _retire(self, name: ModelName | None) -> None:
        if name is not None:
            await self._on_removed(name.display())

    def _summaries(self) -> tuple[ModelSummary, ...]:
        found: dict[str, _Listed] = {}
        for stored in self._store.list_models():
            name = stored.name.full()
            known = self._listed.get(name)
            weights = _signature(stored.weights_path)
            if known is not None and known.stored is stored and known.weights == weights:
                found[name] = known
                continue
            try:
                found[name] = _Listed(stored, weights, _summary(stored))
            except OllaError as error:
                _log.warning("model %s is left out of the list: %s", stored.name.display(), error)
        self._listed = found
        return tuple(listed.summary for listed in found.values())

    def _bundled(self) -> tuple[BundledModel, ...]:
        return tuple(
            BundledModel(
                name=bundle.name.display(),
                title=bundle.title,
                size_bytes=bundle.size_bytes(),
                installed=self._is_there(bundle.name),
            )
            for bundle in BUNDLES
        )

    def _is_there(self, name: ModelName) -> bool:
        try:
            self._store.find(name)
        except OllaError:
            return False
        return True

    def _install(self, bundle: Bundle) -> None:
        if self._is_there(bundle.name):
            return
        with bundle.weights() as path, path.open("rb") as file, self._store.open_blob_writer() as writer:
            while piece := file.read(_PIECE_BYTES):
                writer.write(piece)
            blob = writer.commit()
        self._store.pin(blob.digest)
        for _ in Creation(self._store, bundle.create_request(blob.digest), None).steps():
            pass


async def _drain(pieces: AsyncIterable[bytes]) -> None:
    async for _ in pieces:
        pass


def _signature(path: Path | None) -> tuple[int, int]:
    """Length and number of a file, whose time changes whenever it is used; zeros when it is not there."""
    try:
        status = path.stat() if path is not None else None
    except OSError:
        status = None
    return (status.st_size, status.st_ino) if status is not None else (0, 0)


def _summary(stored: StoredModel) -> ModelSummary:
    return ModelSummary(
        name=stored.name.display(),
        namespace=stored.name.namespace,
        digest=stored.digest,
        size_bytes=stored.size_bytes,
        modified_at=stored.modified_at,
        details=stored.details(),
        capabilities=stored.listed_capabilities(),
    )


def _parse(name: str, complaint: str) -> ModelName:
    """A name. Raises: InvalidModelName with the complaint."""
    try:
        return ModelName.parse(name)
    except InvalidModelName as error:
        raise InvalidModelName(complaint) from error


def _stored_name(name: str) -> str:
    """Under which name a model is stored: one of the cloud keeps its suffix, in the tag.

    Raises: InvalidModelName for an empty name and for two suffixes.
    """
    base, source = split_source(name)
    if source != "cloud":
        return base
    has_tag = base.rfind(":") > base.rfind("/")
    return f"{base}-cloud" if has_tag else f"{base}:cloud"
