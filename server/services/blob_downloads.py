"""Blobs that are being fetched: each once, however many pulls wait for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager

from server.errors import DigestMismatch
from server.registry.client import RegistryClient
from server.registry.download import USUAL, BlobDownload, Policy
from server.registry.rate import RateLimit
from server.services.threads import in_thread
from server.storage.manifests import Layer
from server.storage.ollama_partials import Adoption
from server.storage.partials import PartialFile, open_partial
from server.storage.pulled import add_blob, is_whole
from server.storage.store import ModelStore

_log = logging.getLogger("olla")

TICK_S = 0.06
"""How often progress is told, as in Ollama."""

_BUSY_S = 0.5  # how often it is looked whether another process has let go of a download


class _Fetching:
    """A blob that is being fetched, and for how many."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.download: BlobDownload | None = None
        self.n_users = 0


class BlobDownloads:
    """Fetches blobs into a store. Lives on the server's loop."""

    def __init__(self, store: ModelStore, policy: Policy = USUAL) -> None:
        self._store = store
        self._policy = policy
        self._fetching: dict[str, _Fetching] = {}

    async def fetch(
        self, client: RegistryClient, layer: Layer, model: str, limits: Sequence[RateLimit]
    ) -> AsyncGenerator[int, None]:
        """Yield how many bytes are there, until the blob is in the store.

        One who is the last to leave ends it; what is there stays.
        Raises: RegistryError, RegistryUnreachable, DigestMismatch, DiskFull, StoreError.
        """
        async with self._joined(client, layer, model, limits) as fetching:
            assert fetching.task is not None
            while not fetching.task.done():
                await asyncio.wait({fetching.task}, timeout=TICK_S)
                if fetching.download is not None:
                    yield fetching.download.completed_bytes
            fetching.task.result()
        yield layer.size_bytes

    @asynccontextmanager
    async def _joined(
        self, client: RegistryClient, layer: Layer, model: str, limits: Sequence[RateLimit]
    ) -> AsyncIterator[_Fetching]:
        fetching = self._fetching.get(layer.digest)
        if fetching is None:
            fetching = self._fetching[layer.digest] = _Fetching()
            work = self._fetch(fetching, client, layer, model, limits)
            fetching.task = asyncio.create_task(work, name=f"fetch {layer.digest[7:19]}")
        fetching.n_users += 1
        try:
            yield fetching
        finally:
            fetching.n_users -= 1
            if not fetching.n_users:
                if self._fetching.get(layer.digest) is fetching:
                    del self._fetching[layer.digest]
                assert fetching.task is not None
                fetching.task.cancel()
                await asyncio.wait({fetching.task})
                if not fetching.task.cancelled():
                    fetching.task.exception()  # told by `fetch`, or of no interest to one who has left

    async def _fetch(
        self,
        fetching: _Fetching,
        client: RegistryClient,
        layer: Layer,
        model: str,
        limits: Sequence[RateLimit],
    ) -> None:
        """Fetch a blob, going on from what is there, be it an Ollama's, which is believed once at most."""
        may_adopt = True
        while True:
            partial = await self._opened(layer, model)
            if partial is None:
                return
            connections = client.fork()
            n_adopted = 0
            try:
                if may_adopt:
                    adoption = Adoption(self._store.paths, partial)
                    n_adopted = await in_thread(adoption.run, adoption.stop)
                fetching.download = BlobDownload(
                    connections, partial, partial.written, policy=self._policy, limits=limits
                )
                await in_thread(fetching.download.run, fetching.download.stop)
                await asyncio.to_thread(add_blob, self._store, partial)
                return
            except DigestMismatch:
                await asyncio.to_thread(partial.remove)
                if not n_adopted:
                    raise
                _log.warning(
                    "what an Ollama had fetched of %s was not right; it is fetched anew", layer.digest
                )
                may_adopt = False
            finally:
                connections.connections.close()
                partial.close()

    async def _opened(self, layer: Layer, model: str) -> PartialFile | None:
        """The blob's file, to go on with; None when another process has made the blob of it."""
        while (partial := await asyncio.to_thread(self._open, layer, model)) is None:
            # Another process fetches it; when it ends, the blob is there or there is something to go on with.
            await asyncio.sleep(_BUSY_S)
            if await asyncio.to_thread(is_whole, self._store, layer):
                return None
        return partial

    def _open(self, layer: Layer, model: str) -> PartialFile | None:
        return open_partial(self._store.paths, layer.digest, layer.size_bytes, model)
