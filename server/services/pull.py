"""One pull: manifest, blobs, manifest."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

from server.errors import DiskFull, OllaError, StoreError
from server.registry.client import RegistryClient
from server.registry.rate import RateLimit
from server.services.blob_downloads import BlobDownloads
from server.services.pull_plan import PullPlan, plan_pull
from server.services.threads import in_thread
from server.services.transfer import Transfer
from server.storage.manifests import MAX_MANIFEST_BYTES, Layer
from server.storage.partials import free_bytes, needed_bytes
from server.storage.pulled import Pulled, hold_blobs, remove_unused, write_manifest
from server.storage.store import ModelStore

RESERVE_BYTES = 64 << 20
"""Room that stays free on the disk: the system and other programs need some to go on."""

HOLD_S = 15 * 60.0
"""How often the blobs that are there are held anew; each is spared for an hour."""

_log = logging.getLogger("olla")


class Pull:
    """Fetches one model. What has come stays, whenever it ends."""

    def __init__(
        self,
        transfer: Transfer,
        store: ModelStore,
        downloads: BlobDownloads,
        client: RegistryClient,
        limits: Sequence[RateLimit],
        on_replaced: Callable[[str], Awaitable[None]],
        noprune: bool,
    ) -> None:
        """`on_replaced`: is told the name of a model that has become another."""
        self._transfer = transfer
        self._store = store
        self._downloads = downloads
        self._client = client
        self._limits = limits
        self._on_replaced = on_replaced
        self._noprune = noprune
        self._holder = secrets.token_hex(8)

    async def run(self) -> None:
        """Do it. Raises: TransferFailed and its kinds, StoreError and its kinds."""
        transfer = self._transfer
        try:
            transfer.tell("pulling manifest")
            plan = await self._plan()
            transfer.total_bytes = plan.total_bytes
            holding = asyncio.create_task(self._hold(plan), name="hold")
            try:
                await self._fetch(plan)
                transfer.tell("verifying sha256 digest")
                transfer.tell("writing manifest")
                pulled = await asyncio.to_thread(
                    write_manifest, self._store, transfer.name, plan.raw, self._holder
                )
            finally:
                holding.cancel()
                await asyncio.gather(holding, return_exceptions=True)
                digests = [layer.digest for layer in plan.layers]
                await asyncio.to_thread(self._store.unpin, digests, self._holder)
            if pulled.replaced is not None:
                await self._on_replaced(pulled.replaced.display())
            await self._remove_unused(pulled)
            transfer.tell("success")
        finally:
            self._client.connections.close()

    async def _plan(self) -> PullPlan:
        address, name = self._client.address, self._transfer.name
        try:
            raw = await in_thread(
                lambda: self._client.manifest(name.tag, MAX_MANIFEST_BYTES), self._client.connections.abort
            )
        except OllaError as error:
            error.message = f"pull model manifest: {error.message}"
            raise
        return plan_pull(raw, address.repository)

    async def _fetch(self, plan: PullPlan) -> None:
        missing = await asyncio.to_thread(self._missing, plan)
        await asyncio.to_thread(self._check_room, missing)
        for layer in plan.layers:
            total = layer.size_bytes
            if layer.digest not in missing:
                self._tell(layer, total)
                continue
            model = self._transfer.name.display()
            fetching = self._downloads.fetch(self._client, layer, model, self._limits)
            async with aclosing(fetching):
                async for completed in fetching:
                    self._tell(layer, completed)

    def _tell(self, layer: Layer, completed_bytes: int) -> None:
        self._transfer.tell_bytes("pulling", layer.digest, layer.size_bytes, completed_bytes)

    def _missing(self, plan: PullPlan) -> dict[str, Layer]:
        """Blobs that are not in the store; all are held from now on, as soon as they are there."""
        return hold_blobs(self._store, plan.layers, self._holder)

    def _check_room(self, missing: dict[str, Layer]) -> None:
        paths = self._store.paths
        needed = sum(needed_bytes(paths, layer.digest, layer.size_bytes) for layer in missing.values())
        free = free_bytes(paths)
        if free is not None and needed and needed + RESERVE_BYTES > free:
            raise DiskFull(
                f"{self._transfer.name.display()} needs {_gigabytes(needed)} more on the disk of the model "
                f"store {self._store.root}, where {_gigabytes(free)} are free",
                hint="Delete a model with `olla rm`, or set OLLAMA_MODELS to a folder on a larger disk.",
            )

    async def _hold(self, plan: PullPlan) -> None:
        """Keep what was fetched from being taken for garbage while the rest takes hours."""
        while True:
            await asyncio.sleep(HOLD_S)
            await asyncio.to_thread(self._missing, plan)

    async def _remove_unused(self, pulled: Pulled) -> None:
        if not pulled.unused or self._noprune:
            return
        self._transfer.tell("removing unused layers")
        try:
            await asyncio.to_thread(remove_unused, self._store, pulled.unused)
        except StoreError as error:
            _log.warning("layers that are not used any more stay: %s", error)
            self._transfer.tell(f"couldn't remove unused layers: {error.message}")


def _gigabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"
